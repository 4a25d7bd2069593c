"""The public crop layout of LIDC-IDRI: `images/<patient>/*.png` and `gt/<patient>/*_l0..3.png`, in folders or zips.

Both the 180x180 release and smaller crops of the same layout are read. Split folders (`train/`, `val/`, `test/`) may
stand above `images/`, or be the source, as may zips of such names; the names become the splits.
"""

import csv
import dataclasses
import io
import math
import os
from pathlib import PurePosixPath

import numpy as np

from tf_probunet.data.file_tree import FileTree
from tf_probunet.data.splits import split_by_group
from tf_probunet.data.writer import DatasetWriter, Record

NUM_GRADERS = 4
SOURCE = (
    "LIDC-IDRI crops with the masks of up to four radiologists. LIDC-IDRI, The Cancer Imaging Archive "
    "(Armato et al. 2011/2015, doi 10.7937/K9/TCIA.2015.LO9QL9SX)"
)
LICENCE = "CC BY 3.0"
LAYOUT = "images/<patient>/*.png and gt/<patient>/*_l0..3.png"
SPLITS = ("train", "val", "test")
PROVENANCE = {"series_instance_uid": str, "z_mm": float, "pixel_spacing_mm": float, "annotation_ids": str}


@dataclasses.dataclass(frozen=True)
class _Crop:
    tree: FileTree
    image: str
    masks: tuple[str, ...]
    split: str
    patient: str
    facts: dict


def prepare_lidc_crops(sources, output, *, val_fraction=0.15, seed=0, progress=lambda done, total: None):
    """Writes a dataset folder from crops of the public layout; masks stay what they were, bit for bit.

    Args:
        sources: folders or zips. Where a `train/`, `val/` or `test/` folder stands directly above `images/`, it names
            the split, and where nothing does, a source of such a name (`train.zip`); otherwise patients are split at
            random.
        output: dataset folder to make.
        val_fraction: share of the patients that become "val" when the layout names no split.
        seed: of that split.
        progress: called with (images done, images in all).
    Raises:
        OSError: a source is missing or unreadable, or the disk is full.
        ValueError: a mask is missing, belongs to no image or is none, sizes do not match, or a patient is in two splits.
    """
    if isinstance(sources, (str, os.PathLike)):
        sources = [sources]
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction must lie between 0 and 1. Received: {val_fraction}.")
    crops = [crop for source in sources for crop in _find(FileTree(source, LAYOUT))]
    if not crops:
        raise ValueError("No sources were given. Expected at least one folder or zip of crops.")
    named = {crop.split for crop in crops}
    if named == {""}:
        crops = _split_by_patient(crops, val_fraction, seed)
    elif "" in named:
        raise ValueError(f"Some sources name their split ({', '.join(sorted(named - {''}))}), others do not.")
    crops.sort(key=lambda crop: (crop.patient, crop.image))
    order = [name for name in SPLITS if any(crop.split == name for crop in crops)]
    preparation = {"command": "prepare lidc-crops", "val_fraction": val_fraction if named == {""} else None,
                   "seed": seed}
    with DatasetWriter(output, classes=("background", "lesion"), splits=order, source=SOURCE, licence=LICENCE,
                       preparation=preparation) as writer:
        for done, crop in enumerate(crops):
            writer.write(crop.split, _record(crop))
            progress(done + 1, len(crops))


def _find(tree):
    images = [name for name in tree.names if "images" in PurePosixPath(name).parts[:-2] and _is_png(name)]
    if not images:
        raise ValueError(
            f"{tree.source} holds no images/<patient>/*.png. Expected the layout of the LIDC crop release."
        )
    known, used = set(tree.names), set()
    facts = _read_index(tree)
    # What no folder inside of the source names, the source's own name may.
    own_split = _split_name(tree.source.resolve().parts if tree.source.is_dir() else (tree.source.stem,))
    for name in images:
        path = PurePosixPath(name)
        at = len(path.parts) - 1 - path.parts[::-1].index("images")
        above = path.parts[:at]
        stem = PurePosixPath(*above, "gt", *path.parts[at + 1 : -1], path.stem)
        masks = tuple(f"{stem}_l{grader}.png" for grader in range(NUM_GRADERS))
        missing = [mask for mask in masks if mask not in known]
        if missing:
            raise ValueError(
                f"{tree.source}: {name} lacks {len(missing)} of its {NUM_GRADERS} masks, first {missing[0]}. Expected "
                "one PNG a grader, black where the grader drew nothing."
            )
        used.update(masks)
        split = _split_name(above) or own_split
        yield _Crop(tree, name, masks, split, path.parts[at + 1], facts.get(name, {}))
    lost = sorted(name for name in known - used if "gt" in PurePosixPath(name).parts[:-2] and _is_png(name))
    if lost:
        raise ValueError(
            f"{tree.source}: {len(lost)} masks belong to no image, first {lost[0]}. Expected images/<patient>/*.png of the "
            "same name without _l0..3. Copy the source again, or take these masks out."
        )


def _is_png(name):
    return name.endswith(".png") and not PurePosixPath(name).name.startswith("._")  # of which macOS puts one beside each


def _split_name(folders):
    return folders[-1] if folders and folders[-1] in SPLITS else ""


def _read_index(tree):
    """Facts by image name from `index.csv`, where the source has one.

    It names images from the root of the release, which may be above the source: they are looked up by what follows
    the folder of `index.csv`, too.
    """
    rows = {}
    for name in tree.names:
        path = PurePosixPath(name)
        if path.name != "index.csv":
            continue
        try:
            lines = list(csv.DictReader(io.StringIO(tree.read(name).decode("utf-8"), newline="")))
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{tree.source}: {name} is no CSV in UTF-8 ({error}). Copy the source again.") from error
        for number, row in enumerate(lines, 2):
            try:
                facts = {key: _fact(key, row[key]) for key in PROVENANCE if row.get(key)}
                image = row["image"]
            except (KeyError, ValueError) as error:
                raise ValueError(
                    f"{tree.source}: {name}, line {number}: {error}. Expected a column 'image' and, where they are "
                    f"there, numbers in z_mm and pixel_spacing_mm. Correct the line or remove {name}."
                ) from error
            rows[image] = facts
            rows.setdefault(str(path.parent / image[max(image.rfind("images/"), 0) :]), facts)
    return rows


def _fact(key, text):
    value = PROVENANCE[key](text)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{key} is {text!r}")
    return value


def _split_by_patient(crops, val_fraction, seed):
    patients = sorted({crop.patient for crop in crops})
    if len(patients) < 2:
        raise ValueError(
            f"Only one patient ({patients[0]}): cannot make train and val without sharing it. Expected two or more, or "
            f"a {', '.join(SPLITS[:-1])} or {SPLITS[-1]} folder above images/ that names the split."
        )
    lot = split_by_group(patients, val_fraction, seed)
    return [dataclasses.replace(crop, split=lot[crop.patient]) for crop in crops]


def _record(crop):
    image = crop.tree.read_png(crop.image, "L")
    masks = [crop.tree.read_png(name, "L") for name in crop.masks]
    for name, mask in zip(crop.masks, masks, strict=True):
        values = set(np.unique(mask).tolist())
        if not (values <= {0, 1} or values <= {0, 255}):
            raise ValueError(
                f"{crop.tree.source}: {name} holds {sorted(values)[:6]}. Expected a mask: 0 and 1, or 0 and 255. Was it "
                "smoothed, or saved as JPEG, on its way? Copy the source again."
            )
        if mask.shape != image.shape:
            raise ValueError(
                f"{crop.tree.source}: {name} is {mask.shape[0]}x{mask.shape[1]}, but its image {crop.image} is "
                f"{image.shape[0]}x{image.shape[1]}. Image and masks must have one size. Copy the source again."
            )
    parts = PurePosixPath(crop.image).parts
    source_id = "/".join(parts[-2:]).removesuffix(".png")
    return Record(image[..., None], (np.stack(masks) > 0).astype(np.uint8), source_id, crop.patient, crop.facts)

