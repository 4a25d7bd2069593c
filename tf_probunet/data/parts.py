"""Preparation in parts: each unit of work (a patient, a city) becomes a file of records; the files become a dataset.

A part appears by one rename and is described by a small JSON file that is written after it. Whoever starts again
after a kill finds the parts that are whole and makes the others; the shards are then the same, byte for byte.
"""

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import tensorflow as tf

from tf_probunet.alone import LOCK_FILE, alone
from tf_probunet.checksums import sha256_of
from tf_probunet.data.dataset import ImageEncoding
from tf_probunet.data.format_checks import check_record
from tf_probunet.data.units import Remarks, Unit
from tf_probunet.data.writer import DatasetWriter, EncodedRecord, Record
from tf_probunet.staging import disk_errors, replace_file


KEPT = "What is finished is kept there"  # of a full disk


@dataclasses.dataclass(frozen=True)
class PartMaker:
    """Makes the part of a unit; can be pickled, so that it may run in another process.

    Args:
        folder: of the parts.
        records: (unit, remarks) -> records; the function stands in a module, and is the same work each time.
        settings: everything else that decides the records, JSON values: where they change, parts are made anew.
        image, num_classes, ignore_label, twins: of the dataset, for `check_record`.
    """

    folder: str
    records: Callable[[Unit, Remarks], Iterable[Record]]
    settings: dict
    image: ImageEncoding
    num_classes: int
    ignore_label: int = 255
    twins: tuple[int, ...] = ()
    what = "units prepared"  # for a line of progress
    units_worth_workers = 2  # a unit is a patient or a city

    def paths(self, unit: Unit) -> tuple[Path, Path]:
        """The file of records and its description."""
        return Path(self.folder) / f"{unit.name}.tfrecord", Path(self.folder) / f"{unit.name}.json"

    def attempted(self, unit: Unit) -> dict | None:
        """The description of a part that was made of the same input, with or without rejects; None where it was not."""
        try:
            content = json.loads(self.paths(unit)[1].read_text(encoding="utf-8"))
            return content if content["fingerprint"] == self._fingerprint(unit) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def finished(self, unit: Unit) -> dict | None:
        """The description of a part that is whole, lacks nothing and was made of the same input."""
        content = self.attempted(unit)
        try:
            return content if content and not content["rejects"] and content["sha256"] == sha256_of(
                self.paths(unit)[0]) else None
        except (OSError, KeyError):
            return None

    def __call__(self, unit: Unit) -> None:
        """Makes the part, unless it is whole already."""
        if self.finished(unit):
            return
        part, description = self.paths(unit)
        remarks, count, failures = Remarks(), 0, []
        with disk_errors(self.folder, KEPT):
            description.unlink(missing_ok=True)
            partial = part.parent / f".{part.name}.partial-{os.getpid()}"
            try:
                with tf.io.TFRecordWriter(str(partial)) as writer:
                    for example in self._examples(unit, remarks, failures):
                        writer.write(example)
                        count += 1
                if failures:  # of a unit that failed nothing is kept: half a city would pass for a whole one
                    partial.write_bytes(b"")
                    count, remarks = 0, Remarks(rejects=failures)
                os.replace(partial, part)
            finally:
                partial.unlink(missing_ok=True)
            with replace_file(description) as file:
                json.dump({"fingerprint": self._fingerprint(unit), "num_records": count, "sha256": sha256_of(part),
                           **dataclasses.asdict(remarks)}, file)

    def _examples(self, unit, remarks, failures):
        """The unit's records, encoded; what stops them, but for a full disk, is a failure, and other units go on."""
        try:
            for record in self.records(unit, remarks):
                check_record(record, self.image, self.num_classes, self.ignore_label, self.twins)
                yield EncodedRecord.of(record).example
        except Exception as error:
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                raise
            expected = isinstance(error, (ValueError, OSError))
            failures.append((unit.name, f"{error}" if expected else f"{type(error).__name__}: {error}"))

    def _fingerprint(self, unit):
        content = json.dumps([self.settings, unit.work, unit.files], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


@contextlib.contextmanager
def parts_folder(output: Path) -> Iterator[Path]:
    """The folder of parts beside the dataset that they will become, held for one preparation at a time.

    Raises:
        OSError: another process prepares the same dataset.
    """
    folder = output.parent / f".{output.name}.parts"
    with disk_errors(folder, KEPT):
        folder.mkdir(parents=True, exist_ok=True)
    refusal = (f"Another process is preparing {output}. Wait for it, or stop it and run the command again: what it has "
               "finished is kept.")
    with alone(folder, refusal):
        try:
            yield folder
        finally:
            if all(path.name == LOCK_FILE for path in folder.glob("*")):  # nothing was begun
                remove_parts(folder)


def join_parts(writer: DatasetWriter, maker: PartMaker, split: str, units: Iterable[Unit]) -> None:
    """Appends the records of whole parts to a split, in the order of the units.

    Raises:
        OSError: a part was damaged since it was made.
    """
    whole = [unit for unit in units if maker.paths(unit)[0].is_file()]  # the others were rejected as a whole
    paths = [str(maker.paths(unit)[0]) for unit in whole]
    if not paths:
        return
    try:
        for example in tf.data.TFRecordDataset(paths).as_numpy_iterator():  # one for all: making one costs 0.1 s
            writer.write_encoded(split, EncodedRecord.parse(example))
    except tf.errors.DataLossError as error:
        damaged = [unit for unit in whole if not maker.finished(unit)]
        for unit in damaged:
            maker.paths(unit)[1].unlink(missing_ok=True)
        names = ", ".join(str(maker.paths(unit)[0]) for unit in damaged) or "A part"
        raise OSError(f"{names} was damaged after it was made. Run the command again: it will be made anew.") from error


def digest(lines: Iterable[str]) -> str:
    """The sha256 of lines of text: what a dataset was made of, in short."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def remove_parts(folder: Path) -> None:
    """Removes the parts of a dataset that is whole."""
    shutil.rmtree(folder, ignore_errors=True)
