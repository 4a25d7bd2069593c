"""Which numbered versions a model's folder holds."""

import os
from pathlib import Path


def version_numbers(folder: str | os.PathLike) -> list[int]:
    """Numbers of the versions in a model's folder, ascending."""
    folder = Path(folder)
    return sorted(int(path.name) for path in folder.glob("*") if path.is_dir() and _is_number(path.name))


def _is_number(name):
    return name.isascii() and name.isdecimal() and name == str(int(name))
