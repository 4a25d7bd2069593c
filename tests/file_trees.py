"""Writes small sources for the tests: the same files as a folder or as a zip."""

import zipfile


def save(files, target):
    """Writes files {name: bytes} into a folder, or into a zip where `target` ends so; returns the target."""
    if target.suffix == ".zip":
        with zipfile.ZipFile(target, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    else:
        for name, content in files.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(content)
    return target
