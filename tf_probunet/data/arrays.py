"""Your own arrays: images and the segmentations of several graders in NPZ files."""

import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from tf_probunet.data.encoding import ValueRange, store
from tf_probunet.data.folder import CLASSES, LICENCE
from tf_probunet.data.labels import LabelMap
from tf_probunet.data.splits import split_by_group
from tf_probunet.data.writer import DatasetWriter, Record

SOURCE = "arrays of one's own"
NAMES = ("images", "segmentations", "graded", "groups", "splits", "names")


def prepare_arrays(
    sources, output, *, classes=CLASSES, labels=None, ignored=(), ignore_label=255, val_fraction=0.15, seed=0,
    window=None, source=SOURCE, licence=LICENCE, report=print, progress=lambda done, total: None,
) -> None:
    """Writes a dataset folder from NPZ files.

    Each holds `images` [n, H, W] or [n, H, W, C] and `segmentations` [n, R, H, W], or [n, H, W] of one grader; and, if
    wanted, `graded` [n, R] bool (False where a grader has not looked at an image), `groups` [n] (patients), `splits`
    [n] and `names` [n]. Files are read one after the other, each whole.

    Args:
        sources: NPZ files.
        output: dataset folder to make.
        classes, labels, ignored, ignore_label: as `LabelMap.parse` takes them.
        val_fraction, seed: of the split by lot, where no file names one.
        window: (value seen as 0, value seen as 1); decided by `ValueRange.encoding` if not given.
        source, licence: of the data, in words.
        report: called with lines of text for the user.
        progress: called with (images done, images in all).
    Raises:
        OSError: a file is missing or unreadable, or the disk is full.
        ValueError: arrays are missing, or do not fit each other.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> np.savez(f"{folder}/mine.npz", images=np.zeros((4, 16, 16), np.uint8),
        ...          segmentations=np.zeros((4, 3, 16, 16), np.uint8), groups=["a", "a", "b", "c"])
        >>> prepare_arrays(f"{folder}/mine.npz", f"{folder}/data")
    """
    if isinstance(sources, (str, os.PathLike)):
        sources = [sources]
    sources = [Path(path) for path in sources]
    label_map = LabelMap.parse(classes, labels, ignored, ignore_label)
    values, groups, splits, named_after = ValueRange(), {}, {}, {}
    for path in sources:
        content = _load(path)
        if "names" not in content["given"] and (twin := named_after.setdefault(path.stem, path)) is not path:
            raise ValueError(f"{twin} and {path} would give their images the same names, {path.stem}/000000 and so on. "
                             "Put `names` into the files, or rename one.")
        values.add(content["images"], f"{path}: images")
        for index in range(len(content["images"])):
            groups[path, index] = content["groups"][index]
            if "splits" in content:
                splits[path, index] = content["splits"][index]
    if not groups:
        raise ValueError("No NPZ file was given. Expected one with images and segmentations.")
    if splits and len(splits) < len(groups):
        raise ValueError("Some files have `splits`, others do not. Give it in all or in none.")
    if not splits:
        lot = split_by_group(groups.values(), val_fraction, seed)
        splits = {place: lot[group] for place, group in groups.items()}
    encoding = values.encoding(window)
    if encoding.scale != 1.0:
        report(f"Images are stored in steps of {encoding.scale:.3g}, from {values.low:g} to {values.high:g}.")
    preparation = {
        "command": "prepare arrays", "labels": {str(value): number for value, number in label_map.values},
        "ignored": list(label_map.ignored), "val_fraction": val_fraction, "seed": seed,
        "window": list(window) if window else None,
    }
    order = sorted(set(splits.values()), key=lambda split: (split != "train", split != "val", split))
    with DatasetWriter(output, classes=classes, splits=order, source=source, licence=licence, image=encoding,
                       preparation=preparation, ignore_label=ignore_label) as writer:
        done = 0
        for path in sources:
            content = _load(path)
            for index, image in enumerate(content["images"]):
                drawn = content["segmentations"][index][content["graded"][index]]
                masks = label_map.apply(drawn, f"{path}: segmentations[{index}]")
                writer.write(splits[path, index], Record(store(image, encoding), masks, content["names"][index],
                                                         groups[path, index]))
                done += 1
                progress(done, len(groups))


def _load(path) -> dict:
    """The arrays of a file, checked, with images [n, H, W, C], segmentations [n, R, H, W], and what was left out.

    `given` are the names of those that the file holds.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No file {path}. Expected an NPZ with images and segmentations.")
    try:
        with np.load(path, allow_pickle=False) as file:
            content = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise OSError(f"{path} cannot be read as NPZ ({error}). Expected arrays of numbers and text, as numpy.savez "
                      "writes them; copy the file again.") from error
    given = set(content)
    unknown = sorted(given - set(NAMES))
    if unknown or not {"images", "segmentations"} <= content.keys():
        raise ValueError(f"{path} holds {', '.join(sorted(content)) or 'nothing'}. Expected images and segmentations "
                         f"and, if wanted, {', '.join(NAMES[2:])}.")
    images, segmentations = content["images"], content["segmentations"]
    images = images[..., None] if images.ndim == 3 else images
    segmentations = segmentations[:, None] if segmentations.ndim == 3 else segmentations
    if images.ndim != 4 or segmentations.ndim != 4 or (
        (len(images), *images.shape[1:3]) != (len(segmentations), *segmentations.shape[2:])
    ):
        raise ValueError(
            f"{path}: images are {list(content['images'].shape)} and segmentations "
            f"{list(content['segmentations'].shape)}. Expected [n, H, W] or [n, H, W, C] and [n, R, H, W] or [n, H, W]."
        )
    if segmentations.dtype.kind not in "bui":
        raise ValueError(f"{path}: segmentations are {segmentations.dtype}; expected integers, one a class.")
    count = len(images)
    content["names"] = content.get("names", [f"{path.stem}/{index:06d}" for index in range(count)])
    content.setdefault("groups", content["names"])
    content["graded"] = np.asarray(content.get("graded", np.ones(segmentations.shape[:2], bool)), bool)
    if content["graded"].shape != segmentations.shape[:2] or not content["graded"].any(axis=1).all():
        raise ValueError(f"{path}: graded is {list(content['graded'].shape)}; expected "
                         f"{list(segmentations.shape[:2])}, with at least one grader for each image.")
    for name in ("names", "groups", "splits"):
        if name in content:
            values = np.asarray(content[name])
            if values.shape != (count,):
                raise ValueError(f"{path}: {name} is {list(values.shape)}; expected [{count}], one entry an image.")
            content[name] = values.astype(str).tolist()
    return {**content, "images": images, "segmentations": segmentations, "given": given}
