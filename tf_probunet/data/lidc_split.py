"""Which split each of LIDC-IDRI's 1,010 patients is in: by lot, in the paper's numbers, or as a file says."""

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

SIZES = {"train": 722, "val": 144, "test": 144}  # Kohl et al. 2018, appendix H.1


def draw_split(patients: Iterable[str], seed: int = 0) -> dict[str, str]:
    """Splits patients by lot, 722:144:144, whether their scans are at hand or not.

    Args:
        patients: ids of all patients of LIDC-IDRI.
        seed: of the lot.
    Returns:
        The split of each patient, by rising id.
    """
    patients = sorted(set(patients))
    order = np.random.default_rng([seed, 722]).permutation(len(patients))
    ends = np.round(np.cumsum(list(SIZES.values())) / sum(SIZES.values()) * len(patients)).astype(int)
    split = {patients[index]: list(SIZES)[int(np.searchsorted(ends, place, "right"))] for place, index in
             enumerate(order.tolist())}
    return dict(sorted(split.items()))


def to_csv(split: dict[str, str]) -> str:
    """The manifest: a line `patient,split` for each patient."""
    return "patient,split\n" + "".join(f"{patient},{name}\n" for patient, name in sorted(split.items()))


def from_csv(path: str | os.PathLike, patients: Iterable[str]) -> dict[str, str]:
    """Reads a manifest. Patients that it does not name are in no split.

    Args:
        path: CSV with the columns `patient` and `split`.
        patients: ids that exist.
    Raises:
        OSError: no such file.
        ValueError: it is no such CSV, names a patient twice or one who does not exist, or an unknown split.
    """
    path, known, split = Path(path), set(patients), {}
    if not path.is_file():
        raise FileNotFoundError(f"No manifest {path}. Expected a CSV with the columns patient,split.")
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no CSV in UTF-8 ({error}).") from error
    for line, row in enumerate(rows, 2):
        patient, name = row.get("patient"), row.get("split")
        wrong = (
            "is a patient that LIDC-IDRI does not have" if patient not in known
            else "is listed twice" if patient in split
            else f"is in split {name!r}" if name not in SIZES
            else None
        )
        if wrong:
            raise ValueError(
                f"{path}, line {line}: {patient!r} {wrong}. Expected the columns patient,split, each patient once "
                f"(LIDC-IDRI-0001 and so on), split one of {', '.join(SIZES)}."
            )
        split[patient] = name
    if not split:
        raise ValueError(f"{path} names no patient. Expected the columns patient,split and a line for each patient.")
    return split
