"""How images of any kind are stored: decided from the kind and range of all of them, without loss where it can be."""

import dataclasses
import math

import numpy as np

from tf_probunet.data.dataset import ImageEncoding

BITS = (8, 10, 12, 14, 16)


@dataclasses.dataclass
class ValueRange:
    """What was seen of the images so far: kinds of numbers and where first, least and largest value, channels."""

    dtypes: dict = dataclasses.field(default_factory=dict)
    low: float = math.inf
    high: float = -math.inf
    channels: set = dataclasses.field(default_factory=set)

    def add(self, image: np.ndarray, where: str) -> None:
        """Takes in an image [..., C]; raises `ValueError`, naming `where`, for numbers that cannot be stored."""
        if image.dtype.kind not in "uif" or not image.size:
            raise ValueError(f"{where} holds {image.dtype} {list(image.shape)}; expected an image of numbers.")
        if image.dtype.kind == "f" and not np.isfinite(image).all():
            raise ValueError(f"{where} holds NaN or infinite values. Replace them, by the least value for instance.")
        if image.shape[-1] not in (1, 3):
            raise ValueError(f"{where} has {image.shape[-1]} channels; expected 1 or 3. Drop the others (alpha) first.")
        self.dtypes.setdefault(image.dtype, where)
        self.low, self.high = min(self.low, float(image.min())), max(self.high, float(image.max()))
        self.channels.add(image.shape[-1])
        if len(self.channels) > 1:
            raise ValueError(f"{where} has {image.shape[-1]} channels, images before it had another number. Convert "
                             "all images to one number of channels.")

    def encoding(self, window=None) -> ImageEncoding:
        """The encoding for all images that were added.

        8 bit images stay what they are, 0..255 seen as 0..1. Unsigned ones up to 16 bit stay what they are, too; the
        largest number of the fewest of 8, 10, 12, 14 or 16 bits that hold them all is seen as 1. Signed integers are
        shifted; least and largest are seen as 0 and 1. Floats, and integers of a wider range, are rounded to 65,536
        steps between least and largest.

        Args:
            window: (value seen as 0, value seen as 1) instead.
        Raises:
            ValueError: 8 bit images lie among others, or floats among integers, and no window says that their numbers
                mean the same: white would be 255 in one and 65535 or 1.0 in another.
        """
        (channels,) = self.channels
        if window is None:
            self._check_alike()
        integers = all(dtype.kind in "ui" for dtype in self.dtypes)
        if set(self.dtypes) == {np.dtype(np.uint8)}:
            bits, scale, offset, low, high = 8, 1.0, 0.0, 0.0, 255.0
        elif integers and self.low >= 0 and self.high < 2**16:
            largest = next(2**bits - 1 for bits in BITS if self.high < 2**bits)
            bits, scale, offset, low, high = 16, 1.0, 0.0, 0.0, float(largest)
        elif integers and self.high - self.low < 2**16:
            bits, scale, offset, low, high = 16, 1.0, self.low, self.low, self.high
        else:
            bits, scale, offset = 16, (self.high - self.low) / (2**16 - 1) or 1.0, self.low
            low, high = self.low, self.high
        if low == high:
            high = low + 1  # one value throughout: seen as 0
        low, high = window or (low, high)
        return ImageEncoding(channels, bits, scale, offset, "grey level", float(low), float(high))

    def _check_alike(self):
        kinds = {}
        for dtype, where in self.dtypes.items():
            kind = "floats" if dtype.kind == "f" else "8 bit" if dtype.itemsize == 1 else "wider integers"
            kinds.setdefault(kind, f"{where}: {kind}")
        if len(kinds) > 1:
            raise ValueError(
                f"Images are of several kinds of numbers: {'; '.join(kinds.values())}. Convert them to one kind; or, if "
                "equal numbers mean the same in all of them, say which are seen as 0 and as 1: --window LOW,HIGH."
            )


def store(image: np.ndarray, encoding: ImageEncoding) -> np.ndarray:
    """Numbers of an image as `encoding` stores them, uint8 or uint16 of the same shape."""
    stored = np.rint((image.astype(np.float64) - encoding.offset) / encoding.scale)
    return np.clip(stored, 0, 2**encoding.bits - 1).astype(f"uint{encoding.bits}")
