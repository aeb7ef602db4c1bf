"""Images and their masks: folders of the usual names, or masks beside the images; which mask is of which image."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch

from archscout.errors import DataError
from archscout.tasks.findings import Finding, some
from archscout.tasks.options import TaskOptions
from archscout.tasks.readers.file_tree import Folder, Tree, alike, natural
from archscout.tasks.readers.layout_of_folder import PARTS, FileList, FolderLayout, Wording
from archscout.tasks.readers.name_patterns import check_all_told, part_of_names
from archscout.tasks.readers.split_names import read_name

__all__ = ["mask_layout"]

MATCHED = 0.5  # share of the fewer of images and masks that must have a partner
BESIDE = 0.4  # share of the files that are masks of others in the same folder: worth a question
BESIDE_ENDING = re.compile(r"[\W_]*(mask|seg|segmentation|gt|ground_?truth|label)[\W_]?\d*$", re.IGNORECASE)

Key = tuple[str, ...]
"""Folders that say nothing of splits and masks, and a file's name without its suffix."""


@dataclass
class _Side:
    """Images or masks of one split: paths by what they are told apart by."""

    files: dict[Key, list[str]] = field(default_factory=dict)

    def add(self, key: Key, name: str) -> None:
        self.files.setdefault(key, []).append(name)

    def __len__(self) -> int:
        return sum(len(names) for names in self.files.values())


def mask_layout(tree: Tree, wording: Wording, options: TaskOptions) -> FolderLayout | None:
    """Images with a mask each; None where the folders do not say so.

    One folder is called images or the like, one masks, labels, annotations, ground truth or the like, with the same
    folders in both; splits may lie above or below. Or a mask lies beside its image, called like it with `_mask` or
    `_seg` at the end. Names agree up to suffix and such words.

    Raises:
        DataError: no mask has the name of an image, several folders may be the masks, or images have several masks.
    """
    images, masks, left = _sort_folders(tree)
    if not masks:
        return _beside(tree, wording, options)
    if not images:
        return None
    pairs: dict[str, list[tuple[str, str]]] = {}
    without_mask: dict[str, list[str]] = {}
    without_image: list[str] = []
    for part in {**images, **masks}:
        own_images, own_masks = images.get(part, _Side()), masks.get(part, _Side())
        pairs[part], without_mask[part], lost = _paired(tree, own_images, own_masks)
        without_image += lost
    _check_matched(tree, images, masks, sum(len(each) for each in pairs.values()))
    return _layout(tree, wording, options, pairs, without_mask, without_image, left)


def _sort_folders(tree: Tree) -> tuple[dict[str, _Side], dict[str, _Side], list[Folder]]:
    """The files of folders for images and of folders for masks, by split; and the folders that are neither.

    The root itself, and folders called like a split and nothing else, hold images where others hold masks.
    """
    found: list[tuple[Folder, str, str, tuple[str, ...], str]] = []
    for folder in tree.top.walk():
        if folder.files:
            role, part, key, mask_folder = _read_path(folder.path)
            found.append((folder, role, part, key, mask_folder))
    mask_folders = {mask_folder for _, role, _, _, mask_folder in found if role == "mask"}
    plain = {name for name in mask_folders if not read_name(name).rest}
    images: dict[str, _Side] = {}
    masks: dict[str, _Side] = {}
    left: list[Folder] = []
    if len({_written(name) for name in plain}) > 1:
        raise DataError(
            f"{tree.root} has {' and '.join(sorted(plain))}, each of which may hold the masks. Move all but one away."
        )
    has_images = any(role == "image" for _, role, *_ in found)
    for folder, role, part, key, mask_folder in found:
        if role == "mask" and (not plain or mask_folder in plain):
            side = masks.setdefault(part, _Side())
        elif role == "image" or (not role and not key and not has_images and (part or not folder.path)):
            side = images.setdefault(part, _Side())
        else:
            left.append(folder)
            continue
        for name in folder.files:
            side.add((*key, alike(name.rpartition(".")[0])), folder.below(name))
    if not has_images and not any(masks.get(part) for part in images):
        masks = {}  # a class is called masks or labels
    return images, masks, left


def _read_path(path: str) -> tuple[str, str, tuple[str, ...], str]:
    """Role and split that the names of a path tell, the names that tell nothing, and the name that told the role."""
    role, part, told = "", "", ""
    key = []
    for name in path.split("/") if path else []:
        read = read_name(name)
        own = "" if read.rest and not read.role else read.part
        part = own or part
        if read.role:
            role, told = read.role, name
        elif not own:
            key.append(alike(name))
    part = "validation" if part == "evaluation" else part
    return role, part, tuple(key), told


def _written(name: str) -> str:
    """A folder's name without its split, numbers and signs: train_masks and test_masks are one."""
    read = read_name(name)
    words = re.findall(r"[^\W\d_]+", name.lower())
    return "".join(word for word in words if not read_name(word).part or not read.parts) if read.parts else name.lower()


def _paired(tree: Tree, images: _Side, masks: _Side) -> tuple[list[tuple[str, str]], list[str], list[str]]:
    """Pairs of image and mask; images without a mask; masks without an image."""
    twice = [names for side in (images, masks) for names in side.files.values() if len(names) > 1]
    if twice:
        raise DataError(
            f"{some(twice[0])} in {tree.root} differ in their suffixes only, so that it is not clear which mask is of "
            "which image."
        )
    _check_one_each(images, masks)
    best: dict[str, str] = {}
    fewer = min(len(images), len(masks))
    for simplify in (_same, _without_ending(masks, images), _without_words, _without_folders):
        known, wanted = _unique(images, simplify), _unique(masks, simplify)
        found = {known[key]: mask for key, mask in wanted.items() if key in known}
        if len(found) > len(best):
            best = found
        if len(best) == fewer:
            break
    pairs = sorted(best.items(), key=lambda pair: natural(pair[0]))
    used = set(best.values())
    lost_images = [name for names in images.files.values() for name in names if name not in best]
    lost_masks = [name for names in masks.files.values() for name in names if name not in used]
    return pairs, sorted(lost_images, key=natural), sorted(lost_masks, key=natural)


def _check_one_each(images: _Side, masks: _Side) -> None:
    """Raise DataError where every image has a folder of its own with several masks."""
    folders = {key[:-1] for key in images.files}
    if len(folders) > 1 and len(folders) == len(images.files) and len(masks) > 1.5 * len(images):
        first = next(iter(images.files.values()))[0]
        raise DataError(
            f"images have several masks each ({len(masks):,} masks of {len(images):,} images, for example beside "
            f"{first}): one for each object, as in instance segmentation, which is not served. Join the masks of an "
            "image into one whose values are classes."
        )


def _same(key: Key) -> Key:
    return key


def _without_folders(key: Key) -> Key:
    """The file's name alone: masks may lie in a folder more, as annotations/trimaps."""
    return key[-1:]


def _without_words(key: Key) -> Key:
    """Without words as mask, seg, image, training in the file's name."""
    kept: list[str] = []
    after_role = False
    for word in re.findall(r"[A-Za-z]+|[0-9]+|[^\W\dA-Za-z_]+", key[-1]):
        told = read_name(word)
        is_role = bool(told.role or told.part)
        if not is_role and not (after_role and kept and word.isdecimal()):  # the number in 21_manual1 is the mask's
            kept.append(word.lower())
        after_role = is_role
    return (*key[:-1], " ".join(kept)) if kept else key


def _without_ending(masks: _Side, images: _Side) -> Callable[[Key], Key]:
    """Cuts off what all masks have at the end of their names and images have not, such as _L."""
    known = set(images.files)
    ending = ""
    first = next(iter(masks.files), None)
    if first is not None:
        stem = first[-1]
        cuts = [cut for cut in range(len(stem) - 1, 0, -1) if (*first[:-1], stem[:cut]) in known]
        ending = stem[cuts[0] :] if cuts else ""

    def cut(key: Key) -> Key:
        return (*key[:-1], key[-1].removesuffix(ending)) if ending and key not in known else key

    return cut


def _unique(side: _Side, simplify: Callable[[Key], Key]) -> dict[Key, str]:
    """Files by their simplified keys, without those that are no longer told apart."""
    found: dict[Key, list[str]] = {}
    for key, names in side.files.items():
        found.setdefault(simplify(key), []).append(names[0])
    return {key: names[0] for key, names in found.items() if len(names) == 1}


def _check_matched(tree: Tree, images: dict[str, _Side], masks: dict[str, _Side], matched: int) -> None:
    fewer = min(sum(len(side) for side in images.values()), sum(len(side) for side in masks.values()))
    if matched < max(1, MATCHED * fewer):
        image = next(iter(next(iter(images.values())).files.values()))[0]
        mask = next(iter(next(iter(masks.values())).files.values()))[0]
        raise DataError(
            f"{tree.root} has folders of images and of masks, but only {matched:,} of {fewer:,} names agree: there is "
            f"{image} and {mask}. A mask needs its image's name, up to the suffix or an ending such as _mask. If the "
            "folders are classes, say --kind classification."
        )


def _layout(
    tree: Tree,
    wording: Wording,
    options: TaskOptions,
    pairs: dict[str, list[tuple[str, str]]],
    without_mask: dict[str, list[str]],
    without_image: Sequence[str],
    left: Iterable[Folder],
) -> FolderLayout:
    if pairs.get("") and not pairs.get("train"):
        pairs["train"] = pairs.pop("")
    predicted = [*without_mask.pop("unlabelled", []), *(image for image, _ in pairs.get("unlabelled", []))]
    if "test" in without_mask and not pairs.get("test"):
        predicted += without_mask.pop("test")
    findings: list[Finding] = []
    others = [pair for part, found in pairs.items() if part not in (*PARTS, "unlabelled") for pair in found]
    beside = tuple(name for pair in others for name in pair)
    unused = tuple(mask for _, mask in pairs.get("unlabelled", []))
    for left_out, level, code, told in (
        (beside, "doubtful", "beside the splits", "images and masks beside the splits were left out"),
        (unused, "note", "passed over", "masks of images that are only predicted were not used"),
    ):
        if left_out:
            message = f"{len(left_out):,} {told}: {some(left_out)}."
            findings.append(Finding(level, code, message, left_out))  # type: ignore[arg-type]
    lost = sorted((name for names in without_mask.values() for name in names), key=natural)
    neither = [folder.below(name) for folder in left for name in folder.files]
    for names, code, told in (
        (lost, "images without masks", "have no mask and were left out"),
        (without_image, "masks without images", "are masks without an image and were left out"),
    ):
        if names:
            message = f"{len(names):,} files {told}: {some(names)}."
            findings.append(Finding("doubtful", code, message, tuple(names)))
    if predicted:
        message = (
            f"{len(predicted):,} {wording.samples} of the test folder have no masks: they are predicted at the end."
        )
        findings.append(Finding("note", "unlabelled", message, tuple(predicted)))
    if neither:
        folders = [folder.path or str(tree.root) for folder in left]
        message = f"{len(neither):,} files in {some(folders)} are neither images nor masks of them: not used."
        findings.append(Finding("note", "passed over", message, tuple(neither)))
    if not pairs.get("train"):
        there = " and ".join(part for part in PARTS if pairs.get(part))
        raise DataError(
            f"{tree.root} has masks for {there}, but no training images with masks. Call that folder train."
        )
    lists = {part: _file_list(pairs[part], options) for part in PARTS if pairs.get(part)}
    return FolderLayout(
        kind="dense",
        parts=lists,
        unlabelled=tuple(predicted),
        findings=tuple(findings),
        provenance={"masks": next(iter(lists["train"].masks)).rpartition("/")[0] or "beside the images"},
    )


def _file_list(pairs: Sequence[tuple[str, str]], options: TaskOptions) -> FileList:
    names = tuple(image for image, _ in pairs)
    groups = None
    if options.groups is not None:
        values = part_of_names(names, "--groups", options.groups)
        groups = tuple(check_all_told(names, values, "--groups", options.groups))
    return FileList(names, torch.zeros(len(names), dtype=torch.int64), tuple(mask for _, mask in pairs), groups)


def _beside(tree: Tree, wording: Wording, options: TaskOptions) -> FolderLayout | None:
    """Masks that lie beside their images: x.png and x_mask.png.

    Raises:
        DataError: they do so in folders that may be classes; the message asks.
    """
    pairs: list[tuple[str, str]] = []
    folders = [folder for folder in tree.top.walk() if folder.files]
    total = sum(len(folder.files) for folder in folders)
    for folder in folders:
        by_stem = {name.rpartition(".")[0]: name for name in folder.files}
        for stem, name in by_stem.items():
            match = BESIDE_ENDING.search(stem)
            # "scan (1)_mask" is of "scan (1)": how many of the signs before the ending belong to it is tried.
            starts = range(match.start(1), max(0, match.start() - 1), -1) if match else ()
            image = next((by_stem[stem[:start]] for start in starts if stem[:start] in by_stem), None)
            if image is not None:
                pairs.append((folder.below(image), folder.below(name)))
    if not pairs or len(pairs) < BESIDE * total:
        return None
    if len(folders) > 1 and options.kind != "dense":
        raise DataError(
            f"{len(pairs):,} of {total:,} {wording.samples} in {tree.root} are masks of others beside them, for "
            f"example {pairs[0][1]} of {pairs[0][0]}. To learn the masks, say --kind dense; to learn the "
            "classes, move the masks away."
        )
    images = {image for image, _ in pairs}
    masks = {mask for _, mask in pairs}
    if len(images) < len(masks):
        first = next(image for image, _ in pairs if sum(image == other for other, _ in pairs) > 1)
        own = [mask for image, mask in pairs if image == first]
        raise DataError(f"{first} has {len(own)} masks: {some(own)}. Join them into one whose values are classes.")
    lost = [name for name in tree.top.samples() if name not in images | masks]
    return _layout(tree, wording, options, {"train": pairs}, {"": lost}, [], [])
