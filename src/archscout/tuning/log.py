"""The trials of a tuning in a database of Optuna, where they survive a kill and other tools can look at them.

The database is a log: every trial is entered when it begins, with its values as they come and a heartbeat; those that
ended are read back when the tuning goes on. Decisions are taken from the scores alone (`plans.py`).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from archscout.errors import RunError, SettingsError
from archscout.tuning.plans import distribution_of
from archscout.tuning.settings import TuningSettings
from archscout.tuning.trial import TrialRecord

__all__ = ["TrialLog"]

HEARTBEAT_SECONDS = 60
NUMBER, STATE, EPOCHS = "trial", "state", "epochs"  # what Optuna has no place for is kept as attributes


class TrialLog:
    """A study of Optuna.

    Args:
        url: of the database; a file is created where there is none.
        name: of the study; the same name means the same network, the same data and the same settings.
        direction: of the metric, "max" or "min".
        settings: what is tuned.
        own: nobody else writes: what is left running was interrupted.

    Raises:
        SettingsError: the database cannot be opened.
    """

    def __init__(self, url: str, name: str, direction: str, settings: TuningSettings, *, own: bool) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna: Any = optuna
        self._distributions = {key: distribution_of(values) for key, values in settings.parameters.items()}
        self._trials: dict[int, Any] = {}
        try:
            with _quiet():
                self._storage = optuna.storages.RDBStorage(url, heartbeat_interval=HEARTBEAT_SECONDS)
                self._study = optuna.create_study(
                    storage=self._storage,
                    study_name=name,
                    direction="maximize" if direction == "max" else "minimize",
                    sampler=optuna.samplers.RandomSampler(seed=0),  # unused: every trial is given
                    load_if_exists=True,
                )
        except Exception as error:  # SQLAlchemy and the database's own driver have errors of many kinds
            raise SettingsError(
                f"tuning.storage = '{url}' cannot be opened ({_first_line(error)}). Give a database URL as SQLAlchemy "
                "reads it, for example postgresql://user@host/name, or leave it out for a file in the run directory."
            ) from None
        self._fail_interrupted(own)

    def _fail_interrupted(self, own: bool) -> None:
        """Mark trials of a killed process; they are repeated under the same number."""
        running = self._optuna.trial.TrialState.RUNNING
        with _quiet():
            if own:
                for trial in self._study.get_trials(deepcopy=False, states=(running,)):
                    self._study.tell(trial.number, state=self._optuna.trial.TrialState.FAIL)
            else:
                self._optuna.storages.fail_stale_trials(self._study)

    def finished(self) -> dict[int, TrialRecord]:
        """The trials that ended, by number."""
        records = {}
        for trial in self._study.get_trials(deepcopy=False):
            attributes = trial.user_attrs
            if trial.state.is_finished() and STATE in attributes:
                values = {epochs: value for epochs, value in trial.intermediate_values.items() if math.isfinite(value)}
                number = int(attributes[NUMBER])
                records[number] = TrialRecord(
                    number, dict(trial.params), int(attributes[EPOCHS]), values, attributes[STATE]
                )
        return records

    def begin(self, record: TrialRecord) -> None:
        """Enter a new trial."""
        with self._writing():
            self._study.enqueue_trial(record.parameters, user_attrs={NUMBER: record.number})
            trial = self._study.ask(self._distributions)
            self._trials[record.number] = trial
            self._beat(trial)

    def update(self, record: TrialRecord) -> None:
        """Enter what has changed: a new value, or the end."""
        trial = self._trials[record.number]
        with self._writing():
            self._beat(trial)
            if record.epochs in record.values:
                trial.report(record.values[record.epochs], record.epochs)
            if record.state != "running":
                trial.set_user_attr(STATE, record.state)
                trial.set_user_attr(EPOCHS, record.epochs)
                self._end(record, trial)

    def _end(self, record: TrialRecord, trial: Any) -> None:
        states = self._optuna.trial.TrialState
        if record.state == "complete":
            self._study.tell(trial, record.value)
        else:
            self._study.tell(trial, state=states.PRUNED if record.state == "early" else states.FAIL)
        del self._trials[record.number]

    def _beat(self, trial: Any) -> None:
        self._storage.record_heartbeat(trial._trial_id)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with _quiet():
                yield
        except self._optuna.exceptions.StorageInternalError as error:
            raise RunError(
                f"the trials cannot be written to the database ({_first_line(error.__cause__ or error)}). Free some "
                "space or restore the connection, then go on with archscout resume."
            ) from None

    def close(self) -> None:
        """Give up the connection."""
        self._storage.remove_session()
        self._storage.engine.dispose()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's remarks that the heartbeat is experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
