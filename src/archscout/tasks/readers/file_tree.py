"""What lies in a folder: samples by suffix, other files, and links, each followed once."""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from archscout.errors import DataError
from archscout.tasks.findings import Finding, Level, some

__all__ = ["Folder", "Tree", "alike", "kinds_of_files", "natural", "read_tree", "suffix_of"]

# What file systems, their viewers and version control leave behind; compared in lower case.
# fmt: off
LEFT_BEHIND = (
    # macOS
    ".ds_store", "._*", ".appledouble", ".spotlight-v100", ".trashes", ".fseventsd", ".temporaryitems", ".apdisk",
    "__macosx", "icon\r", ".localized", ".documentrevisions-v100",
    # Windows
    "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "$recycle.bin", "system volume information", "~$*",
    "*.tmp",
    # Unix, network storage
    ".directory", ".trash-*", ".nfs*", ".thumbnails", "lost+found", "*~", ".*.sw[a-p]", ".~lock.*#", "@eadir",
    "#recycle", "#snapshot", ".@__thumb",
    # programs
    ".git", ".gitignore", ".gitattributes", ".gitkeep", ".keep", ".svn", ".hg", ".dvc", ".dvcignore",
    ".ipynb_checkpoints", "__pycache__", ".idea", ".vscode", ".picasa.ini", "picasa.ini", ".picasaoriginals",
)
# fmt: on


@dataclass(eq=False)
class Folder:
    """A folder with samples in it or below.

    Attributes:
        path: below the root, with `/`; "" is the root itself.
        folders: by name, in natural order.
        files: names of the samples that lie in it directly, in natural order.
        others: names of its other files.
        total: samples in it and below.
    """

    path: str
    folders: dict[str, Folder] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    total: int = 0

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def filled(self) -> list[Folder]:
        """The folders in it that have samples in them or below."""
        return [folder for folder in self.folders.values() if folder.total]

    def below(self, name: str) -> str:
        """The path of an entry."""
        return f"{self.path}/{name}" if self.path else name

    def walk(self) -> Iterator[Folder]:
        """This folder and all below, each before those in it."""
        waiting = [self]
        while waiting:
            folder = waiting.pop()
            yield folder
            waiting += reversed(folder.folders.values())

    def samples(self) -> list[str]:
        """Paths below the root of all samples in it and below: its own first, then folder by folder."""
        return [folder.below(name) for folder in self.walk() for name in folder.files]

    def other_files(self) -> list[str]:
        """Paths below the root of all other files in it and below."""
        return [folder.below(name) for folder in self.walk() for name in folder.others]


@dataclass
class Tree:
    """All that was seen below a root. `others` of folders are files with other suffixes than those wanted."""

    root: Path
    top: Folder
    hidden: list[str] = field(default_factory=list)
    loops: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def findings(self, what: str, *, skip_damaged: bool) -> list[Finding]:
        """What is to be said of entries that are no samples. `what`: the samples, as "images"."""
        damaged: Level = "doubtful" if skip_damaged else "wrong"
        then = "left out, as you say." if skip_damaged else "repair or remove what is named, or say --skip-damaged."
        found = []
        if self.unreadable:
            names = tuple(self.unreadable)
            found.append(Finding(damaged, "unreadable", f"{_count(names, 'folder')} cannot be read: {then}", names))
        if self.broken:
            names = tuple(self.broken)
            found.append(
                Finding(damaged, "broken links", f"{_count(names, 'link leads', 'links lead')} nowhere: {then}", names)
            )
        for links, code, told in (
            (self.loops, "loops", "back to a folder above; not followed"),
            (self.repeated, "links", "to a folder that was read already; each is read once"),
        ):
            if links:
                found.append(
                    Finding(
                        "doubtful",
                        code,
                        f"{_count(links, 'link leads', 'links lead')} {told}: {some(links)}.",
                        tuple(links),
                    )
                )
        if self.hidden:
            found.append(
                Finding(
                    "doubtful",
                    "hidden",
                    f"{_count(self.hidden, 'file or folder', 'files or folders')} of {what} passed over, hidden by a "
                    f"dot at the beginning of the name: {some(self.hidden)}. Rename what belongs to the data.",
                    tuple(self.hidden),
                )
            )
        return found

    def passed_over(self, used: Iterable[str] = ()) -> list[Finding]:
        """A note of the files that are no samples and were not used in another way."""
        known = set(used)
        names = [name for name in self.top.other_files() if name not in known]
        if not names:
            return []
        return [Finding("note", "passed over", passed_over(names), tuple(names))]


def passed_over(names: Sequence[str]) -> str:
    """A sentence that counts files by suffix: "35 files were passed over: 30 .txt, 5 .json"."""
    more = len({suffix_of(name) for name in names}) - 8
    was = "file was" if len(names) == 1 else "files were"
    return (
        f"{len(names):,} {was} passed over: {kinds_of_files(names)}{f' and {more} other suffixes' if more > 0 else ''}."
    )


def kinds_of_files(names: Sequence[str]) -> str:
    """What files there are, by suffix: "30 .txt, 5 .json"; "nothing" where there are none."""
    counts = Counter(suffix_of(name) or "without suffix" for name in names)
    return ", ".join(f"{count:,} {suffix}" for suffix, count in counts.most_common(8)) or "nothing"


def _count(names: Sequence[str], one: str, several: str = "") -> str:
    return f"{len(names):,} {one if len(names) == 1 else several or one + 's'}"


def suffix_of(name: str) -> str:
    """The suffix in lower case, ".nii.gz" and the like as a whole; "" where there is none."""
    lower = name[name.rfind("/") + 1 :].lower().rstrip(" ").lstrip(".")
    stem, dot, suffix = lower.rpartition(".")
    if not dot:
        return ""
    if suffix in ("gz", "bz2", "xz"):
        return "".join(stem.rpartition(".")[1:] if "." in stem else "") + dot + suffix
    return dot + suffix


def natural(name: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Sorts names as people count: img2 before img10; else by code points."""
    parts = re.split(r"([0-9]+)", name)
    key = tuple((1, int(part), "") if place % 2 else (0, 0, part) for place, part in enumerate(parts) if part)
    # A number sorts before text, as digits do before letters.
    return tuple((0, number, "") if kind else (1, 0, text) for kind, number, text in key), name


def alike(name: str) -> str:
    """Two names that a reader cannot tell apart have one such form: composed characters, no blanks around."""
    return unicodedata.normalize("NFC", " ".join(name.split()))


def read_tree(root: Path, suffixes: frozenset[str]) -> Tree:
    """Everything below a folder. Real folders are read first, so that a link never takes the place of one.

    Raises:
        DataError: the root is missing or cannot be read.
    """
    top = Folder("")
    tree = Tree(root, top)
    seen: dict[tuple[int, int], str] = {}
    try:
        with os.scandir(root):
            pass
        whole = root.resolve()
        # A link to a folder above the root leads back to it, too.
        above = tuple(
            (facts.st_dev, facts.st_ino) for facts in (path.stat() for path in [*reversed(whole.parents), whole])
        )
    except OSError as error:
        raise DataError(f"cannot read the folder {root}: {error.strerror}.") from None
    waiting: deque[tuple[Folder, tuple[tuple[int, int], ...], bool]] = deque([(top, above, False)])
    links: deque[tuple[Folder, tuple[tuple[int, int], ...], bool]] = deque()
    while waiting or links:
        folder, chain, is_link = waiting.popleft() if waiting else links.popleft()
        if chain[-1] in seen:
            (tree.repeated if is_link else tree.loops).append(folder.path)
            _forget(top, folder)
            continue
        seen[chain[-1]] = folder.path
        for child, key, linked in _read_folder(tree, folder, suffixes):
            if key in chain:
                tree.loops.append(child.path)
                del folder.folders[child.name]
                continue
            (links if linked else waiting).append((child, (*chain, key), linked))
    _count_totals(top)
    for names in (tree.hidden, tree.loops, tree.repeated, tree.broken, tree.unreadable):
        names.sort(key=natural)
    return tree


def _read_folder(tree: Tree, folder: Folder, suffixes: frozenset[str]) -> list[tuple[Folder, tuple[int, int], bool]]:
    """Note the entries of a folder; returns the folders in it, with what identifies them and whether they are links."""
    children = []
    try:
        with os.scandir(tree.root / folder.path) as entries:
            found = sorted(entries, key=lambda entry: natural(entry.name))
    except OSError as error:
        tree.unreadable.append(f"{folder.path} ({error.strerror})")
        return []
    for entry in found:
        lower = entry.name.lower()
        if any(fnmatchcase(lower, pattern) for pattern in LEFT_BEHIND if pattern[0] in "*" + lower[:1]):
            continue
        path = folder.below(entry.name)
        is_link = entry.is_symlink()
        try:
            mode = entry.stat().st_mode if is_link else 0
            is_folder = stat.S_ISDIR(mode) if is_link else entry.is_dir()
            is_file = stat.S_ISREG(mode) if is_link else entry.is_file()
        except OSError as error:
            # ELOOP: a link that leads to itself.
            (tree.loops if "symbolic link" in str(error.strerror).lower() else tree.broken).append(path)
            continue
        wanted = suffix_of(entry.name) in suffixes
        if entry.name.startswith("."):
            if wanted or (is_folder and _has_samples(tree.root / path, suffixes)):
                tree.hidden.append(path)
            elif not is_folder:
                folder.others.append(entry.name)
        elif is_folder:
            status = entry.stat()
            child = Folder(path)
            folder.folders[entry.name] = child
            children.append((child, (status.st_dev, status.st_ino), is_link))
        else:
            (folder.files if wanted and is_file else folder.others).append(entry.name)
    return children


def _has_samples(path: Path, suffixes: frozenset[str]) -> bool:
    return any(suffix_of(name) in suffixes for _, _, names in os.walk(path) for name in names)


def _forget(top: Folder, folder: Folder) -> None:
    parent = top
    for part in folder.path.split("/")[:-1]:
        parent = parent.folders[part]
    del parent.folders[folder.name]


def _count_totals(top: Folder) -> None:
    for folder in reversed(list(top.walk())):  # those below come before
        folder.total = len(folder.files) + sum(child.total for child in folder.folders.values())
