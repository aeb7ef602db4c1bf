"""Tasks: what to learn. `load_task` resolves a registered name, a folder of images, texts or series, an `.npz` or a
`.ts` file."""

from archscout.tasks.options import TaskOptions
from archscout.tasks.published import cifar as cifar  # these register their tasks and readers
from archscout.tasks.published import darcy as darcy
from archscout.tasks.published import digits as digits
from archscout.tasks.published import imagenet as imagenet
from archscout.tasks.published import imagenet16 as imagenet16
from archscout.tasks.published import nasbench360 as nasbench360
from archscout.tasks.readers import arrays as arrays
from archscout.tasks.readers import folder as folder
from archscout.tasks.readers import hugging_face as hugging_face
from archscout.tasks.readers import idx as idx
from archscout.tasks.readers import npz as npz
from archscout.tasks.readers import parquet as parquet
from archscout.tasks.readers import series as series
from archscout.tasks.readers import sound_folder as sound_folder
from archscout.tasks.readers import text as text
from archscout.tasks.registry import TASKS, load_task, register_reader, register_task, task_spec
from archscout.tasks.spec import TaskSpec
from archscout.tasks.task import Split, Task, Transform

__all__ = [
    "TASKS",
    "Split",
    "Task",
    "TaskOptions",
    "TaskSpec",
    "Transform",
    "load_task",
    "register_reader",
    "register_task",
    "task_spec",
]
