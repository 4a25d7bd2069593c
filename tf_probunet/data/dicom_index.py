"""Which CT slices lie in a folder tree, by series: found by what headers say, never by names of files or folders."""

import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from tf_probunet.data.dicom import Slice, read_slices
from tf_probunet.data.units import Unit
from tf_probunet.data.walk import files_below
from tf_probunet.staging import replace_file

FILES_IN_A_UNIT = 400


@dataclasses.dataclass
class DicomIndex:
    """What was found in a tree.

    Args:
        series: slices by series instance UID, in no particular order.
        files: (path, size, time of change in ns) by path.
        damaged: (path, reason) of files that are DICOM but cannot be used.
        num_others: files that hold no CT image.
    """

    series: dict[str, list[Slice]] = dataclasses.field(default_factory=dict)
    files: dict[str, tuple[str, int, int]] = dataclasses.field(default_factory=dict)
    damaged: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    num_others: int = 0


@dataclasses.dataclass(frozen=True)
class HeaderReader:
    """Reads the headers of a unit of files into `folder`/NAME.json; can be pickled."""

    folder: str
    what = f"headers read, in units of {FILES_IN_A_UNIT} files"
    units_worth_workers = 25  # 10,000 files take about as long as workers take to start

    def finished(self, unit: Unit) -> dict | None:
        """What was read, if it was read from the same files."""
        try:
            content = json.loads(self._path(unit).read_text(encoding="utf-8"))
            return content if content["files"] == [list(file) for file in unit.files] else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    attempted = finished

    def __call__(self, unit: Unit) -> None:
        """Reads the unit, unless that was done."""
        if self.finished(unit):
            return
        slices, damaged, others = [], [], 0
        for path, _, _ in unit.files:
            try:
                found = read_slices(path)
            except (ValueError, OSError) as error:
                damaged.append((path, str(error)))
                continue
            others += found is None
            slices += [dataclasses.astuple(one) for one in found or ()]
        with replace_file(self._path(unit)) as file:
            json.dump({"files": unit.files, "slices": slices, "damaged": damaged, "num_others": others}, file)

    def _path(self, unit):
        return Path(self.folder) / f"{unit.name}.json"


def index_units(root: str | os.PathLike) -> list[Unit]:
    """The files below a folder, in units of a few hundred.

    Raises:
        OSError: the folder is missing, or holds no file.
    """
    root = Path(root)
    if not root.is_dir():
        what = "is no folder" if root.exists() else "does not exist"
        raise FileNotFoundError(f"{root} {what}. Expected the folder into which the DICOM files were downloaded.")
    files = list(_files(root))
    if not files:
        raise FileNotFoundError(f"{root} holds no files. Expected the folder of the downloaded DICOM files.")
    starts = range(0, len(files), FILES_IN_A_UNIT)
    return [Unit(f"headers-{at // FILES_IN_A_UNIT:05d}", None, tuple(files[at : at + FILES_IN_A_UNIT]))
            for at in starts]


def read_index(units: list[Unit], reader: HeaderReader, execute: Callable) -> DicomIndex:
    """Reads the headers of all units by `execute(function, units)` and gathers what they say."""
    execute(reader, [unit for unit in units if not reader.finished(unit)])
    index = DicomIndex()
    for unit in units:
        content = reader.finished(unit)
        if content is None:
            raise OSError("A file changed while the headers were read. Wait for the download to end and start again.")
        for fields in content["slices"]:
            one = Slice(*(tuple(value) if isinstance(value, list) else value for value in fields))
            index.series.setdefault(one.series_instance_uid, []).append(one)
        index.files.update({path: (path, size, changed) for path, size, changed in unit.files})
        index.damaged += [tuple(pair) for pair in content["damaged"]]
        index.num_others += content["num_others"]
    return index


def _files(root) -> Iterator[tuple[str, int, int]]:
    for path in files_below(root):
        status = path.stat()
        yield str(path), status.st_size, status.st_mtime_ns
