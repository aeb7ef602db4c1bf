"""Once for all (arXiv 1908.09791), as DSM-NAS uses it (docs/methods/once-for-all.md). The algorithm:

supernet    train shared weights such that every network of the space works with its part of them
scoring     score some random networks on the validation split, each with batch norms of its own
predictor   learn the score as a function of the architecture's code
search      propose architectures within the limits with the predictor; score the best ones; take the best
train       go on training the winner from its shared weights (the run's own stage)
"""

from __future__ import annotations

from typing import cast

from pydantic import Field

from archscout.errors import SettingsError
from archscout.jobs import Job
from archscout.methods.base import Method, SearchContext, SearchResult, SearchStage, register_method
from archscout.methods.once_for_all.predictor import PredictorSettings, PredictorTraining
from archscout.methods.once_for_all.scoring import ScoringSettings, SubnetScoring
from archscout.methods.once_for_all.search import LimitedSearch, LimitedSearchSettings
from archscout.methods.once_for_all.training import SupernetSettings, SupernetTraining
from archscout.settings import Settings
from archscout.spaces.architecture import Architecture
from archscout.spaces.base import Extractable, LayerCoded
from archscout.training.augmentation import check_label_smoothing

__all__ = ["OnceForAllSettings"]


class OnceForAllSettings(Settings):
    """Settings of the four stages."""

    validation_fraction: float | None = Field(
        default=None, gt=0, lt=1, description="of the development data, from its tail; null keeps the task's own split"
    )
    supernet: SupernetSettings = SupernetSettings()
    scoring: ScoringSettings = ScoringSettings()
    predictor: PredictorSettings = PredictorSettings()
    search: LimitedSearchSettings = LimitedSearchSettings()
    inherit_weights: bool = Field(
        default=True, description="the final training starts from the shared weights; needs equal sizes"
    )


def _settings(context: SearchContext) -> OnceForAllSettings:
    return cast(OnceForAllSettings, context.settings)


def _predictor(context: SearchContext, before: Architecture | None) -> Job[SearchResult]:
    assert before is not None  # the stage before leaves one
    return PredictorTraining(context, _settings(context).predictor, before)


def _search(context: SearchContext, before: Architecture | None) -> Job[SearchResult]:
    settings = _settings(context)
    return LimitedSearch(context, settings.search, inherit_weights=settings.inherit_weights)


def _check(context: SearchContext) -> None:
    """Refuse what would fail after hours: weights that cannot be handed on, limits that no network keeps."""
    settings = _settings(context)
    if settings.inherit_weights and context.supernet_size != context.network_size:
        raise SettingsError(
            "the shared weights fit networks of the supernet's size only, but the sections supernet and network "
            f"differ ({context.supernet_size!r}; {context.network_size!r}). Make them equal, or set "
            "search.inherit_weights=false to train the result from scratch."
        )
    check_label_smoothing(context.task, settings.supernet, "search.supernet")
    settings.search.limits.check(context)


register_method(
    Method(
        name="once-for-all",
        description="once-for-all supernet, accuracy predictor, search under a limit on multiply-adds",
        settings=OnceForAllSettings,
        requires=(Extractable, LayerCoded),
        stages=(
            SearchStage("supernet", lambda context, before: SupernetTraining(context, _settings(context).supernet)),
            SearchStage("scoring", lambda context, before: SubnetScoring(context, _settings(context).scoring)),
            SearchStage("predictor", _predictor),
            SearchStage("search", _search),
        ),
        check=_check,
    ),
    formerly=("ofa",),
)
