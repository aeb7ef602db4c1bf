"""Tuning of training hyper-parameters, for a network that was found or given.

    draw the initial weights once
    repeat
        ask the plan for configurations, up to a number at a time
        train each for a few epochs more, all from the same initial weights, on the same batches
        where the plan wants a score: evaluate on the validation split; the plan may give a trial up
    the configuration with the best validation metric, the first of equals, is what the final training takes

Trials run in processes of this machine or on Ray, but only this process decides, when all of a round have answered:
the outcome does not depend on which worker is faster. What a stopped tuning knew of finished trials it does not compute
again; an interrupted trial goes on from the last checkpoint, or is repeated. Source: docs/methods/d2nas.md#tuning.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from archscout.errors import DivergedError, SettingsError
from archscout.jobs import Job, Metrics
from archscout.methods.base import SearchContext, SearchResult, SearchStage
from archscout.methods.worker_context import WorkerContext, context_workers
from archscout.settings import Settings, merge
from archscout.spaces.architecture import Architecture, architecture_to_json
from archscout.state import state_bytes, state_from_bytes
from archscout.tuning.log import TrialLog
from archscout.tuning.plans import make_plan
from archscout.tuning.settings import RangeSettings, TuningSettings, nested, published_share
from archscout.tuning.trial import Answer, Part, TrialRecord, train_elsewhere, train_part

__all__ = ["TUNING", "TuningJob", "check_tuning", "tuning_stage"]

TUNING = "tuning"  # the stage's name


def tuning_stage(settings: TuningSettings) -> SearchStage:
    """The stage that tunes the final training of what the stages before found."""

    def make(context: SearchContext, before: Architecture | None) -> TuningJob:
        if before is None:
            raise SettingsError("tuning: there is no architecture yet; a search or `archscout train` gives one.")
        return TuningJob(context, before, settings)

    return SearchStage(TUNING, make)


def check_tuning(settings: TuningSettings, train: Settings) -> None:
    """Raise SettingsError unless every value is one that the final training can take."""
    for name, values in settings.parameters.items():
        ends = values if isinstance(values, tuple) else (values.low, values.high)
        for value in ends:
            whole = int(value) if isinstance(values, RangeSettings) and values.integer else value  # type: ignore[arg-type]
            changed = merge(train.model_dump(), nested({name: whole}))
            try:
                type(train).read(changed, where="train")
            except SettingsError as error:
                raise SettingsError(f"tuning.parameters, {name} = {whole!r}: {error}") from None


class TuningJob(Job[SearchResult]):
    """The tuning; see the module's docstring.

    Args:
        context: of the search; `train` are the settings that are tuned.
        architecture: whose evaluation network is trained.
    """

    def __init__(self, context: SearchContext, architecture: Architecture, settings: TuningSettings) -> None:
        self._context, self._architecture, self._settings = context, architecture, settings
        self._plan = make_plan(settings, context.seed)
        self._records: dict[int, TrialRecord] = {}
        self._states: dict[int, bytes] = {}
        self._known: dict[int, TrialRecord] = {}  # from an earlier process
        self._logged: set[int] = set()  # those that are in the database already
        self._rounds = 0
        self._workers = context_workers(context, settings.workers, settings.concurrent)
        self._train = self._trial_settings()
        initial = context.initial()
        self._initial = None if initial is None else state_bytes(dict(initial))
        self._problem = None if self._workers.here else WorkerContext.of(context)
        self._log = self._open_log()

    def _trial_settings(self) -> dict[str, Any]:
        """The settings of the final training, shortened."""
        train, task = self._context.train, self._context.task
        changes: dict[str, Any] = {"epochs": self._settings.epochs, "split": "train"}
        if "epoch_share" in type(train).model_fields:
            batches = len(task.split(train.split)) // train.batch_size
            changes["epoch_share"] = self._settings.epoch_share or published_share(batches)
            changes["validation_epochs"] = 0
        settings: dict[str, Any] = merge(train.model_dump(mode="json"), changes)
        return settings

    def _open_log(self) -> TrialLog | None:
        """The database. The study's name holds a digest of everything that results depend on, weights included."""
        context, settings = self._context, self._settings
        if context.folder is None or not context.engine.is_main:
            return None
        content = {
            "architecture": json.loads(architecture_to_json(self._architecture)),
            "task": [context.task.name, len(context.task.train), len(context.task.validation)],
            "size": context.network_size.model_dump(mode="json"),
            "train": self._train,
            "tuning": settings.what_decides(),
            "seed": context.seed,
            "initial": hashlib.sha256(state_bytes(self._weights())).hexdigest(),
        }
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
        url = settings.storage or f"sqlite:///{(context.folder / 'tuning.db').absolute()}"
        log = TrialLog(url, f"tuning-{digest}", context.task.metric.direction, settings, own=settings.storage is None)
        finished = log.finished()
        self._logged = set(finished)
        if context.engine.world_size == 1:  # else the other processes would not know the same
            self._known = finished
        return log

    def run(self) -> Iterator[Metrics]:
        """Rounds, until all trials have ended."""
        while not self._plan.done or any(record.state == "running" for record in self._records.values()):
            self._round()
            yield self._metrics()

    def work(self) -> Iterator[tuple[float, float]]:
        """Epochs; a trial that ended early counts as a whole one."""
        epochs = self._settings.epochs
        for record in self._records.values():
            yield record.epochs if record.state == "running" else epochs, epochs
        if not self._plan.done:
            yield 0.0, epochs * max(0, self._settings.configurations - len(self._records))

    def _round(self) -> None:
        """One part of every running trial."""
        self._rounds += 1
        self._begin_trials()
        running = [record for record in self._records.values() if record.state == "running"]
        until = {each.number: min(each.epochs + self._plan.part, self._settings.epochs) for each in running}
        unknown = [each for each in running if self._recall(each, until[each.number]) is None]
        parts = [self._part(each, until[each.number]) for each in unknown]
        answers = dict(zip((each.number for each in unknown), self._answers(parts), strict=True))
        for record in running:
            answer = answers.get(record.number) or self._recall(record, until[record.number])
            assert answer is not None
            self._take(record, until[record.number], answer)

    def _begin_trials(self) -> None:
        running = sum(record.state == "running" for record in self._records.values())
        for _ in range(self._settings.concurrent - running):
            parameters = self._plan.ask()
            if parameters is None:
                break
            record = TrialRecord(len(self._records), parameters)
            self._records[record.number] = record
            if self._log is not None and record.number not in self._logged:
                self._log.begin(record)

    def _recall(self, record: TrialRecord, until: int) -> Answer | None:
        """What is known of a part from an earlier process; None where it is not known."""
        known = self._known.get(record.number)
        if known is None or known.parameters != record.parameters or until > known.epochs:
            return None
        if known.state == "diverged" and until == known.epochs:
            return Answer(None)
        return Answer(b"", known.values.get(until))

    def _part(self, record: TrialRecord, until: int) -> Part:
        return Part(
            train=merge(self._train, nested(record.parameters)),
            until=until,
            judge=self._plan.judged_at(until),
            batch_size=self._settings.batch_size,
            architecture=architecture_to_json(self._architecture),
            size=self._context.network_size.model_dump(mode="json"),
            seed=self._context.seed,
            state=self._states.get(record.number),
            initial=self._initial,
            problem=self._problem,
        )

    def _answers(self, parts: list[Part]) -> list[Answer]:
        context = self._context
        if not parts:
            return []
        if self._problem is not None:
            return self._workers.map(train_elsewhere, parts)
        return self._workers.map(lambda part: train_part(part, context.task, context.space, context.engine), parts)

    def _take(self, record: TrialRecord, until: int, answer: Answer) -> None:
        """Enter what came of a part, and let the plan judge."""
        number, metric = record.number, self._context.task.metric
        record.epochs = until
        if answer.value is not None:
            record.values[until] = answer.value
        if answer.diverged:
            record.state = "diverged"
            self._plan.tell(number, None)
        elif until >= self._settings.epochs:
            record.state = "complete"
            assert answer.value is not None
            self._plan.tell(number, metric.score(answer.value))
        elif answer.value is not None and not self._plan.report(number, until, metric.score(answer.value)):
            record.state = "early"
            self._plan.tell(number, metric.score(answer.value), early=True)
        self._states.pop(number, None)
        if record.state == "running" and answer.state:
            self._states[number] = answer.state
        if self._log is not None and number not in self._logged:
            self._log.update(record)

    def _metrics(self) -> dict[str, float]:
        ended = [record for record in self._records.values() if record.state != "running"]
        metrics = {
            "trials": float(len(ended)),
            "diverged": float(sum(record.state == "diverged" for record in ended)),
        }
        complete = self._complete()
        return {**metrics, "best": complete[0][1]} if complete else metrics

    def _complete(self) -> list[tuple[TrialRecord, float]]:
        """The trials that came to their end with their values, best first, equal ones in their order."""
        found = [
            (record, record.value)
            for record in self._records.values()
            if record.state == "complete" and record.value is not None
        ]
        return sorted(found, key=lambda item: -self._context.task.metric.score(item[1]))

    def result(self) -> SearchResult:
        """The architecture as it was, with initial weights and settings for the final training.

        Raises:
            DivergedError: no trial came to its end.
        """
        complete = self._complete()
        if not complete:
            raise DivergedError(
                f"tuning: none of {len(self._records)} trials came to a finite {self._context.task.metric.name}. Start "
                "again with smaller values of tuning.parameters.optimizer.lr."
            )
        best = complete[0][0]
        facts = {
            "metric": self._context.task.metric.name,
            "chosen": best.number,
            "configurations": self._settings.configurations,
            "each": [record.to_fields() for record in self._records.values()],
        }
        return SearchResult(
            self._architecture, weights=self._weights(), training=nested(best.parameters), facts={"tuning": facts}
        )

    def _weights(self) -> dict[str, Any]:
        """The weights that every trial began with."""
        context = self._context
        given = context.initial()
        if given is not None:
            return dict(given)
        with context.engine.seeded(context.seed, "network"):
            network = context.space.build(self._architecture, context.task.spec, context.network_size)
        return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    def close(self) -> None:
        """End worker processes, and leave the database."""
        self._workers.close()
        if self._log is not None:
            self._log.close()

    def state_dict(self) -> dict[str, Any]:
        """What is known of each trial, and the state of those that run."""
        return {
            "rounds": self._rounds,
            "trials": [record.to_fields() for record in self._records.values()],
            "states": {number: state_from_bytes(state) for number, state in self._states.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go through the old rounds again with the answers that they had."""
        for fields in state["trials"]:
            self._known.setdefault(fields["number"], TrialRecord.from_fields(fields))
        for _ in range(state["rounds"]):
            self._round()
        self._states |= {number: state_bytes(content) for number, content in state["states"].items()}
