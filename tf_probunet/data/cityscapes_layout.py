"""Where Cityscapes' files are, and which split each city goes to.

`leftImg8bit/<split>/<city>/<frame>_leftImg8bit.png` beside `gtFine/<split>/<city>/<frame>_gtFine_labelIds.png`, in
folders or zips; images and labels may be in different ones, as in the official downloads.
"""

import dataclasses
import os
from pathlib import PurePosixPath

from tf_probunet.data.file_tree import FileTree

IMAGE, LABELS = "_leftImg8bit.png", "_gtFine_labelIds.png"
LAYOUT = f"leftImg8bit/<split>/<city>/*{IMAGE} and gtFine/<split>/<city>/*{LABELS}"
SPLITS = ("train", "val", "test")
# Kohl et al. 2018: these training cities choose the weights, the official val is the test split.
OFFICIAL_VAL = ("darmstadt", "monchengladbach", "ulm")
OFFICIAL_TEST = ("frankfurt", "lindau", "munster")


@dataclasses.dataclass(frozen=True)
class Frame:
    """Where an image and its labels are: sources (folders or zips) and paths in them."""

    stem: str
    image_source: str
    image: str
    label_source: str
    labels: str


@dataclasses.dataclass(frozen=True)
class Unit:
    """The frames of one city in one split folder: the portion of work that can be done on its own.

    Args:
        folder: the split folder in the source.
        city: in lower case.
        split: of the dataset to make.
        group: the city, or "<split>/<city>" where splits share cities on purpose.
        frames: in order.
    """

    folder: str
    city: str
    split: str
    group: str
    frames: tuple[Frame, ...]

    @property
    def name(self) -> str:
        return f"{self.folder}/{self.city}"


def find_units(sources, *, val_cities=None, split_within_cities=False, report=lambda line: None) -> list[Unit]:
    """The units of work in order of split, city and split folder, each frame with its labels.

    The official layout is split as in the paper: train without darmstadt, monchengladbach and ulm is "train", those
    are "val", the official val is "test"; the official test, which has no labels, is left out. In other data of the
    layout, split folders are splits, test only where it has labels.

    Args:
        sources: folders or zips.
        val_cities: cities of folder train that become "val", instead of the above; folder val is then left out, but
            for the official one, which is "test" in any case.
        split_within_cities: let splits share cities; groups become "<split>/<city>".
        report: called with lines of text about what was left out.
    Raises:
        OSError: a source is missing or unreadable.
        ValueError: no images, an image without labels, labels without their image, an image that is there twice, or splits that share a city.
    """
    if isinstance(sources, (str, os.PathLike)):
        sources = [sources]
    images, labels = {}, {}
    for source in sources:
        tree = FileTree(source, LAYOUT)
        for ending, found in ((IMAGE, images), (LABELS, labels)):
            _collect(tree, ending, found)
        extra = sum(_is_extra(PurePosixPath(name)) for name in tree.names if name.endswith(IMAGE))
        if extra:
            report(f"{extra:,} images of train_extra in {tree.source} are left out: they have coarse labels only.")
    if not images:
        raise ValueError(
            f"No images in {', '.join(map(str, sources)) or 'no sources'}. Expected {LAYOUT}, in folders or zips."
        )
    cities = sorted({key[:2] for key in images})
    split_of = _assign(cities, {key[0] for key in labels}, val_cities, split_within_cities, report)
    lost = sorted(key for key in labels if key not in images and key[:2] in split_of)
    if lost:
        raise ValueError(
            f"{len(lost)} labels have no image, first {': '.join(labels[lost[0]])}. Expected "
            f"leftImg8bit/{'/'.join(lost[0])}{IMAGE} in one of the sources. Copy the images again, or take their labels "
            "out."
        )
    units = []
    for folder, city in cities:
        split = split_of.get((folder, city))
        if split is None:
            continue
        stems = sorted(key[2] for key in images if key[:2] == (folder, city))
        frames = tuple(
            Frame(stem, *images[folder, city, stem], *_labels_of(labels, images, (folder, city, stem)))
            for stem in stems
        )
        units.append(Unit(folder, city, split, f"{split}/{city}" if split_within_cities else city, frames))
    if not split_within_cities:
        _check_disjoint(units)
    return sorted(units, key=lambda unit: (SPLITS.index(unit.split), unit.city, unit.folder))


def is_official(cities):
    """Whether (folder, city) pairs are those of Cityscapes itself, whole or in part."""
    train = {city for folder, city in cities if folder == "train"}
    if train:
        return bool(train & set(OFFICIAL_VAL))
    return any(folder == "val" and city in OFFICIAL_TEST for folder, city in cities)


def _collect(tree, ending, found):
    for name in tree.names:
        path = PurePosixPath(name)
        if not path.name.endswith(ending) or path.name.startswith("._"):  # the latter: what macOS adds to zips
            continue
        if _is_extra(path):
            continue
        if len(path.parts) < 3 or path.parts[-3] not in SPLITS:
            raise ValueError(
                f"{tree.source}: {name} is in no folder <split>/<city> with a split of {', '.join(SPLITS)}. Expected "
                f"{LAYOUT}. Give the folder above, and leave other files out."
            )
        key = (path.parts[-3], path.parts[-2].lower(), path.name.removesuffix(ending))
        if key in found:
            raise ValueError(
                f"{'/'.join(key)}{ending} is there twice, in {found[key][0]} and in {tree.source}. Give each file once."
            )
        found[key] = (str(tree.source), name)


def _is_extra(path):
    return "train_extra" in path.parts[:-2]


def _labels_of(labels, images, key):
    if key not in labels:
        raise ValueError(
            f"{': '.join(images[key])} has no labels. Expected gtFine/{'/'.join(key)}{LABELS} in one of the sources. "
            "Give the folder or zip with the labels (gtFine_trainvaltest.zip) too."
        )
    return labels[key]


def _assign(cities, labelled, val_cities, split_within_cities, report):
    """Split by (folder, city); what is left out has none."""
    official = is_official(cities)
    train = {city for folder, city in cities if folder == "train"}
    val = set(OFFICIAL_VAL) if official else set()
    if val_cities is not None:
        if split_within_cities:
            raise ValueError("val_cities and split_within_cities contradict each other: cities are shared or they are "
                             "not. Received: both. Give one.")
        val = {city.lower() for city in val_cities}
        if not val or not val <= train or val == train:
            raise ValueError(
                "val_cities must be some, not all, of the cities in folder train: "
                f"{', '.join(sorted(train)) or 'none'}. Received: {', '.join(val_cities) or 'none'}."
            )
    split_of, left_out = {}, {}
    for folder, city in cities:
        if folder == "train":
            split_of[folder, city] = "val" if city in val else "train"
        elif folder == "test" and (official or "test" not in labelled):
            left_out[folder] = "it has no labels of use"
        elif folder == "val" and official:
            split_of[folder, city] = "test"
        elif folder == "val" and val_cities is not None:
            left_out[folder] = "val_cities names the cities of val"
        else:
            split_of[folder, city] = folder
    for folder, reason in left_out.items():
        report(f"Folder {folder} is left out: {reason}.")
    if not split_of:
        raise ValueError(f"Nothing is left to write. Expected labelled images in folder train or val: {LAYOUT}.")
    if split_within_cities:
        report("Splits may share cities: groups are <split>/<city>, and figures on val are optimistic.")
    return split_of


def _check_disjoint(units):
    first = {}
    for unit in units:
        other = first.setdefault(unit.city, unit)
        if other.split != unit.split:
            choices = sorted({one.city for one in units if one.folder == "train"} - {unit.city}) or [unit.city]
            raise ValueError(
                f"City {unit.city} is in folder {other.folder} ({other.split}) and in folder {unit.folder} "
                f"({unit.split}). Splits must not share a city: its frames are alike, and the evaluation would be too "
                f"good to be true. Give --val_cities {choices[0]} to take val from whole cities of train and leave "
                "folder val out, or --split_within_cities to share cities and know that figures are optimistic."
            )
