"""Images, masks and volumes out of PNG, TIFF, NIfTI and NPY files."""

import logging
import os
from pathlib import Path

import numpy as np
from PIL import Image

ENDINGS = (".nii.gz", ".nii", ".png", ".tiff", ".tif", ".npy")


class UnusableError(ValueError):
    """A file was read, and holds something else than an image; copying it again would not help."""


def find_files(folder: str | os.PathLike) -> dict[str, Path]:
    """Files of these kinds below a folder, by relative path without the ending.

    Raises:
        OSError: the folder is missing, or holds none of them.
        ValueError: two of them differ in their ending only.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "does not exist"
        raise FileNotFoundError(f"{folder} {what}. Expected a folder with {', '.join(ENDINGS)} files.")
    found = {}
    for path in sorted(folder.rglob("*")):
        ending = next((ending for ending in ENDINGS if path.name.lower().endswith(ending)), None)
        if ending is None or not path.is_file() or path.name.startswith("."):
            continue
        name = path.relative_to(folder).as_posix()[: -len(ending)]
        if name in found:
            raise ValueError(f"{found[name]} and {path} have one name: masks could belong to either. Rename one.")
        found[name] = path
    if not found:
        raise FileNotFoundError(f"{folder} holds none of {', '.join(ENDINGS)}. Expected one file an image.")
    return found


def read_pixels(path: Path, mask=False) -> tuple[np.ndarray, bool, np.ndarray | None]:
    """Reads a file.

    Args:
        path: of one of `ENDINGS`.
        mask: class values are expected: palette PNGs give their indices, several channels are an error.
    Returns:
        Slices [S, H, W, C] (C = 1 for masks), whether it is a volume (S may still be 1), and the affine map of a NIfTI
        volume to space, [4, 4].
    Raises:
        OSError: the file cannot be read. ValueError: it holds something else than images.
        ImportError: the library of its format is not installed.
    """
    affine = None
    try:
        if path.name.lower().endswith((".nii", ".nii.gz")):
            pixels, affine = _read_nifti(path)
        elif path.name.lower().endswith(".npy"):
            pixels = np.load(path, allow_pickle=False)
        elif path.name.lower().endswith((".tif", ".tiff")):
            pixels = _read_tiff(path)
        else:
            pixels = _read_png(path, mask)
    except (ImportError, UnusableError):
        raise
    except Exception as error:  # each library has its own errors for damaged files
        raise OSError(f"{path} cannot be read ({type(error).__name__}: {error}). Copy it again.") from error
    volume = affine is not None
    if pixels.ndim == 2:
        pixels = pixels[None, ..., None]
    elif pixels.ndim == 3 and pixels.shape[-1] in (1, 3, 4) and not volume:
        pixels = pixels[None]
    elif pixels.ndim == 3:
        pixels, volume = pixels[..., None], True
    elif pixels.ndim == 4:
        volume = True
    else:
        raise ValueError(f"{path} has {pixels.ndim} axes {list(pixels.shape)}; expected an image [H, W] or [H, W, C], "
                         "or a volume.")
    if mask and pixels.shape[-1] != 1:
        raise ValueError(f"{path} is a mask of {pixels.shape[-1]} channels; expected one number a pixel. Turn its "
                         "colours into class numbers first.")
    if mask and pixels.dtype.kind == "f":
        if not (pixels == np.rint(pixels)).all():
            raise ValueError(f"{path} is a mask with fractions; expected whole numbers, one a class.")
        pixels = pixels.astype(np.int64)
    return pixels, volume, affine


def _read_png(path, mask):
    with Image.open(path, formats=["PNG"]) as image:
        image.load()
        if image.mode == "1":
            return np.asarray(image).astype(np.uint8)
        if image.mode == "P" and not mask:
            image = image.convert("RGB")
        if image.mode.startswith("I"):
            return np.asarray(image).astype(np.uint16)
        if (bits := path.read_bytes()[24]) == 16:  # Pillow keeps 8 of the 16 bits of colours
            import tensorflow as tf

            return tf.io.decode_png(path.read_bytes(), dtype=tf.uint16).numpy()
        if mask and image.mode == "L" and bits < 8:  # Pillow spreads 0..3 and 0..15 over 0..255
            return np.asarray(image) // (255 // (2**bits - 1))
        return np.asarray(image)


def _read_tiff(path):
    try:
        import tifffile
    except ImportError as error:
        raise ImportError(f"Reading {path} needs tifffile: pip install 'tf_probunet[formats]'.") from error
    with _Complaints() as complaints, tifffile.TiffFile(path) as file:
        parts = [(series.asarray(), series.axes) for series in file.series]
    if complaints.said or not parts:  # tifffile reads the pages before the damage and only logs the rest
        raise OSError((complaints.said or ["no pages"])[0])
    if len({(pixels.shape, pixels.dtype) for pixels, _ in parts}) != 1:
        raise UnusableError(f"{path} holds {len(parts)} pictures of different size or kind, "
                            f"{[list(pixels.shape) for pixels, _ in parts]}. Expected one, or pages of one size.")
    # Planar colours: [C, H, W] -> [H, W, C]
    pages = [np.moveaxis(pixels, 0, -1) if axes == "SYX" else pixels for pixels, axes in parts]
    return pages[0] if len(pages) == 1 else np.stack(pages)


class _Complaints(logging.Handler):
    """What tifffile logs as an error while it reads, instead of raising it."""

    def __enter__(self):
        self.said = []
        logging.getLogger("tifffile").addHandler(self)
        return self

    def __exit__(self, *_):
        logging.getLogger("tifffile").removeHandler(self)

    def emit(self, record):
        if record.levelno >= logging.ERROR:
            self.said.append(record.getMessage())


def _read_nifti(path):
    """Axial slices [S, H, W], the patient's front at the top and right hand at the left, and the affine map."""
    try:
        import nibabel
    except ImportError as error:
        raise ImportError(f"Reading {path} needs nibabel: pip install 'tf_probunet[formats]'.") from error
    image = nibabel.as_closest_canonical(nibabel.load(path))
    pixels = np.asarray(image.dataobj)  # integers where the file scales nothing
    if pixels.ndim == 4 and pixels.shape[3] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3:
        raise UnusableError(f"{path} has {pixels.ndim} axes {list(pixels.shape)}; expected a volume [X, Y, Z]. "
                            "Save one point in time, or one channel, for each file.")
    return np.rot90(pixels, axes=(0, 1)).transpose(2, 0, 1), image.affine
