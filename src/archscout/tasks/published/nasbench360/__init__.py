"""The tasks of NAS-Bench-360, from their published files (CIFAR-100 is in `tasks.published.cifar`)."""

from archscout.tasks.published.nasbench360 import cosmic as cosmic  # these register their tasks
from archscout.tasks.published.nasbench360 import darcy as darcy
from archscout.tasks.published.nasbench360 import deepsea as deepsea
from archscout.tasks.published.nasbench360 import ecg as ecg
from archscout.tasks.published.nasbench360 import fsd50k as fsd50k
from archscout.tasks.published.nasbench360 import ninapro as ninapro
from archscout.tasks.published.nasbench360 import psicov as psicov
from archscout.tasks.published.nasbench360 import satellite as satellite
from archscout.tasks.published.nasbench360 import spherical as spherical
from archscout.tasks.published.nasbench360.files import PUBLISHED, PublishedData, published

__all__ = ["PUBLISHED", "PublishedData", "published"]
