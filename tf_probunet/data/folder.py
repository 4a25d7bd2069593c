"""Your own images in a folder, and one folder of masks for each grader."""

import os
from pathlib import Path

import numpy as np

from tf_probunet.data.encoding import ValueRange, store
from tf_probunet.data.image_files import find_files, read_pixels
from tf_probunet.data.labels import LabelMap
from tf_probunet.data.splits import read_groups, split_by_group
from tf_probunet.data.writer import DatasetWriter, Record
from tf_probunet.staging import refuse_existing

CLASSES = ("background", "foreground")
SOURCE = "images and masks of one's own"
LICENCE = "that of the source"


def prepare_folder(
    images, graders, output, *, groups=None, classes=CLASSES, labels=None, ignored=(), ignore_label=255,
    val_fraction=0.15, seed=0, window=None, slices="annotated", skip_ungraded=False, source=SOURCE, licence=LICENCE,
    report=print, progress=lambda done, total: None,
) -> None:
    """Writes a dataset folder from image files and, for each grader, a folder of mask files.

    PNG, TIFF, NIfTI and NPY are read, images also from JPEG. A mask belongs to the image of the same relative path,
    endings apart. A grader who has no file for an image has not looked at it; who saw nothing has an empty mask.
    Volumes are cut into axial slices. One volume and its masks are held in memory at a time.

    Args:
        images: folder of images.
        graders: folders of masks, one a grader.
        output: dataset folder to make.
        groups: CSV image,group[,split], as `splits.read_groups` takes it; without it each file is a group of its own.
        classes, labels, ignored, ignore_label: as `LabelMap.parse` takes them.
        val_fraction, seed: of the split by lot, where the CSV names none.
        window: (value seen as 0, value seen as 1); decided by `ValueRange.encoding` if not given.
        slices: "annotated" keeps slices of volumes on which a grader drew another class than the first; "all", all.
        skip_ungraded: leave out images that no grader looked at.
        source, licence: of the data, in words.
        report: called with lines of text for the user.
        progress: called with (files done, files in all).
    Raises:
        OSError: a folder or file is missing or unreadable, or the disk is full.
        ValueError: files do not belong together, or hold what cannot be used.
        ImportError: a library that reads the format is not installed (extra `formats`).
    """
    if slices not in ("annotated", "all"):
        raise ValueError(f"slices must be 'annotated' or 'all'. Received: {slices!r}.")
    if isinstance(graders, (str, os.PathLike)):
        graders = [graders]
    refuse_existing(output)  # before all images are read
    label_map = LabelMap.parse(classes, labels, ignored, ignore_label)
    _check_folders(images, graders)
    found, masks = find_files(images), [find_files(folder) for folder in graders]
    if not masks:
        raise ValueError("No grader was given. Expected one folder of masks for each.")
    graded = _match(found, masks, graders, skip_ungraded, report)
    group_of, split_of = _groups(groups, graded, found.keys() - set(graded), val_fraction, seed, report)
    values = ValueRange()
    for name in graded:
        values.add(read_pixels(found[name])[0], str(found[name]))
    encoding = values.encoding(window)
    if encoding.scale != 1.0:
        report(f"Images are stored in steps of {encoding.scale:.3g}, from {values.low:g} to {values.high:g}.")
    preparation = {
        "command": "prepare folder", "num_graders": len(masks),
        "labels": {str(value): number for value, number in label_map.values},
        "ignored": list(label_map.ignored), "groups": groups is not None, "val_fraction": val_fraction, "seed": seed,
        "window": list(window) if window else None, "slices": slices, "skip_ungraded": skip_ungraded,
    }
    splits = sorted(set(split_of.values()), key=lambda split: (split != "train", split != "val", split))
    counts = dict.fromkeys(splits, 0)
    with DatasetWriter(output, classes=classes, splits=splits, source=source, licence=licence, image=encoding,
                       preparation=preparation, ignore_label=ignore_label) as writer:
        for done, name in enumerate(graded, 1):
            files = [folder[name] for folder in masks if name in folder]
            for record in _records(name, found[name], files, group_of[name], encoding, label_map, slices):
                writer.write(split_of[name], record)
                counts[split_of[name]] += 1
            progress(done, len(graded))
        for split, count in counts.items():
            if not count:
                raise ValueError(f"No slice falls into split {split!r}: in none of its volumes did a grader draw. Keep "
                                 "all slices (--slices all), or put other volumes into it (--groups, --seed).")


def _check_folders(images, graders):
    seen = {Path(images).resolve(): "the images"}
    for number, folder in enumerate(graders, 1):
        place = Path(folder).resolve()
        if place in seen:
            raise ValueError(f"Grader {number}, {folder}, is the folder of {seen[place]}, too. Expected a folder for "
                             "each: given twice, one opinion would count as two.")
        seen[place] = f"grader {number}"


def _match(found, masks, graders, skip_ungraded, report):
    """Names of images that a grader looked at, in order."""
    for folder, files in zip(graders, masks, strict=True):
        strays = sorted(files.keys() - found.keys())
        if strays:
            raise ValueError(f"{len(strays)} masks in {folder} belong to no image, first {files[strays[0]]}. A mask "
                             "has the relative path of its image.")
    graded = [name for name in found if any(name in files for files in masks)]
    ungraded = [name for name in found if name not in set(graded)]
    if ungraded and not skip_ungraded:
        raise ValueError(f"{len(ungraded)} images have no mask by any grader, first {found[ungraded[0]]}. Leave them "
                         "out with --skip_ungraded; where a grader saw nothing, an empty mask is expected.")
    if ungraded:
        report(f"{len(ungraded)} images without any mask are left out.")
    if not graded:
        raise ValueError("No image has a mask.")
    return graded


def _groups(groups, names, left_out, val_fraction, seed, report):
    """Group and split of each image."""
    if groups is None:
        report("Each file is a group of its own. Where several are of one patient, say so: --groups FILE.csv.")
        group_of, split_of = {name: name for name in names}, {}
    else:
        group_of, split_of = read_groups(groups, names, left_out)
    if not split_of:
        lot = split_by_group(group_of.values(), val_fraction, seed)
        split_of = {name: lot[group] for name, group in group_of.items()}
    return group_of, split_of


def _records(name, path, files, group, encoding, label_map, slices):
    image, volume, affine = read_pixels(path)
    masks = []
    for file in files:
        mask, _, mask_affine = read_pixels(file, mask=True)
        if mask.shape[:3] != image.shape[:3]:
            raise ValueError(f"{file} is {_size(mask)}, but its image {path} is {_size(image)}. Bring them to one "
                             "size.")
        if (affine is None) != (mask_affine is None):
            raise ValueError(f"{file} and its image {path} are not both NIfTI: only that says how a volume lies in "
                             "space, so rows could be columns in the other. Save both as NIfTI, or neither.")
        if affine is not None and not np.allclose(affine, mask_affine, atol=1e-3):
            raise ValueError(f"{file} lies elsewhere in space than its image {path}: their affine maps differ. "
                             "Resample the mask onto the image's grid first.")
        masks.append(label_map.apply(mask[..., 0], str(file)))
    masks = np.stack(masks, axis=1)  # [S, R, H, W]
    for place in range(len(image)):
        drawn = (masks[place] != 0) & (masks[place] != label_map.ignore_label)
        if volume and slices == "annotated" and not drawn.any():
            continue
        source_id = f"{name}/slice{place:04d}" if volume else name
        yield Record(store(image[place], encoding), masks[place], source_id, group)


def _size(pixels):
    return "x".join(map(str, pixels.shape[:3] if pixels.shape[0] > 1 else pixels.shape[1:3]))
