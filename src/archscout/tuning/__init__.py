"""Tuning of the hyper-parameters of the final training."""

from archscout.tuning.job import TUNING, TuningJob, check_tuning, tuning_stage
from archscout.tuning.settings import RangeSettings, TuningSettings

__all__ = ["TUNING", "RangeSettings", "TuningJob", "TuningSettings", "check_tuning", "tuning_stage"]
