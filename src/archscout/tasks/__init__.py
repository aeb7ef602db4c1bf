"""Tasks: what to learn. `load_task` resolves a registered name, a folder of pictures, texts or series, an `.npz` or a
`.ts` file."""

from archscout.tasks import cifar as cifar  # these register their tasks
from archscout.tasks import darcy as darcy
from archscout.tasks import digits as digits
from archscout.tasks import imagenet as imagenet
from archscout.tasks import imagenet16 as imagenet16
from archscout.tasks import nasbench360 as nasbench360
from archscout.tasks import series as series
from archscout.tasks import text as text
from archscout.tasks.registry import TASKS, load_task, register_task, task_spec
from archscout.tasks.spec import TaskSpec
from archscout.tasks.task import Split, Task, Transform

__all__ = ["TASKS", "Split", "Task", "TaskSpec", "Transform", "load_task", "register_task", "task_spec"]
