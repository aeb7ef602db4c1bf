"""What file names tell: the class or the group of a sample, by a folder of its path or a pattern of its name."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Sequence

from archscout.errors import DataError, SettingsError
from archscout.tasks.findings import some
from archscout.tasks.readers.file_tree import alike

__all__ = ["obvious_pattern", "part_of_names", "read_pattern"]

LONGEST_PATTERN = 200
MOST_REPEATS = 4  # unbounded ones: each multiplies the time that a name of 255 characters may take
# What a label at an end of file names looks like, and how it is called. The first that fits all names is suggested.
LABEL_PATTERNS = (
    ("^[A-Za-z]+(?![A-Za-z])", "^[A-Za-z]+", "the letters that a name begins with"),
    (r"^[^\W\d_]+", r"^[^\W\d_]+", "the letters that a name begins with"),
    ("^[0-9]+(?=_)", "^[0-9]+", "the number that a name begins with"),
    (r"[A-Za-z]+(?=\.[^.]*$)", r"[A-Za-z]+(?=\.[^.]*$)", "the word that a name ends with"),
)


def read_pattern(text: str, option: str) -> re.Pattern[str]:
    """A regular expression of file names.

    Raises:
        SettingsError: no regular expression, or one that may take for ever.
    """
    what = f"{option} '{text}'"
    if len(text) > LONGEST_PATTERN:
        raise SettingsError(f"{option} has {len(text)} characters; a pattern of file names has at most 200.")
    try:
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # of signs that may mean more one day
            pattern = re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise SettingsError(
            f"{what} is no regular expression: {error}. For files such as cat_001.jpg write ^[a-z]+"
        ) from None
    repeats, nested = _repeats(text)
    if nested or repeats > MOST_REPEATS:
        why = "repeats what itself repeats or has alternatives" if nested else f"has {repeats} open repetitions"
        raise SettingsError(f"{what} {why}, which may take for ever; write it without, for example [a-z0-9]+_ once.")
    return pattern


def _repeats(text: str) -> tuple[int, bool]:
    """How many repetitions without bound an expression has, and whether one holds another, or alternatives.

    Looks at the text, in which brackets were found to match: `re` has no public way to look into an expression.
    """
    plain = re.sub(r"\\.", "e", text)
    plain = re.sub(r"\[\^?\]?[^\]]*\]", "c", plain)
    open_ended = r"(?:[*+]|\{\d*,\d*\})"
    count = len(re.findall(open_ended, plain))
    stack: list[bool] = []  # of each open group, whether something in it repeats or branches
    place = 0
    while place < len(plain):
        sign = plain[place]
        if sign == "(":
            stack.append(False)
        elif sign == ")" and stack:
            inside = stack.pop()
            repeated = re.match(open_ended, plain[place + 1 :]) is not None
            if inside and repeated:
                return count, True
            if stack and (inside or repeated):
                stack[-1] = True
        elif stack and (sign == "|" or re.match(open_ended, plain[place:])):
            stack[-1] = True
        place += 1
    return count, False


def part_of_names(names: Sequence[str], option: str, text: str, which: str = "") -> list[str | None]:
    """What an option names, of each path: `folder:LEVEL`, or else the first group of a pattern, or all that it matches.

    None for names that have no such folder or do not match. Folders are counted from the data's root, the first is 1.
    Patterns are searched for in the file's name without its folders. `which`: the name of a group of the pattern, which
    wins over the first one.

    Raises:
        SettingsError: no level, or no pattern.
    """
    kind, colon, level = text.partition(":")
    if colon and kind == "folder":
        if not level.strip().isdecimal() or not 0 < int(level) < 100:
            raise SettingsError(f"{option} '{text}': the level is a number from 1, as folder:1")
        number = int(level)
        found: list[str | None] = []
        for name in names:
            folders = name.split("/")[:-1]
            found.append(alike(folders[number - 1]) if len(folders) >= number else None)
        return found
    pattern = read_pattern(text, option)
    values: list[str | None] = []
    for name in names:
        match = pattern.search(name.rpartition("/")[2])
        group = which if which in pattern.groupindex else min(1, pattern.groups)
        value = None if match is None else match[group]
        values.append(alike(value) if value else None)
    return values


def has_group(text: str, which: str) -> bool:
    """Whether a pattern, which was found to be one, has a group of that name."""
    return f"(?P<{which}>" in text


def check_all_told(names: Sequence[str], values: Sequence[str | None], option: str, text: str) -> list[str]:
    """The values. Raises DataError that names the files without one."""
    lost = [name for name, value in zip(names, values, strict=True) if value is None]
    if lost:
        why = "are not so deep" if text.startswith("folder:") else "do not match"
        raise DataError(
            f"{option} {text}: {len(lost):,} of {len(names):,} files {why}, for example {some(lost)}. "
            "Every file needs a value."
        )
    return [value for value in values if value is not None]


def obvious_pattern(names: Sequence[str]) -> tuple[str, str, Counter[str]] | None:
    """A pattern that finds the class in all file names, what it is in words, and the classes; None without one.

    It must give two classes or more, each of two files at least, and ten times as many files as classes.
    """
    for strict, text, words in LABEL_PATTERNS:
        pattern = re.compile(strict)
        values = [match[0] if (match := pattern.search(name.rpartition("/")[2])) else None for name in names]
        if all(values):
            counts = Counter(value for value in values if value is not None)
            if len(counts) > 1 and min(counts.values()) > 1 and len(names) >= 10 * len(counts):
                return text, words, counts
    return None
