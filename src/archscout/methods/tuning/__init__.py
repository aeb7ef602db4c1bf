"""Tuning of the hyper-parameters of the final training."""

from archscout.methods.tuning.job import TUNING, TuningJob, check_tuning, tuning_stage
from archscout.methods.tuning.settings import RangeSettings, TuningSettings

__all__ = ["TUNING", "RangeSettings", "TuningJob", "TuningSettings", "check_tuning", "tuning_stage"]
