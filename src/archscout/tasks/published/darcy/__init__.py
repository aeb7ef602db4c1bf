"""Darcy flow: from a permeability field to the pressure of a fluid that flows through it."""

from archscout.tasks.published.darcy.generated import DarcyOptions, generated_darcy_task
from archscout.tasks.published.darcy.task import darcy_task

__all__ = ["DarcyOptions", "darcy_task", "generated_darcy_task"]
