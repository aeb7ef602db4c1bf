"""The settings of methods that query scores."""

from __future__ import annotations

from pydantic import Field

from archscout.errors import SettingsError, SpaceError
from archscout.methods.limits import Limits
from archscout.methods.shared_weights.path_training import ChildSettings
from archscout.settings import Settings
from archscout.spaces.base import OwnTraining, SearchSpace, WeightSharing
from archscout.training.job import TrainSettings
from archscout.training.optimizers import SgdSettings

__all__ = ["SHARED", "TRAIN", "CandidateSettings", "QuerySettings", "SharedSettings", "score_name"]

TRAIN, SHARED = "train", "shared"
DEFAULT_SCORE = "val_acc_12ep"


def _short_training() -> TrainSettings:
    optimizer = SgdSettings(lr=0.05, nesterov=True, weight_decay=5e-4)
    return TrainSettings(
        epochs=3, batch_size=64, optimizer=optimizer, drop_path=0.0, auxiliary_weight=0.0, cutout=0, split="train"
    )


class CandidateSettings(Settings):
    """How a candidate is trained where the score is that of a short training; its size is that of `supernet`."""

    train: TrainSettings = _short_training()
    workers: int | None = Field(default=None, ge=1, description="processes; null takes one for each core")
    batch_size: int = Field(default=250, ge=1, description="of the evaluation on the validation split")


class SharedSettings(Settings):
    """How shared weights are trained where the score is theirs; their size is that of `supernet`."""

    epochs: int = Field(default=20, ge=1, description="of uniformly drawn paths")
    child: ChildSettings = ChildSettings()
    batch_size: int = Field(default=250, ge=1, description="of the evaluation on the validation split")


class QuerySettings(Settings):
    """What all methods share that query a score for one architecture after the other.

    `score` is a column of the table, `train` (train each candidate briefly) or `shared` (shared weights).
    """

    score: str | None = Field(default=None, description="null: val_acc_12ep with a table, else train")
    table: str | None = Field(default=None, description="file of `archscout table import`")
    dataset: str | None = Field(default=None, description="of the table's columns; their names may then leave it out")
    report: str | None = Field(default=None, description="column that is reported of the result, unseen by the search")
    trials: int = Field(default=1, ge=1, description="independent searches")
    queries: int = Field(default=204, ge=2, description="budget of a trial")
    seconds: float | None = Field(default=None, gt=0, description="budget in the table's seconds, beside queries")
    charge_repeats: bool = Field(default=True, description="an architecture that was scored before costs a query again")
    validation_fraction: float | None = Field(default=None, gt=0, lt=1, description="as for ednas")
    limits: Limits = Limits()
    candidate: CandidateSettings = CandidateSettings()
    shared: SharedSettings = SharedSettings()

    def check_space(self, space: SearchSpace) -> None:
        """Raise an ArchscoutError if table, columns and space contradict each other."""
        if score_name(self) in (TRAIN, SHARED):
            if self.table is not None or self.report is not None:
                raise SettingsError(
                    f"search.score = '{score_name(self)}' trains networks; search.table and search.report go with a "
                    "column of a table. Leave out one of the two."
                )
            if score_name(self) == TRAIN and isinstance(space, OwnTraining):
                raise SpaceError(
                    f"search.score = 'train' cannot train the networks of the space '{space.name}', which are trained "
                    "in a way of their own. Use shared weights: --set score=shared"
                )
            if score_name(self) == SHARED and not isinstance(space, WeightSharing):
                raise SpaceError(
                    f"search.score = 'shared' needs a space with WeightSharing, which '{space.name}' does not have. "
                    "Use train."
                )
        elif self.table is None:
            raise SettingsError(
                f"search.score = '{self.score}': without a table the score is 'train' or 'shared'; for a column name "
                "the table's file with --table FILE."
            )
        elif space.name != "nasbench201":
            raise SettingsError(
                f"search.table holds cells of the space 'nasbench201', but the space is '{space.name}'. "
                "Add --space nasbench201."
            )


def score_name(settings: QuerySettings) -> str:
    """What the search sees, as the user named it or by default."""
    return settings.score or (DEFAULT_SCORE if settings.table else TRAIN)
