"""How people call the folders of splits, of images and of masks."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["NameRole", "is_container", "read_name", "words_of"]

TRAIN = ("train", "training", "trainings", "trains", "trn", "tr", "learn", "learning", "fit")
VALIDATION = ("val", "vals", "valid", "validation", "validate", "validating", "dev", "devel", "development")
EVALUATION = ("eval", "evaluation", "evaluate", "evaluating")
TEST = ("test", "tests", "testing", "tst", "te", "holdout", "heldout", "unseen")
PREDICT = ("pred", "predict", "prediction", "predictions", "unlabeled", "unlabelled", "inference", "submission")
PARTS = {
    **dict.fromkeys(TRAIN, "train"),
    **dict.fromkeys(VALIDATION, "validation"),
    **dict.fromkeys(EVALUATION, "evaluation"),
    **dict.fromkeys(TEST, "test"),
    **dict.fromkeys(PREDICT, "unlabelled"),
}
# fmt: off
IMAGES = (
    "image", "images", "img", "imgs", "picture", "pictures", "pic", "pics", "photo", "photos", "jpegimages", "frames",
    "frame", "original", "originals", "scan", "scans", "slices", "rgb",
)
MASKS = (
    "mask", "masks", "msk", "msks", "label", "labels", "lbl", "annotation", "annotations", "annot", "annots", "anno",
    "gt", "gts", "groundtruth", "groundtruths", "segmentation", "segmentations", "seg", "segs", "segmentationclass",
    "segmap", "segmaps", "manual", "labelmap", "labelmaps",
)
# Say nothing of what is in a folder.
FILLERS = (
    "data", "dataset", "datasets", "set", "sets", "split", "splits", "folder", "dir", "directory", "file", "files",
    "sample", "samples", "example", "examples", "all", "raw", "the", "final", "new", "png", "jpg", "jpeg", "tif",
    "tiff", "wav", "flac", "mp3", "ogg", "audio", "audios", "sound", "sounds", "clip", "clips", "recordings", "class",
    "classes", "subset", "partition", "processed", "preprocessed", "resized", "cropped",
)
# fmt: on
JOINED = re.compile(
    rf"(?P<part>{'|'.join(sorted(PARTS, key=len, reverse=True))})"
    rf"(?P<rest>{'|'.join(sorted({*FILLERS, *IMAGES, *MASKS}, key=len, reverse=True))})"
)
WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+")


@dataclass(frozen=True)
class NameRole:
    """What a folder's name says.

    Attributes:
        parts: of the data: train, validation, evaluation, test, unlabelled; in the order of the words.
        role: "image", "mask" or "".
        numbers: in the name.
        rest: words that say nothing of this.
    """

    parts: tuple[str, ...] = ()
    role: str = ""
    numbers: tuple[str, ...] = ()
    rest: tuple[str, ...] = ()

    @property
    def part(self) -> str:
        """The split that the name means; "" where it means none, or two."""
        kinds = set(self.parts)
        if kinds and kinds <= {"train", "validation", "evaluation"} and "train" in kinds:
            return "train"  # trainval
        return self.parts[0] if len(kinds) == 1 else ""

    @property
    def is_part(self) -> bool:
        """Whether the name means a split and nothing else."""
        return bool(self.part) and not self.rest


def words_of(name: str) -> list[str]:
    """The words of a name, in lower case: separated by signs, numbers, or capitals."""
    plain = unicodedata.normalize("NFKC", name).strip()
    return [word.lower() for word in WORDS.findall(plain)]


@lru_cache(maxsize=4096)
def read_name(name: str) -> NameRole:
    """What a folder's name says of its content: "01_TrainImages" means train, and images."""
    parts: list[str] = []
    roles: list[str] = []
    rest: list[str] = []
    numbers: list[str] = []
    words = words_of(name)
    joined = "".join(words)
    if joined in PARTS or joined in IMAGES or joined in MASKS:
        words = [joined]  # hold-out, Ground_Truth, JPEGImages
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        both = JOINED.fullmatch(word)
        if word == "ground" and waiting[:1] == ["truth"]:
            waiting[0] = "groundtruth"
        elif word in ("hold", "held") and waiting[:1] == ["out"]:
            waiting[0] = "holdout"
        elif word.isdecimal():
            numbers.append(word)
        elif word in PARTS:
            parts.append(PARTS[word])
        elif word in IMAGES:
            roles.append("image")
        elif word in MASKS:
            roles.append("mask")
        elif both:
            waiting[:0] = [both["part"], both["rest"]]
        elif word == "trainval":
            parts += ["train", "validation"]
        elif word not in FILLERS:
            rest.append(word)
    if parts == ["test"] and rest in (["public"], ["private"]):  # as contests name the set that may be looked at
        parts, rest = ["evaluation" if rest == ["public"] else "test"], []
    role = "mask" if "mask" in roles else "image" if roles else ""
    return NameRole(tuple(parts), role, tuple(numbers), tuple(rest))


def is_container(name: str) -> bool:
    """Whether a name says only that there is data: images, dataset, pictures."""
    read = read_name(name)
    return not read.parts and not read.rest and read.role != "mask" and any(word.isalpha() for word in words_of(name))
