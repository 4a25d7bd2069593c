"""What is explored: the images of a split, with what graders drew and how large a pixel is, or image files."""

import dataclasses
import os
from pathlib import Path
from typing import Protocol

import numpy as np

from tf_probunet.data.dataset import DatasetInfo, ImageEncoding
from tf_probunet.data.record import SPACING, read_record
from tf_probunet.sampling import central_crop, read_stored


@dataclasses.dataclass(frozen=True)
class Case:
    """One image.

    Attributes:
        name: what people call it.
        stored: [H, W, C] uint8, uint16, or float32 where the file held network input.
        encoding: what `stored` means, and which of its values the network sees as 0 and as 1; None for network input.
        segmentations: [R, H, W] uint8, one a grader; R is 0 where nobody drew.
        whole_size: (height, width) before it was cropped.
        spacing_mm: side of a pixel in millimetres, None where nobody told.
    """

    name: str
    stored: np.ndarray
    encoding: ImageEncoding | None
    segmentations: np.ndarray
    whole_size: tuple[int, int]
    spacing_mm: float | None = None

    @property
    def network_input(self) -> np.ndarray:
        """[H, W, C] float32, 0..1."""
        return self.stored if self.encoding is None else np.asarray(self.encoding.to_float(self.stored), np.float32)


class Cases(Protocol):
    """Images by number."""

    def __len__(self): ...

    def __getitem__(self, index: int) -> Case: ...


class DatasetCases:
    """The images of a split.

    Args:
        info: of the dataset folder.
        split: for instance "val".
        crop_size: (height, width) of the middle that is shown; None for whole images.
        source: for people, where the images are from.
    """

    def __init__(self, info: DatasetInfo, split: str, crop_size=None):
        self.info, self.split, self.crop_size = info, split, crop_size
        self.source = f"{Path(info.folder).name}, split {split}"
        info.split(split)  # a wrong name is told at once

    def __len__(self):
        return self.info.num_images(self.split)

    def __getitem__(self, index):
        record = read_record(self.info, self.split, index)
        spacing = record.provenance.get(SPACING)
        return _case(record.source_id, record.image, self.info.image, record.segmentations, self.crop_size,
                     float(spacing) if spacing else None)


class FileCases:
    """Image files, read anew each time.

    Args:
        paths: PNG (8 or 16 bit) or NPY.
        encoding: of the model's training images.
        crop_size: (height, width) of the middle that is shown; None for whole images.
    """

    def __init__(self, paths, encoding: ImageEncoding, crop_size=None):
        self.paths, self.encoding, self.crop_size = [Path(path) for path in paths], encoding, crop_size
        self.source = os.path.commonpath([path.absolute().parent for path in self.paths]).rpartition("/")[2]
        for path in self.paths:
            if not path.is_file():
                raise FileNotFoundError(f"No such image: {path}. Expected a PNG (8 or 16 bit) or NPY file.")

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        stored, encoding = read_stored(self.paths[index], self.encoding)
        nobody = np.zeros((0, *stored.shape[:2]), np.uint8)
        return _case(self.paths[index].name, stored, encoding, nobody, self.crop_size, None)


def _case(name, stored, encoding, segmentations, crop_size, spacing_mm):
    whole_size = stored.shape[:2]
    if crop_size is not None:
        stored = central_crop(stored, crop_size)
        segmentations = central_crop(segmentations.transpose(1, 2, 0), crop_size).transpose(2, 0, 1)
    return Case(name, stored, encoding, segmentations, whole_size, spacing_mm)
