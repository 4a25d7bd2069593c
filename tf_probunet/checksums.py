"""Checksums of files, with nothing but the standard library: light tools use them too."""

import hashlib
import os


def sha256_of(path: str | os.PathLike) -> str:
    """The hexadecimal sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
