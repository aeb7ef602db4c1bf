"""archscout: from a task to a small, accurate, trained PyTorch network, by neural architecture search.

The verbs of the command line are functions here: `run`, `search`, `train`, `evaluate`, `export`, `report`, `resume`;
`load_run` opens an existing run. `Classifier`, `Regressor`, `MultilabelClassifier` and `Segmenter` are estimators as in
scikit-learn.
Importing archscout loads no torch; the first use of a name does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from archscout.version import __version__ as __version__

if TYPE_CHECKING:
    from archscout.api import (
        cross_validate,
        derive,
        distance,
        ensemble,
        evaluate,
        evaluate_on,
        explain,
        export,
        generate,
        import_weights,
        load_architecture,
        load_run,
        report,
        resume,
        resume_folds,
        run,
        search,
        train,
    )
    from archscout.estimators import Classifier, MultilabelClassifier, Regressor, Segmenter
    from archscout.methods.base import METHODS
    from archscout.pipeline.artifacts import load_network
    from archscout.pipeline.predictor import Predictor, load
    from archscout.pipeline.run import Run
    from archscout.spaces import SPACES
    from archscout.tasks import TASKS, Task, load_task

__all__ = [
    "METHODS",
    "SPACES",
    "TASKS",
    "Classifier",
    "MultilabelClassifier",
    "Predictor",
    "Regressor",
    "Run",
    "Segmenter",
    "Task",
    "cross_validate",
    "derive",
    "distance",
    "ensemble",
    "evaluate",
    "evaluate_on",
    "explain",
    "export",
    "generate",
    "import_weights",
    "load",
    "load_architecture",
    "load_network",
    "load_run",
    "load_task",
    "report",
    "resume",
    "resume_folds",
    "run",
    "search",
    "train",
]

_HOMES = {
    "METHODS": "archscout.methods",
    "SPACES": "archscout.spaces",
    "TASKS": "archscout.tasks",
    **dict.fromkeys(("Classifier", "MultilabelClassifier", "Regressor", "Segmenter"), "archscout.estimators"),
    "Run": "archscout.pipeline.run",
    "Task": "archscout.tasks",
    "Predictor": "archscout.pipeline.predictor",
    "load": "archscout.pipeline.predictor",
    "load_network": "archscout.pipeline.artifacts",
    "load_task": "archscout.tasks",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'archscout' has no attribute '{name}'")
    return getattr(import_module(_HOMES.get(name, "archscout.api")), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
