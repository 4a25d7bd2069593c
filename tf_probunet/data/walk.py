"""Files below a folder, those behind links to folders too: archives are spread over disks."""

import os
from collections.abc import Iterator
from pathlib import Path


def files_below(folder: str | os.PathLike) -> Iterator[Path]:
    """All files below a folder by name, each folder's own before those of the folders in it.

    Links are followed, but not to a folder that one is in already, or they would have no end.

    Raises:
        FileNotFoundError: a link leads nowhere, as to a disk that is not mounted; hidden ones are passed over.
    """
    yield from _files(Path(folder), (os.path.realpath(folder),))


def _files(folder, above):
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_file():
            yield folder / entry.name
        elif not entry.is_dir() and entry.is_symlink() and not entry.name.startswith("."):
            raise FileNotFoundError(f"{entry.path} is a link to {os.readlink(entry.path)}, where nothing is. Bring that "
                                    "back (is its disk mounted?), or remove the link.")
    for entry in entries:
        if entry.is_dir() and (real := os.path.realpath(entry.path)) not in above:
            yield from _files(folder / entry.name, (*above, real))
