"""The public crop layout of LIDC-IDRI: `images/<patient>/*.png` and `gt/<patient>/*_l0..3.png`, in folders or zips.

Both the 180x180 release and smaller crops of the same layout are read. Split folders (`train/`, `val/`, `test/`) may
stand above `images/`; their names become the splits.
"""

import csv
import dataclasses
import io
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from tf_probunet.data.dataset import DatasetWriter, Record

NUM_GRADERS = 4
SOURCE = (
    "LIDC-IDRI crops with the masks of up to four radiologists. LIDC-IDRI, The Cancer Imaging Archive "
    "(Armato et al. 2011/2015, doi 10.7937/K9/TCIA.2015.LO9QL9SX)"
)
LICENCE = "CC BY 3.0"
PROVENANCE = {"series_instance_uid": str, "z_mm": float, "pixel_spacing_mm": float, "annotation_ids": str}


class _Tree:
    """Files below a folder or inside a zip, by posix path relative to it."""

    def __init__(self, source: Path):
        self.source = source
        self._zip = None
        if source.is_dir():
            self.names = [path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()]
        elif zipfile.is_zipfile(source):
            self._zip = zipfile.ZipFile(source)
            self.names = [name for name in self._zip.namelist() if not name.endswith("/")]
        else:
            what = "is not a zip file" if source.exists() else "does not exist"
            raise FileNotFoundError(
                f"{source} {what}. Expected a folder or zip with images/<patient>/*.png and gt/<patient>/*_l0..3.png."
            )

    def read(self, name: str) -> bytes:
        return self._zip.read(name) if self._zip else (self.source / name).read_bytes()


@dataclasses.dataclass(frozen=True)
class _Crop:
    tree: _Tree
    image: str
    masks: tuple[str, ...]
    split: str
    patient: str
    facts: dict


def prepare_lidc_crops(sources, output, *, val_fraction=0.15, seed=0, progress=lambda done, total: None):
    """Writes a dataset folder from crops of the public layout; masks stay what they were, bit for bit.

    Args:
        sources: folders or zips. Where a `train/`, `val/` or `test/` folder stands above `images/`, it names the
            split; otherwise patients are split at random.
        output: dataset folder to make.
        val_fraction: share of the patients that become "val" when the layout names no split.
        seed: of that split.
        progress: called with (images done, images in all).
    Raises:
        OSError: a source is missing or unreadable, or the disk is full.
        ValueError: a mask is missing, sizes do not match, or a patient is in two splits.
    """
    crops = [crop for source in sources for crop in _find(_Tree(Path(source)))]
    named = {crop.split for crop in crops}
    if named == {""}:
        crops = _split_by_patient(crops, val_fraction, seed)
    elif "" in named:
        raise ValueError(f"Some sources name their split ({', '.join(sorted(named - {''}))}), others do not.")
    crops.sort(key=lambda crop: (crop.patient, crop.image))
    order = [name for name in ("train", "val", "test") if any(crop.split == name for crop in crops)]
    preparation = {"command": "prepare lidc-crops", "val_fraction": val_fraction if named == {""} else None,
                   "seed": seed}
    with DatasetWriter(output, classes=("background", "lesion"), splits=order, source=SOURCE, licence=LICENCE,
                       preparation=preparation) as writer:
        for done, crop in enumerate(crops):
            writer.write(crop.split, _record(crop))
            progress(done + 1, len(crops))


def _find(tree):
    images = [name for name in tree.names if "images" in PurePosixPath(name).parts[:-2] and name.endswith(".png")]
    if not images:
        raise ValueError(f"{tree.source} holds no images/<patient>/*.png. Expected the layout of the LIDC crop release.")
    known = set(tree.names)
    facts = _read_index(tree)
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
        split = above[-1] if above and above[-1] in ("train", "val", "test") else ""
        yield _Crop(tree, name, masks, split, path.parts[at + 1], facts.get(name, {}))


def _read_index(tree):
    """Facts by image name from `index.csv`, where the source has one."""
    rows = {}
    for name in tree.names:
        if PurePosixPath(name).name == "index.csv":
            for row in csv.DictReader(io.StringIO(tree.read(name).decode("utf-8"))):
                rows[row["image"]] = {key: cast(row[key]) for key, cast in PROVENANCE.items() if row.get(key)}
    return rows


def _split_by_patient(crops, val_fraction, seed):
    patients = sorted({crop.patient for crop in crops})
    if len(patients) < 2:
        raise ValueError(f"Only one patient ({patients[0]}): cannot make train and val without sharing it.")
    num_val = min(max(1, round(val_fraction * len(patients))), len(patients) - 1)
    chosen = set(np.random.default_rng(seed).permutation(patients)[:num_val].tolist())
    return [
        dataclasses.replace(crop, split="val" if crop.patient in chosen else "train") for crop in crops
    ]


def _record(crop):
    image = _read_png(crop, crop.image, "L")
    masks = [(_read_png(crop, name, "L") > 0).astype(np.uint8) for name in crop.masks]
    for name, mask in zip(crop.masks, masks, strict=True):
        if mask.shape != image.shape:
            raise ValueError(
                f"{crop.tree.source}: {name} is {mask.shape[0]}x{mask.shape[1]}, but its image {crop.image} is "
                f"{image.shape[0]}x{image.shape[1]}. Image and masks must have one size."
            )
    parts = PurePosixPath(crop.image).parts
    source_id = "/".join(parts[-2:]).removesuffix(".png")
    return Record(image[..., None], np.stack(masks), source_id, crop.patient, crop.facts)


def _read_png(crop, name, mode):
    try:
        with Image.open(io.BytesIO(crop.tree.read(name))) as image:
            return np.asarray(image.convert(mode))
    except (OSError, zipfile.BadZipFile) as error:
        raise OSError(f"{crop.tree.source}: cannot read {name} ({error}). Copy the source again.") from error
