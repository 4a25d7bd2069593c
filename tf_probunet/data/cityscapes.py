"""Cityscapes, and street scenes in its layout, made ambiguous by label flips."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from tf_probunet.data.cityscapes_layout import LAYOUT, Unit, is_official
from tf_probunet.data.dataset import ImageEncoding
from tf_probunet.data.file_tree import FileTree
from tf_probunet.data.flips import CITYSCAPES_FLIPS
from tf_probunet.data.writer import Record

IGNORE_LABEL = 255
OFFICIAL_SOURCE = "Cityscapes (Cordts et al. 2016, www.cityscapes-dataset.com)"
OFFICIAL_LICENCE = "Cityscapes licence: non-commercial, no redistribution (www.cityscapes-dataset.com/license)"
OTHER_SOURCE = "Street scenes in the layout and with the label ids of Cityscapes"
OTHER_LICENCE = "that of the source"


def writer_options(units, *, scale, flips, val_cities, split_within_cities) -> dict:
    """Arguments of `DatasetWriter`, but for folder and splits.

    Args:
        units: from `find_units`, with these val_cities and split_within_cities.
        scale: integer by which height and width are divided; 4 is the paper's quarter resolution.
        flips: make the five classes of the paper ambiguous, which adds five twin classes to the 19.
    """
    if isinstance(scale, bool) or not isinstance(scale, int) or scale < 1:
        raise ValueError(f"scale must be an integer of at least 1. Received: {scale!r}. 4 is a quarter of each side.")
    official = is_official({(unit.folder, unit.city) for unit in units})
    classes, _ = label_classes()
    if flips:
        classes = (*classes, *(f"{classes[flip.source]} 2" for flip in CITYSCAPES_FLIPS))
    chosen = None if val_cities is None else sorted(city.lower() for city in val_cities)
    return {
        "classes": classes,
        "flips": CITYSCAPES_FLIPS if flips else (),
        "source": OFFICIAL_SOURCE if official else OTHER_SOURCE,
        "licence": OFFICIAL_LICENCE if official else OTHER_LICENCE,
        "preparation": {"command": "prepare cityscapes", "scale": scale, "flips": bool(flips), "val_cities": chosen,
                        "split_within_cities": bool(split_within_cities)},
        "image": ImageEncoding(channels=3),
        "ignore_label": IGNORE_LABEL,
    }


def label_classes() -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the 19 classes, and the class of each label id: [256] int16, 255 for ignored, -1 for unknown ids."""
    try:
        from cityscapesscripts.helpers.labels import labels
    except ImportError as error:
        raise ImportError(
            "Cityscapes' label ids need cityscapesscripts: pip install 'tf_probunet[cityscapes]'."
        ) from error
    lookup = np.full(256, -1, np.int16)
    names = {}
    for label in labels:
        if 0 <= label.trainId < IGNORE_LABEL:
            names[label.trainId] = label.name
        if label.id >= 0:
            lookup[label.id] = label.trainId if label.trainId in names else IGNORE_LABEL
    return tuple(names[number] for number in sorted(names)), lookup


def read_unit(unit: Unit, scale: int) -> Iterator[Record]:
    """The records of a unit, in the order of its frames.

    Args:
        unit: from `find_units`.
        scale: integer by which height and width are divided.
    Raises:
        OSError: a file cannot be read.
        ValueError: sizes do not fit, or a label id is unknown; names the file.
    """
    _, lookup = label_classes()
    trees = {}
    for frame in unit.frames:
        for source in (frame.image_source, frame.label_source):
            if source not in trees:
                trees[source] = FileTree(source, LAYOUT)
        image = trees[frame.image_source].read_png(frame.image, "RGB")
        where = f"{frame.label_source}: {frame.labels}"
        label_ids = trees[frame.label_source].read_png(frame.labels, "label")
        if label_ids.shape != image.shape[:2]:
            raise ValueError(
                f"{where} is {_size(label_ids)}, but its image {frame.image} is {_size(image)}. Image and labels must "
                "have one size. Copy the source again."
            )
        segmentation = lookup[label_ids]
        if segmentation.min() < 0:
            raise ValueError(
                f"{where} holds {np.unique(label_ids[segmentation < 0]).tolist()}, which are no label ids of "
                "Cityscapes. Expected 0 to 33, as in the official labelIds.png (labelTrainIds.png are others)."
            )
        segmentation = segmentation.astype(np.uint8)
        image, segmentation = _shrink(image, segmentation, scale, f"{frame.image_source}: {frame.image}")
        yield Record(image, segmentation[None], f"{unit.name}/{frame.stem}", unit.group,
                     {"city": unit.city, "frame": frame.stem})


def _size(pixels):
    return f"{pixels.shape[0]}x{pixels.shape[1]}"


def _shrink(image, segmentation, scale, where):
    height, width = segmentation.shape
    if height % scale or width % scale:
        raise ValueError(
            f"{where} is {height}x{width}, which scale {scale} does not divide. Choose a scale that divides both "
            "sides; 1 keeps the size."
        )
    if scale == 1:
        return image, segmentation
    size = (width // scale, height // scale)
    return (
        np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)),  # Pillow antialiases by itself
        np.asarray(Image.fromarray(segmentation).resize(size, Image.Resampling.NEAREST)),
    )
