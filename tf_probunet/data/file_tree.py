"""Files of a data source, a folder or a zip alike, and the PNGs among them."""

import functools
import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from tf_probunet.data.walk import files_below


class FileTree:
    """Files below a folder or inside a zip, by posix path relative to it.

    Args:
        source: folder or zip file.
        expected: what it should hold, for the error that says it is not there.
    Raises:
        OSError: there is no such folder or zip, or the zip is damaged.
    """

    def __init__(self, source, expected: str):
        self.source = Path(source)
        self._zip = None
        if self.source.is_dir():
            return
        if not zipfile.is_zipfile(self.source):
            if not self.source.exists():
                raise FileNotFoundError(f"{source} does not exist. Expected a folder or zip with {expected}.")
            raise OSError(f"{source} is no zip file. Expected a folder or zip with {expected}. If it was "
                          "downloaded, copy it again.")
        try:
            self._zip = zipfile.ZipFile(self.source)
        except zipfile.BadZipFile as error:
            raise OSError(f"{source} is a damaged zip file ({error}). Copy it again.") from error

    @functools.cached_property
    def names(self) -> list[str]:
        """Paths of all files."""
        if self._zip:
            return [name for name in self._zip.namelist() if not name.endswith("/")]
        return [path.relative_to(self.source).as_posix() for path in files_below(self.source)]

    def read(self, name: str) -> bytes:
        """The content of a file; an `OSError` names it where it cannot be read."""
        try:
            return self._zip.read(name) if self._zip else (self.source / name).read_bytes()
        except (OSError, EOFError, KeyError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
            raise OSError(f"{self.source}: cannot read {name} ({error}). Copy the source again.") from error

    def read_png(self, name: str, mode: str) -> np.ndarray:
        """Pixels of an 8 bit PNG.

        Args:
            name: of the file.
            mode: "L" [H, W] or "RGB" [H, W, 3], to which the pixels are converted, or "label" [H, W]: numbers as they
                are stored, which a picture in colours does not have.
        Returns:
            uint8 array.
        Raises:
            OSError: the file is no readable PNG.
            ValueError: more than 8 bits, or colours where labels should be.
        """
        content = self.read(name)
        try:
            with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
                stored = image.mode
                pixels = None
                if mode == "label":
                    if stored in ("L", "P"):
                        pixels = np.array(image)
                elif not stored.startswith(("I", "F")):
                    pixels = np.asarray(image.convert(mode))
        except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error) as error:  # all of them Pillow's
            what = f"{len(content)} bytes" if isinstance(error, UnidentifiedImageError) else error
            raise OSError(f"{self.source}: {name} is no readable PNG ({what}). Copy the source again.") from error
        if pixels is None and stored.startswith(("I", "F")):
            raise ValueError(
                f"{self.source}: {name} has more than 8 bits. Expected 8 bit images and masks; bring them to 8 bit "
                "first, images scaled to 0..255."
            )
        if pixels is None:
            raise ValueError(
                f"{self.source}: {name} is a picture of mode {stored}. Expected 8 bit numbers of classes, one a pixel. "
                "Give the PNGs with label ids, not those with colours."
            )
        return pixels
