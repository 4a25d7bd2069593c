"""`manifest.json` of an exported version: what it is, and the sha256 of every file in it."""

import json
import os
from pathlib import Path

from tf_probunet.checksums import sha256_of

NAME = "manifest.json"
FORMAT = "tf_probunet.saved_model/1"


def write_manifest(folder: str | os.PathLike, facts: dict) -> None:
    """Closes an exported version: hashes every file below `folder` and writes the manifest beside them.

    Args:
        folder: the version's folder, complete but for this file.
        facts: JSON values that say what the model is.
    """
    folder = Path(folder)
    content = {"format": FORMAT, **facts, "files": _hashes(folder)}
    (folder / NAME).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_manifest(folder: str | os.PathLike) -> dict:
    """Reads a version's manifest after checking every file against it.

    Raises:
        OSError: no manifest, or a file is missing, changed or new; names it.
        ValueError: the manifest is of another format.
    """
    folder = Path(folder)
    path = folder / NAME
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} has no {NAME}. Expected a version that `probunet export` wrote, such as saved_models/NAME/1."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # of JSON and of UTF-8
        raise OSError(f"{path} was damaged: {error}. Copy the version again or export it anew.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or not isinstance(content.get("files"), dict):
        found = content.get("format") if isinstance(content, dict) else content
        raise ValueError(f"{path} has format {found!r}; expected {FORMAT!r} with its files. Export it again.")
    found, expected = _hashes(folder), content["files"]
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            what = "is missing" if name not in found else "is not listed" if name not in expected else "was changed"
            raise OSError(f"{folder}: {name} {what} according to {NAME}. Copy the version again or export it anew.")
    return content


def _hashes(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / NAME)
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}
