"""Images, masks and volumes out of PNG, JPEG, TIFF, NIfTI and NPY files."""

import logging
import os
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from tf_probunet.data.walk import files_below

ENDINGS = (".nii.gz", ".nii", ".png", ".tiff", ".tif", ".npy", ".jpeg", ".jpg")
OTHERS = (".bmp", ".gif", ".webp", ".jp2", ".dcm", ".mha", ".mhd", ".nrrd", ".npz")


class UnusableError(ValueError):
    """A file was read, and holds something else than an image; copying it again would not help."""


def find_files(folder: str | os.PathLike) -> dict[str, Path]:
    """Files of these kinds below a folder, by relative path without the ending.

    Raises:
        OSError: the folder is missing, or holds none of them.
        ValueError: two of them differ in their ending only, or pictures of other kinds lie among them.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "does not exist"
        raise FileNotFoundError(f"{folder} {what}. Expected a folder with {', '.join(ENDINGS)} files.")
    found = {}
    for path in sorted(files_below(folder)):
        ending = next((ending for ending in ENDINGS if path.name.lower().endswith(ending)), None)
        if path.name.startswith("."):
            continue
        if path.suffix.lower() in OTHERS:
            raise ValueError(f"{path} is of a kind that is not read. Expected {', '.join(ENDINGS)}: convert it, or take "
                             "it out of the folder.")
        if ending is None:
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
            volume = True
        elif path.name.lower().endswith(".npy"):
            pixels, volume = _guess_axes(np.load(path, allow_pickle=False), path)
        elif path.name.lower().endswith((".tif", ".tiff")):
            pixels, volume = _read_tiff(path, mask)
        elif path.name.lower().endswith(".png"):
            pixels, volume = np.atleast_3d(_read_png(path, mask))[None], False
        else:
            pixels, volume = np.atleast_3d(_read_jpeg(path, mask))[None], False
    except (ImportError, UnusableError):
        raise
    except Exception as error:  # each library has its own errors for damaged files
        raise OSError(f"{path} cannot be read ({type(error).__name__}: {error}). Copy it again.") from error
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


def _read_jpeg(path, mask):
    if mask:
        raise UnusableError(f"{path} is a mask in JPEG, which blurs class numbers. Save it as PNG, from the original.")
    with Image.open(path, formats=["JPEG"]) as image:
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
            raise UnusableError(f"{path} says in its EXIF that it is to be turned: its mask may be drawn on either "
                                "form. Turn the pixels, and drop the tag.")
        return np.asarray(image if image.mode == "L" else image.convert("RGB"))


def _guess_axes(pixels, path):
    """NPY names no axes. Returns [S, H, W, C] and whether it is a volume."""
    if pixels.ndim == 2:
        return pixels[None, ..., None], False
    if pixels.ndim == 3 and pixels.shape[-1] in (1, 3, 4):
        return pixels[None], False
    if pixels.ndim == 3:
        return pixels[..., None], True
    if pixels.ndim == 4:
        return pixels, True
    raise UnusableError(f"{path} has {pixels.ndim} axes {list(pixels.shape)}; expected an image [H, W] or [H, W, C], "
                        "or a volume [S, H, W] or [S, H, W, C].")


def _read_tiff(path, mask):
    """Returns [S, H, W, C] and whether it is a volume."""
    try:
        import tifffile
    except ImportError as error:
        raise ImportError(f"Reading {path} needs tifffile: pip install 'tf_probunet[formats]'.") from error
    with _Complaints() as complaints, tifffile.TiffFile(path) as file:
        try:
            parts = [_tiff_part(path, series, mask) for series in file.series]
        except ValueError as error:
            if "imagecodecs" in str(error):  # a compression that tifffile leaves to it
                raise ImportError(f"Reading {path}: {error}. pip install 'tf_probunet[formats]'.") from error
            raise
    if complaints.said or not parts:  # tifffile reads the pages before the damage and only logs the rest
        raise OSError((complaints.said or ["no pages"])[0])
    if len({(pixels.shape, pixels.dtype) for pixels, _ in parts}) != 1:
        raise UnusableError(f"{path} holds {len(parts)} pictures of different size or kind, "
                            f"{[list(pixels.shape[1:]) for pixels, _ in parts]}. Expected one, or pages of one size.")
    return np.concatenate([pixels for pixels, _ in parts]), len(parts) > 1 or parts[0][1]


def _tiff_part(path, series, mask):
    """[S, H, W, C] by the names of the axes: S and C are channels, any other one counts slices.

    More than four "channels" are slices, too: tifffile calls the pages of a stack so that it writes for ImageJ.
    """
    pixels, axes = series.asarray(), series.axes
    if series.sizes.get("channel", 1) > 4:
        axes = axes.replace("C", "Z")
    colours = series.keyframe.colormap
    if colours is not None and not mask:  # [3, number of colours], 16 bit
        pixels, axes = (colours.T[pixels] >> 8).astype(np.uint8), axes + "S"
    channels = [axis for axis in axes if axis in "SC"]
    others = [axis for axis in axes if axis not in "YXSC"]
    if len(channels) > 1 or len(others) > 1:
        raise UnusableError(f"{path} has the axes {series.axes}, {list(series.shape)}; expected an image or a volume, "
                            "with one axis of channels at most. Save one point in time for each file.")
    pixels = pixels.transpose([axes.index(axis) for axis in [*others, "Y", "X", *channels]])
    pixels = pixels if channels else pixels[..., None]
    return (pixels, True) if others else (pixels[None], False)


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
    """Axial slices [S, H, W, 1], the patient's front at the top and right hand at the left, and the affine map."""
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
    return np.rot90(pixels, axes=(0, 1)).transpose(2, 0, 1)[..., None], image.affine
