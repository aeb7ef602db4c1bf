"""What the columns of a table are: values, targets, names, groups, time; and the series that they hold."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from operator import itemgetter
from typing import Any

import numpy as np

from archscout.errors import DataError
from archscout.tasks.findings import Finding
from archscout.tasks.options import TaskOptions
from archscout.tasks.readers.series_files import (
    MISSING,
    CaseFaults,
    Series,
    SeriesFile,
    as_number,
    as_numbers,
    infinite,
)
from archscout.tasks.readers.series_stamps import Stamped, common_step, ordered_case, parse_stamps, regular_cases
from archscout.tasks.readers.series_tables import LABEL_NAMES, Table, listed

__all__ = ["Columns", "choose_columns", "series_of_table"]

ID_NAMES = (
    "", "unnamed: 0", "id", "index", "row", "obs", "name", "file", "filename", "file_name", "case", "case_id", "sample",
    "sample_id", "series", "series_id", "seriesid", "unique_id", "instance", "instance_id", "item_id", "recording",
    "recording_id",
)  # fmt: skip
GROUP_NAMES = (
    "subject", "subject_id", "patient", "patient_id", "person", "person_id", "user", "user_id", "speaker", "speaker_id",
    "participant", "participant_id", "group", "group_id", "session", "session_id",
)  # fmt: skip
TIME = re.compile(
    r"(time|date|datetime|timestamp|step|reading|t|ds|year|month|day|hour|quarter|seconds?)([ _\-.(\[].*)?",
    re.IGNORECASE,
)
COUNTED = re.compile(r"(.*?)[ _\-.\[]*(\d{1,9})\]?")
FILE_NAME = re.compile(r".*\.(jpe?g|png|tiff?|bmp|gif|webp|wav|flac|mp3|ogg|npy|dcm)", re.IGNORECASE)
CHANNEL_NAMES = ("dim", "dim_id", "dimension", "channel", "channel_id", "variable", "feature", "sensor", "sensor_id")
MOST_CLASSES = 100  # of a column that may be numbers
PROBED_ROWS = 200
LEAST_STEPS = 4  # of one row; of fewer, a table is rather one of a row for each step
FEW_FEATURES = 30  # columns with names of their own: such a table is rather one of features than of series


@dataclass(frozen=True)
class Columns:
    """The part that each column plays.

    Attributes:
        targets: what to learn.
        channels: columns of the values: of a row-a-series table, the steps of each channel; else one column a channel.
        names: column of the names of series.
        groups: column of groups, as asked for.
        series: column that tells series apart, where a row is a step.
        time: column of times: of the steps, or, of a row-a-series table in the order of time, of the series.
        in_order: whether the series are put in the order of time.
        findings: what was decided without being asked for.
    """

    targets: tuple[str, ...]
    channels: tuple[tuple[str, ...], ...]
    names: str | None = None
    groups: str | None = None
    series: str | None = None
    time: str | None = None
    in_order: bool = False
    findings: tuple[Finding, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads; without findings."""
        values = {name: value for name, value in asdict(self).items() if name != "findings"}
        return {**values, "targets": list(self.targets), "channels": [list(names) for names in self.channels]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Columns:
        """The columns of `to_json`. Raises DataError for anything else."""
        try:
            lists = {"targets": tuple(values["targets"]), "channels": tuple(map(tuple, values["channels"]))}
            return cls(**{**values, **lists})
        except (KeyError, TypeError):
            raise DataError("the model file does not say what the columns of its tables are.") from None


@dataclass
class _Open:
    """Columns whose part is not yet decided, in order."""

    table: Table
    left: list[str]
    findings: list[Finding] = field(default_factory=list)

    def take(self, name: str) -> str:
        self.left.remove(name)
        return name

    def note(self, code: str, message: str, level: str = "note") -> None:
        self.findings.append(Finding(level, code, f"{self.table.path.name}: {message}"))  # type: ignore[arg-type]

    def named(self, names: Sequence[str]) -> list[str]:
        return [column for column in self.left if self.table.named and column.strip().lower() in names]

    def is_text(self, name: str) -> bool:
        """Whether most cells of a column are no numbers."""
        words = _known(self.table, name)
        return sum(as_number(word) is None for word in words) > len(words) / 2

    def repeats(self, name: str) -> bool:
        words = _known(self.table, name, whole=True)
        return len(set(words)) < len(words)


def _known(table: Table, name: str, *, whole: bool = False) -> list[str]:
    rows = table.rows if whole else table.rows[:PROBED_ROWS]
    place = table.columns.index(name)
    return [word for row in rows if (word := row[place].strip()).lower() not in MISSING]


def choose_columns(table: Table, options: TaskOptions, *, published: bool) -> Columns:
    """The part of each column.

    Args:
        published: whether the file is named and written as in the UCR archive: the label stands first.

    Raises:
        DataError: a column that was asked for is missing, or which is the target cannot be told; the message lists the
            columns.
    """
    columns = _Open(table, list(table.columns))
    _refuse_labels(columns)
    targets = [columns.take(column) for column in dict.fromkeys(table.find(name) for name in options.target)]
    groups = _group_column(table, options)
    if groups in targets:
        raise DataError(f"{table.path}: the column '{groups}' is both target and groups; name another one.")
    if groups is not None:
        columns.take(groups)
    if options.series_id is not None:
        series = table.find(options.series_id)
        if series in targets:
            raise DataError(f"{table.path}: the column '{series}' is both target and series_id; name another one.")
        if series in columns.left:
            columns.take(series)
        return replace(_row_a_step(columns, targets, groups, series), in_order=options.order == "time")
    if table.nested:
        return _nested(columns, targets, groups)
    counted = _counted(columns)
    ids = columns.named(ID_NAMES)
    times = [name for name in columns.left if table.named and TIME.fullmatch(name.strip()) and name not in counted]
    if not counted:
        repeated = [name for name in ids if columns.repeats(name)]
        if repeated and times:
            steps = _row_a_step(columns, targets, groups, columns.take(repeated[0]))
            return replace(steps, in_order=options.order == "time")
        _refuse_steps(columns, repeated, times)
    names = next((name for name in ids if not columns.repeats(name) and name not in counted), None)
    if names is not None:
        columns.take(names)
        columns.note("columns", f"the column '{names}' names the series; it is no value.")
    if not targets:
        targets = [columns.take(_find_target(columns, published))]
    time = next((name for name in times if counted and options.order == "time"), None)
    if time is not None:
        columns.take(time)
        columns.note("order", f"the series are in the order of the column '{time}'.")
    _set_aside(columns, counted, times)
    channels = _channels(columns)
    found = Columns(tuple(targets), channels, names, groups, time=time, in_order=time is not None)
    return replace(found, findings=tuple(columns.findings))


def _refuse_labels(columns: _Open) -> None:
    """Raise DataError where a table names files, or has no room for a series."""
    table = columns.table
    files = next((name for name in columns.left if _names_files(table, name)), None)
    if files is not None:
        raise DataError(
            f"{table.path}: the column '{files}' names files. A table of their labels is given beside their folder: "
            f"archscout run FOLDER --labels {table.path}"
        )
    if len(table.columns) < 3 and not table.nested:
        raise DataError(
            f"{table.path} has {len(table.columns)} columns ({table.shown}): a row holds a series of several "
            "steps and its target. One long series is no task; cut it into many, each with a target. A table of labels "
            f"is given beside the folder of its files: archscout run FOLDER --labels {table.path}"
        )


def _names_files(table: Table, name: str) -> bool:
    words = _known(table, name)
    return bool(words) and all(FILE_NAME.fullmatch(word) for word in words)


def _refuse_steps(columns: _Open, repeated: Sequence[str], times: Sequence[str]) -> None:
    """Raise DataError where rows look like steps of time, but nothing tells whose."""
    table = columns.table
    ask = f"Name it with --series-id COLUMN, or give a table with one series a row. The columns are {table.shown}."
    if repeated:
        raise DataError(
            f"{table.path}: rows share values of '{repeated[0]}', as if a row was a step and that column told series "
            f"apart. If so: --series-id '{repeated[0]}'. Else give a table with one series a row, without "
            f"that column. The columns are {table.shown}."
        )
    shared = [name for name in columns.named(GROUP_NAMES) if columns.repeats(name)]
    if times and shared:
        raise DataError(
            f"{table.path}: rows look like steps of time (column '{times[0]}'); which column tells the series apart, "
            f"{listed(shared)}? {ask}"
        )
    if times and not columns.repeats(times[0]):
        raise DataError(
            f"{table.path} looks like one long series: its rows are steps of time (column '{times[0]}'). A task needs "
            f"many series, each with a target, and a column that tells them apart. {ask}"
        )


def _group_column(table: Table, options: TaskOptions) -> str | None:
    if options.groups is None:
        return None
    kind, colon, name = options.groups.partition(":")
    if not colon or kind.strip().lower() != "column":
        raise DataError(
            f"groups of series are told by a column of their table, as --groups column:NAME, not '{options.groups}'. "
            f"The columns of {table.path.name} are {table.shown}."
        )
    return table.find(name.strip())


def _counted(columns: _Open) -> set[str]:
    """Columns that a header counts: t0, t1, t2 ...; or 0, 1, 2."""
    stems: dict[str, list[str]] = {}
    for name in columns.left if columns.table.named else []:
        match = COUNTED.fullmatch(name.strip())
        if match is not None:
            stems.setdefault(match[1], []).append(name)
    return {name for names in stems.values() if len(names) >= LEAST_STEPS for name in names}


def _nested(columns: _Open, targets: list[str], groups: str | None) -> Columns:
    """Of a table whose cells hold whole series."""
    table = columns.table
    if len(table.nested) > 1:
        raise DataError(
            f"{table.path} has several relational attributes: {listed(table.nested)}. A file of series has one, whose "
            "instances are the channels."
        )
    columns.take(table.nested[0])
    if not targets:
        targets = [columns.take(_find_target(columns, published=False))]
    for name in columns.left:
        columns.note("columns", f"the attribute '{name}' is neither series nor target; it was left out.", "doubtful")
    return Columns(tuple(targets), ((table.nested[0],),), None, groups, findings=tuple(columns.findings))


def _find_target(columns: _Open, published: bool) -> str:
    """The column of the target, where none was named. Raises DataError where several could be it, or none."""
    table = columns.table
    named = [name for name in LABEL_NAMES if name != "y"]
    found = columns.named(named) or [name for name in columns.named(["y"]) if not columns.named(["x", "z"])]
    if not found:
        found = [name for name in columns.left if name in table.classes]
    if len(found) > 1:
        raise _ask(columns, f"the columns {listed(found)} could all be the target")
    if found:
        return found[0]
    groups = columns.named(GROUP_NAMES)
    others = [*groups, *columns.named(ID_NAMES), *(name for name in columns.left if TIME.fullmatch(name.strip()))]
    text = [name for name in columns.left if name not in others and columns.is_text(name) and columns.repeats(name)]
    if len(text) > 1:
        raise _ask(columns, f"the columns {listed(text)} hold text, and each could be the target")
    if text:
        if table.named:
            columns.note("target", f"the column '{text[0]}', the only one of text, was taken for the target.")
        return text[0]
    if published and _is_whole(table, columns.left[0]):
        return columns.left[0]
    counted = _counted(columns)
    uncounted = [name for name in columns.left if name not in counted and name not in groups]
    if counted and len(uncounted) == 1:
        columns.note("target", f"the column '{uncounted[0]}', the only one that is no step, was taken for the target.")
        return uncounted[0]
    ends = [name for name in dict.fromkeys((columns.left[0], columns.left[-1])) if _could_be_classes(table, name)]
    if len(ends) == 1 and not counted:
        which = "first" if ends[0] == columns.left[0] else "last"
        columns.note("target", f"the {which} column, which alone holds few whole numbers, was taken for the classes.")
        return ends[0]
    if len(ends) == 2:
        raise _ask(columns, "the first and the last column could both be the target")
    raise _ask(columns, "no column says that it is the target")


def _ask(columns: _Open, reason: str) -> DataError:
    table = columns.table
    how = "its name" if table.named else "first, last or its number from 1"
    return DataError(f"{table.path}: {reason}. Name it with --target ({how}). The columns are {table.shown}.")


def _is_whole(table: Table, name: str) -> bool:
    """Whether a column holds whole numbers only, some of which may be missing."""
    numbers = [as_number(word) for word in _known(table, name, whole=True)]
    return all(number is not None and np.isfinite(number) and number == int(number) for number in numbers)


def _could_be_classes(table: Table, name: str) -> bool:
    """Whether a column holds few different whole numbers, most of them more than once."""
    words = table.column(name)
    numbers = [as_number(word.strip()) for word in words]
    if any(number is None or not np.isfinite(number) or number != int(number) for number in numbers):
        return False
    return 1 < len(set(numbers)) <= min(MOST_CLASSES, len(words) / 2)


def _set_aside(columns: _Open, counted: set[str], times: Sequence[str]) -> None:
    """Take columns from the values that are none: times, groups that were not asked for, text."""
    for name in [name for name in columns.left if name in times and counted]:
        columns.note("columns", f"the column '{name}' holds times of rows; it is no value.")
        columns.take(name)
    left_out = [name for name in columns.named((*GROUP_NAMES, *ID_NAMES)) if name not in counted]
    left_out += [name for name in columns.left if name not in left_out and columns.is_text(name)]
    for name in left_out:
        columns.take(name)
        columns.note(
            "columns",
            f"the column '{name}' was not read as a value. If series that share it belong together (a person, a "
            f"machine, a day), keep them in one split with --groups 'column:{name}'.",
            "doubtful",
        )


def _channels(columns: _Open) -> tuple[tuple[str, ...], ...]:
    """The columns of values: of one channel, or of several where the header counts each of them."""
    table, left = columns.table, columns.left
    if len(left) < 2:
        raise DataError(
            f"{table.path}: a row has {len(left)} values beside the target; a series has several steps. The columns "
            f"are {table.shown}."
        )
    matches = [COUNTED.fullmatch(name.strip()) for name in left] if table.named else []
    if not matches or not all(matches):
        if table.named and len(left) < FEW_FEATURES and not any(matches):
            columns.note(
                "columns",
                f"the values have names of their own ({listed(left[:3])}, ...) and were read as {len(left)} steps of a "
                "series. If they are features without an order, this is not their task.",
                "doubtful",
            )
        return (tuple(left),)
    steps: dict[str, dict[int, str]] = {}
    for name, match in zip(left, matches, strict=True):
        assert match is not None, "all matched"
        if int(match[2]) in steps.setdefault(match[1], {}):
            return (tuple(left),)
        steps[match[1]][int(match[2])] = name
    if len({tuple(sorted(each)) for each in steps.values()}) > 1 or len(next(iter(steps.values()))) < 2:
        columns.note(
            "columns",
            f"the header counts columns of {len(steps)} names, not equally many of each; they were read as one channel "
            "in the order of the file.",
            "doubtful",
        )
        return (tuple(left),)
    channels = tuple(tuple(each[number] for number in sorted(each)) for each in steps.values())
    if len(channels) > 1:
        columns.note("channels", f"{len(channels)} channels of {len(channels[0])} steps: {listed(list(steps))}.")
    elif channels[0] != tuple(left):
        columns.note("columns", "the columns of values were put in the order of their numbers.")
    return channels


def _row_a_step(columns: _Open, targets: list[str], groups: str | None, series: str) -> Columns:
    """Of a table with a row for each step."""
    table = columns.table
    times = [name for name in columns.left if table.named and TIME.fullmatch(name.strip())]
    time = columns.take(times[0]) if times else None
    if not targets:
        targets = [columns.take(_find_target(columns, published=False))]
    text = [name for name in columns.left if columns.is_text(name)] + columns.named(GROUP_NAMES)
    for name in dict.fromkeys(text):
        columns.take(name)
        columns.note("columns", f"the column '{name}' was not read as a value.", "doubtful")
    channels = columns.named(CHANNEL_NAMES)
    if channels:
        raise DataError(
            f"{table.path}: the column '{channels[0]}' seems to tell channels apart, a row for each value. Give a "
            f"column for each channel instead. The columns are {table.shown}."
        )
    if not columns.left:
        raise DataError(f"{table.path} has no column of values; its columns are {table.shown}.")
    order = f"in the order of '{time}'" if time is not None else "in the order of the file"
    columns.note("columns", f"rows with one '{series}' are the steps of a series, {order}.")
    values = tuple((name,) for name in columns.left)
    return Columns(tuple(targets), values, None, groups, series, time, findings=tuple(columns.findings))


def series_of_table(
    table: Table, columns: Columns, *, step: float | None = None, skip_damaged: bool = False
) -> SeriesFile:
    """The series of a table, by the part that its columns play.

    Args:
        columns: chosen for this table, or for another one with the same columns.
        step: of time, to which rows with times are brought; default: the usual one of this table.

    Raises:
        DataError: columns are missing, or rows cannot be read; the message has all their lines.
    """
    needed = [*(name for channel in columns.channels for name in channel), columns.series, columns.time, columns.groups]
    missing = [name for name in needed if name is not None and name not in table.columns]
    if missing:
        raise DataError(
            f"{table.path} lacks the columns {listed(missing)} that the training file has; its columns are "
            f"{table.shown}."
        )
    faults = CaseFaults(table.path)
    if columns.series is not None:
        return _long_series(table, columns, faults, step, skip_damaged)
    rows, cases = _wide_cases(table, columns, faults)
    findings = faults.settle("Values are numbers; missing ones are empty, ? or NaN.", skip=skip_damaged)
    if not cases:
        raise DataError(f"{table.path} has no series: no row could be read.")
    if columns.in_order and columns.time is not None:
        order = _order(table, columns.time, rows)
        rows, cases = [rows[place] for place in order], [cases[place] for place in order]
    targets = _targets_of(table, columns, rows)
    names = None if columns.names is None or columns.names not in table.columns else table.column(columns.names)
    groups = None if columns.groups is None else table.column(columns.groups)
    return SeriesFile(
        path=table.path,
        cases=tuple(cases),
        targets=tuple(targets),
        numeric=False if table.classes.keys() & set(columns.targets) else None,
        class_words=table.classes.get(columns.targets[0], ()),
        target_names=columns.targets if table.named else (),
        names=None if names is None else tuple(names[row].strip() for row in rows),
        lines=tuple(table.lines[row] for row in rows),
        groups=None if groups is None else tuple(groups[row].strip() for row in rows),
        findings=(*table.findings, *findings),
        digest=table.digest,
    )


def _order(table: Table, time: str, rows: Sequence[int]) -> list[int]:
    """Places of rows in the order of their times. Raises DataError where one has none."""
    words = table.column(time)
    try:
        times = parse_stamps([words[row].strip() for row in rows])
    except ValueError as error:
        raise DataError(f"{table.path}: the column '{time}' gives no order of time: {error}.") from None
    places: list[int] = np.argsort(times, kind="stable").tolist()
    return places


def _targets_of(table: Table, columns: Columns, rows: Sequence[int]) -> list[tuple[str, ...] | None]:
    """What is written as the targets of rows; None where a part is missing, or the table has no such columns."""
    if not all(name in table.columns for name in columns.targets):
        return [None] * len(rows)
    places = [table.columns.index(name) for name in columns.targets]
    found: list[tuple[str, ...] | None] = []
    for row in rows:
        words = tuple(table.rows[row][place].strip() for place in places)
        found.append(None if any(word.lower() in MISSING for word in words) else words)
    return found


def _wide_cases(table: Table, columns: Columns, faults: CaseFaults) -> tuple[list[int], list[Series]]:
    """The rows that hold a series, and these; missing values at the end of a row make it shorter."""
    rows: list[int] = []
    cases: list[Series] = []
    width = len(columns.channels[0])
    places = [table.columns.index(name) for channel in columns.channels for name in channel]
    take = itemgetter(*places) if len(places) > 1 else lambda row: (row[places[0]],)
    for number, row in enumerate(table.rows):
        try:
            case = _nested_case(row[places[0]]) if table.nested else as_numbers(take(row)).reshape(-1, width)
        except ValueError as error:
            faults.add(table.lines[number], f"{error}.")
            continue
        with np.errstate(over="ignore"):
            series = case.astype(np.float32)
        known = np.flatnonzero(~np.isnan(series).all(0))
        fault = "a series without values." if len(known) == 0 else infinite(series)
        if fault is None and cases and len(series) != len(cases[0]):
            fault = f"{len(series)} channels, but the cases before have {len(cases[0])}."
        if fault is not None:
            faults.add(table.lines[number], fault)
            continue
        rows.append(number)
        cases.append(series[:, : known[-1] + 1])
    return rows, cases


def _nested_case(cell: str) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Channels, one a line, values between commas. Raises ValueError."""
    channels = [as_numbers([word.strip() for word in line.split(",")]) for line in cell.split("\n") if line.strip()]
    if not channels:
        raise ValueError("a case without values")
    if len({len(channel) for channel in channels}) > 1:
        raise ValueError("channels of different lengths; they are padded with ? to one length in .arff files")
    return np.stack(channels)


def _long_series(
    table: Table, columns: Columns, faults: CaseFaults, step: float | None, skip_damaged: bool
) -> SeriesFile:
    """The series of a table with a row for each step, in the order in which they begin."""
    assert columns.series is not None, "called for such tables only"
    members: dict[str, list[int]] = {}
    for number, name in enumerate(table.column(columns.series)):
        members.setdefault(name.strip(), []).append(number)
    values = [table.column(channel[0]) for channel in columns.channels]
    times = None if columns.time is None else [word.strip() for word in table.column(columns.time)]
    names: list[str] = []
    cases: list[list[Stamped]] = []
    for name, rows in members.items():
        first = table.lines[rows[0]]
        try:
            stamps = (
                np.arange(len(rows), dtype=np.float64) if times is None else parse_stamps([times[row] for row in rows])
            )
            read = [as_numbers([column[row].strip() for row in rows]) for column in values]
            case = ordered_case([(stamps, channel) for channel in read])
        except ValueError as error:
            faults.add(first, f"series '{name}': {error}.")
            continue
        names.append(name)
        cases.append(case)
    usual = common_step(cases) if step is None else step
    begins = [table.lines[members[name][0]] for name in names]
    whole, notes = (
        regular_cases(table.path, cases, begins, faults, usual)
        if times is not None
        else (
            [_plain(case) for case in cases],
            [],
        )
    )
    for begin, each in zip(begins, whole, strict=True):
        if each is not None and (fault := infinite(each)) is not None:
            faults.add(begin, fault)
    targets = _constant(table, columns.targets, members, names, faults)
    groups = None if columns.groups is None else _constant(table, (columns.groups,), members, names, faults)
    findings = faults.settle(
        "Rows of one series have one target and one group, and times of their own.", skip=skip_damaged
    )
    good = [place for place, begin in enumerate(begins) if begin not in faults.numbers]
    if columns.in_order and times is not None:
        good.sort(key=lambda place: float(cases[place][0][0][0]))
    if not good:
        raise DataError(f"{table.path} has no series: none could be read.")
    return SeriesFile(
        path=table.path,
        cases=tuple(each for place in good if (each := whole[place]) is not None),
        targets=tuple(targets[place] for place in good),
        target_names=columns.targets,
        names=tuple(names[place] for place in good),
        groups=None if groups is None else tuple((groups[place] or ("",))[0] for place in good),
        findings=(*table.findings, *notes, *findings),
        digest=table.digest,
        step=usual if times is not None else None,
        lines=tuple(begins[place] for place in good),
    )


def _plain(case: Sequence[Stamped]) -> Series:
    with np.errstate(over="ignore"):
        return np.stack([values for _, values in case]).astype(np.float32)


def _constant(
    table: Table, columns: Sequence[str], members: dict[str, list[int]], names: Sequence[str], faults: CaseFaults
) -> list[tuple[str, ...] | None]:
    """What columns say of each series; a series of which they say several things is a fault."""
    if not all(name in table.columns for name in columns):
        return [None] * len(names)
    cells = [table.column(name) for name in columns]
    found: list[tuple[str, ...] | None] = []
    for name in names:
        said = {tuple(column[row].strip() for column in cells) for row in members[name]}
        known = {words for words in said if not any(word.lower() in MISSING for word in words)}
        if len(known) > 1:
            seen = ", ".join(sorted("/".join(words) for words in known)[:3])
            faults.add(
                table.lines[members[name][0]],
                f"series '{name}' has several values of {listed(columns)}: {seen}. A target or group that changes "
                "within a series is not read.",
            )
        found.append(next(iter(known)) if known else None)
    return found
