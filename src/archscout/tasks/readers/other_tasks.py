"""Data sets for tasks that are not served, recognised by their annotations, so that a refusal is true."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from archscout.tasks.readers.file_tree import Folder, Tree, suffix_of
from archscout.tasks.readers.split_names import words_of

__all__ = ["annotated_task", "boxes_in", "content_of_other_files", "paired_folders"]

PEEK = 65536  # bytes that are read of an annotation
PEEKED = 5  # annotations of a kind that are looked into
SERVED = "archscout serves classes, several labels, numbers, and masks of classes"
NUMBER = r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
BOX_LINE = re.compile(rf"\s*\d+(\s+{NUMBER}){{4,5}}\s*")
POLYGON_LINE = re.compile(rf"\s*\d+(\s+{NUMBER}){{6,}}\s*")
BOX_COLUMNS = ({"xmin", "ymin", "xmax", "ymax"}, {"x1", "y1", "x2", "y2"}, {"bbox"}, {"x_min", "y_min"})
# Folders of one file name each, that belong together as input and output.
PAIRS = (
    ({"a", "b"}, "pairs of {} (translation of one into the other)"),
    ({"lr", "hr"}, "{} of low and high resolution (super-resolution)"),
    ({"input", "output"}, "pairs of inputs and outputs"),
    ({"inputs", "outputs"}, "pairs of inputs and outputs"),
    ({"input", "target"}, "pairs of inputs and targets"),
    ({"inputs", "targets"}, "pairs of inputs and targets"),
    ({"source", "target"}, "pairs of sources and targets"),
    ({"noisy", "clean"}, "{} with and without noise (restoration)"),
    ({"blur", "sharp"}, "blurred and sharp {} (restoration)"),
    ({"blurred", "sharp"}, "blurred and sharp {} (restoration)"),
    ({"hazy", "clear"}, "{} with and without haze (restoration)"),
)
# What a folder holds in place of samples, by suffix.
FORMATS = {
    **dict.fromkeys((".mp4", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg"), "videos"),
    **dict.fromkeys((".nii", ".nii.gz", ".mha", ".mhd", ".nrrd"), "volumes in three dimensions"),
    **dict.fromkeys((".ply", ".pcd", ".obj", ".stl", ".off", ".las", ".laz"), "point clouds or meshes"),
    **dict.fromkeys((".dcm", ".dicom"), "DICOM files"),
    **dict.fromkeys((".mid", ".midi"), "MIDI files"),
}
ADVICE = {
    "DICOM files": "Write each as .png of 16 bits first (pydicom reads them).",
    "videos": "Write frames of them as images first; --groups keeps those of one video in one split.",
    "volumes in three dimensions": "Networks here see images: write slices as .png or arrays, and keep those of one "
    "patient together with --groups.",
}


def paired_folders(top: Folder, samples: str) -> str | None:
    """A sentence on folders of inputs and outputs, which would look like classes; None where there are none."""
    for folder in [top, *top.filled]:
        by_name = {inner.name.lower(): inner for inner in folder.filled}
        for names, what in PAIRS:
            if names == set(by_name):
                first, second = (by_name[name] for name in sorted(names))
                if not first.filled and not second.filled and _stems(first) == _stems(second):
                    return (
                        f"{first.path} and {second.path} hold files of the same names: {what.format(samples)}. "
                        f"That is not served: {SERVED}. If they are two classes, say --kind classification; if "
                        f"{second.path} holds masks of classes, call the folders images and masks."
                    )
        sides = {tuple(words_of(inner.name)[-1:]) for inner in folder.filled}
        if sides == {("a",), ("b",)} and len(folder.filled) > 2:
            return (
                f"{', '.join(sorted(inner.name for inner in folder.filled))}: {samples} of two domains A and B "
                f"(translation of one into the other). That is not served: {SERVED}."
            )
    return None


def _stems(folder: Folder) -> set[str]:
    return {name.rpartition(".")[0] for name in folder.files}


def annotated_task(tree: Tree, samples: str) -> str | None:
    """A sentence on the task that the annotations beside the samples are for; None where none is recognised."""
    others = tree.top.other_files()
    by_suffix: dict[str, list[str]] = {}
    for name in others:
        by_suffix.setdefault(suffix_of(name), []).append(name)
    stems = {name.rpartition("/")[2].rpartition(".")[0] for name in tree.top.samples()}
    for suffix, judge in ((".json", _of_json), (".xml", _of_xml), (".txt", _of_text), (".csv", _of_table)):
        names = by_suffix.get(suffix, [])
        # Those that are called like samples first: they tell most.
        names.sort(key=lambda name: name.rpartition("/")[2].rpartition(".")[0] not in stems)
        for name in names[:PEEKED]:
            beside = name.rpartition("/")[2].rpartition(".")[0] in stems
            what = judge(_peek(tree.root / name), beside)
            if what:
                return (
                    f"{tree.root} is a data set of {what.format(samples)} ({len(names):,} {suffix} "
                    f"file{'s' * (len(names) > 1)}, for example {name}). That is not served: {SERVED}."
                )
    return None


def _peek(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(PEEK).decode("utf-8", "replace")
    except OSError:
        return ""


def _of_json(text: str, beside: bool) -> str:
    def has(*keys: str) -> bool:
        return all(f'"{key}"' in text for key in keys)

    if has("keypoints"):
        return "key points (pose estimation)"
    if has("caption"):
        return "captions (image captioning)"
    if has("bbox") or has("shapes", "points") or has("images", "annotations", "categories"):
        return "boxes or outlines of objects (object detection or instance segmentation)"
    if has("question") and has("answer"):
        return "questions and answers"
    return ""


def _of_xml(text: str, beside: bool) -> str:
    if "<bndbox" in text or "<box " in text or "<object" in text:
        return "boxes of objects (object detection)"
    return ""


def _of_text(text: str, beside: bool) -> str:
    lines = [line for line in text.splitlines() if line.strip()][:20]
    if lines and beside:
        if all(BOX_LINE.fullmatch(line) for line in lines):
            return "boxes of objects (object detection)"
        if all(POLYGON_LINE.fullmatch(line) for line in lines):
            return "outlines or key points of objects (instance segmentation or pose estimation)"
        if all(len(line.split()) > 2 for line in lines):
            return "texts to {} (captions, transcripts)"
    if lines and re.match(r"image\s*[,|]\s*caption", lines[0]):
        return "captions (image captioning)"
    return ""


def boxes_in(columns: Iterable[str]) -> bool:
    """Whether columns of a table are the corners of boxes."""
    names = {column.strip().lower() for column in columns}
    return any(box <= names for box in BOX_COLUMNS)


def _of_table(text: str, beside: bool) -> str:
    header = set(re.split(r"[,;\t]", text.partition("\n")[0].strip().lower().replace('"', "")))
    if boxes_in(header):
        return "boxes of objects (object detection)"
    if {"caption"} & header or {"captions"} & header:
        return "captions (image captioning)"
    return ""


def content_of_other_files(tree: Tree) -> str:
    """What a folder without samples holds, in a sentence with what to do."""
    names = tree.top.other_files()
    counts = Counter(suffix_of(name) for name in names)
    kinds = Counter(dict.fromkeys(FORMATS.values(), 0))
    for suffix, count in counts.items():
        if suffix in FORMATS:
            kinds[FORMATS[suffix]] += count
    kind, count = max(kinds.items(), key=lambda item: item[1])
    if count:
        return f"it holds {count:,} {kind}, which are not served. {ADVICE.get(kind, '')}".strip()
    if names and set(counts) <= {".csv", ".tsv", ".xlsx", ".parquet", ".md", ".txt", ".json", ""}:
        tables = sum(counts[suffix] for suffix in (".csv", ".tsv", ".xlsx", ".parquet"))
        if tables:
            return (
                f"it holds {tables} table{'s' * (tables > 1)} and nothing else. Rows of a table as samples are not "
                "served, except series; if the table names files, give the folder that they are in, with --labels."
            )
    return ""
