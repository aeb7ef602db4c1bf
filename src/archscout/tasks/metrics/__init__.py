"""Metrics and losses: by name, of the user's own, and those that tasks come with."""

from archscout.tasks.metrics.catalogue import METRICS, allowed_metrics, register_metric
from archscout.tasks.metrics.classification import Loss, Metric, PooledLoss
from archscout.tasks.metrics.losses import LOSSES, MadeLoss, allowed_losses, register_loss
from archscout.tasks.metrics.own import own_metric
from archscout.tasks.metrics.problem import Problem

__all__ = [
    "LOSSES",
    "METRICS",
    "Loss",
    "MadeLoss",
    "Metric",
    "PooledLoss",
    "Problem",
    "allowed_losses",
    "allowed_metrics",
    "own_metric",
    "register_loss",
    "register_metric",
]
