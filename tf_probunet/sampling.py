"""From an image file to segmentation hypotheses on disk."""

import functools
import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from tf_probunet import plots
from tf_probunet.data.dataset import ImageEncoding
from tf_probunet.export.exported import ExportedModel
from tf_probunet.serving.served_model import ServedModel
from tf_probunet.staging import disk_errors, stage_folder

# Background black, then colours that are told apart without colour vision (Okabe and Ito).
COLORS = ((0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0),
          (204, 121, 167))


def read_image(path: str | os.PathLike, encoding: ImageEncoding) -> np.ndarray:
    """Reads PNG (8 or 16 bit) or NPY as network input.

    Integers as wide as the training data's are mapped as those were. An 8-bit grey level model also takes 16-bit
    images and the reverse, scaled by the full range; a model of physical units does not. Floats must be network
    input already, 0..1.

    Args:
        path: a .png or .npy file; NPY holds [H, W] or [H, W, C].
        encoding: of the model's training data.
    Returns:
        [H, W, C] float32.
    Raises:
        OSError: missing or unreadable. ValueError: of another kind than the model's images.
    """
    stored, encoding = read_stored(path, encoding)
    return stored if encoding is None else np.asarray(encoding.to_float(stored), np.float32)


def read_stored(path: str | os.PathLike, encoding: ImageEncoding) -> tuple[np.ndarray, ImageEncoding | None]:
    """Reads what `read_image` reads, with its own numbers and what they mean.

    Args:
        path: a .png or .npy file.
        encoding: of the model's training data.
    Returns:
        [H, W, C] uint8 or uint16 and how they become network input; or float32 and None, network input already.
    Raises:
        OSError, ValueError: see `read_image`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No such image: {path}. Expected a PNG (8 or 16 bit) or NPY file.")
    stored = _read(path, encoding.channels)
    stored = stored[..., None] if stored.ndim == 2 else stored
    if stored.ndim != 3 or stored.shape[2] != encoding.channels:
        raise ValueError(f"{path} has shape {list(stored.shape)}; expected [H, W, {encoding.channels}].")
    if np.issubdtype(stored.dtype, np.floating):
        if not np.isfinite(stored).all() or stored.min() < 0 or stored.max() > 1:
            raise ValueError(
                f"{path} holds floats from {np.nanmin(stored):.4g} to {np.nanmax(stored):.4g}; expected 0..1, finite. "
                "Scale it as the training images were."
            )
        return stored.astype(np.float32), None
    bits = {np.dtype(np.uint8): 8, np.dtype(np.uint16): 16}.get(stored.dtype)
    if bits is None:
        raise ValueError(f"{path} holds {stored.dtype}; expected uint8, uint16 or floats in 0..1.")
    if bits != encoding.bits:
        if encoding.unit != "grey level":
            raise ValueError(f"{path} is {bits} bit; the model expects {encoding.bits} bit images in {encoding.unit}.")
        return stored, ImageEncoding(encoding.channels, bits, high=2.0**bits - 1)
    return stored, encoding


def _read(path, channels):
    try:
        if path.suffix.lower() == ".npy":
            return np.load(path, allow_pickle=False)
        with Image.open(path) as image:
            if image.mode.startswith("I"):  # 16 bit
                return np.asarray(image).astype(np.uint16)
            return np.asarray(image.convert("L" if channels == 1 else "RGB"))
    except (OSError, ValueError) as error:
        raise OSError(f"Cannot read {path} ({error}). Expected a PNG (8 or 16 bit) or NPY file.") from error


def central_crop(image, size):
    """The middle of an image [H, W, C], `size` (height, width); a `ValueError` where the image is smaller."""
    if any(crop > side for crop, side in zip(size, image.shape, strict=False)):
        raise ValueError(
            f"The image is {image.shape[0]}x{image.shape[1]}, smaller than the crop of {size[0]}x{size[1]}. "
            "Choose a crop that fits."
        )
    top, left = ((side - crop) // 2 for crop, side in zip(size, image.shape, strict=False))
    return image[top : top + size[0], left : left + size[1]]


@functools.cache
def palette() -> tuple[int, ...]:
    """Of PNGs that both hold their class numbers and show them: after the eighth, colours come lighter and darker.

    All 256, for a palette of up to 16 would have Pillow store 4 bits a pixel and cut off what is larger. The page of
    `probunet explore` has the same (`explore/web/src/palette.ts`).
    """
    colors = list(COLORS)
    for label in range(len(COLORS), 256):
        turn, place = divmod(label - 1, len(COLORS) - 1)
        towards, share = 255 if turn % 2 else 0, min(0.25 * -(-turn // 2) + 0.15, 1.0)
        colors.append(tuple(int(value + (towards - value) * share + 0.5) for value in COLORS[1 + place]))
    return tuple(value for color in colors for value in color)


def sample_to_folder(model: ExportedModel | ServedModel, image_path, output, *, num_samples=16, seed=0,
                     crop_size=None) -> list[Path]:
    """Draws samples for one image and writes them; the folder appears when all is in it.

    Writes sample_00.png .. (palette PNG whose values are the classes), samples.npy [M, H, W] uint8,
    probabilities.npy [H, W, K] float32, probability.png (16 bit, of any foreground class) and, where matplotlib is
    installed, figure.png.

    Args:
        model: an exported model, in this process or served.
        image_path: PNG or NPY.
        output: folder to make.
        num_samples: M.
        seed: of the samples.
        crop_size: (height, width) of the central crop; None for the whole image.
    Returns:
        the files.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1. Received: {num_samples}.")
    image = read_image(image_path, model.image)
    image = image if crop_size is None else central_crop(image, crop_size)
    segmentations, probabilities = model.sample(image[None], num_samples, seed=(seed, 0))
    samples, probability = segmentations[0], 1 - probabilities[0, ..., 0]
    output = Path(output)
    with disk_errors(output):
        staging = stage_folder(output)
        try:
            for index, sample in enumerate(samples):
                mask = Image.fromarray(sample, mode="P")
                mask.putpalette(palette())
                mask.save(staging / f"sample_{index:02d}.png")
            np.save(staging / "samples.npy", samples)
            np.save(staging / "probabilities.npy", probabilities[0])
            scaled = np.round(np.clip(probability, 0, 1) * 65535).astype(np.uint16)
            Image.fromarray(scaled).save(staging / "probability.png")
            if plots.is_available():
                case = {"name": Path(image_path).name, "image": image, "segmentations": None, "samples": samples,
                        "probability": probability}
                present = np.mean([(sample > 0).any() for sample in samples])
                plots.sample_sheet([case], staging / "figure.png", num_samples=8, classes=model.num_classes,
                                   title=f"{model.title}: something is segmented in {100 * present:.0f} % of "
                                         f"{num_samples} samples.\nTrained on: {model.source.split('.')[0]}")
            os.rename(staging, output)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return sorted(output.iterdir())
