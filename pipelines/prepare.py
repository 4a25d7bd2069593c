"""From units of work to a dataset folder: the way of every source that is prepared in parts."""

import csv
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

from tf_probunet.data.dataset import INFO_NAME, load_info
from tf_probunet.data.parts import PartMaker, join_parts, parts_folder, remove_parts
from tf_probunet.data.units import Remarks, Unit
from tf_probunet.data.writer import DatasetWriter
from tf_probunet.staging import refuse_existing, replace_file


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be prepared.

    Args:
        units: by split, in the order of their records.
        records: (unit, remarks) -> records, as `PartMaker` takes it.
        settings: what decides the records beside the units' work, JSON values.
        dataset: arguments of `DatasetWriter` other than folder and splits.
        remarks: what was found before any unit was done.
        files: texts that go beside the shards, by name.
    """

    units: dict[str, list[Unit]]
    records: Callable
    settings: dict
    dataset: dict
    remarks: Remarks = dataclasses.field(default_factory=Remarks)
    files: dict[str, str] = dataclasses.field(default_factory=dict)


def prepare(make_plan: Callable[[Path], Plan], output, execute, *, allow_rejects=False, report=print) -> None:
    """Makes a dataset folder, or goes on with one that was begun.

    What is finished lies beside the output, hidden, until the dataset is whole. What could not be used is listed in
    OUTPUT.rejects.csv, with what a rule of the source left out.

    Args:
        make_plan: called with the folder for intermediate files.
        output: dataset folder to make.
        execute: (make, units) -> None, does the units: see `units.py`.
        allow_rejects: write the dataset without what could not be used.
        report: called with lines of text for the user.
    Raises:
        FileExistsError: the folder is there and holds something else.
        ValueError: something could not be used, and `allow_rejects` is off.
        OSError: the disk is full, or another process prepares the same folder.
    """
    output = Path(output)
    if not (output / INFO_NAME).is_file():
        refuse_existing(output)  # before long work
    with parts_folder(output) as folder:
        plan = make_plan(folder)
        if output.exists():
            left_out = _check_same(output, plan)
            report(f"{output} is whole already{f', but for {left_out} inputs left out' if left_out else ''}: nothing to "
                   "do.")
            remove_parts(folder)
            return
        units = [unit for part in plan.units.values() for unit in part]
        maker = PartMaker(
            str(folder), plan.records, plan.settings, plan.dataset["image"], len(plan.dataset["classes"]),
            plan.dataset.get("ignore_label", 255), tuple(flip.target for flip in plan.dataset.get("flips", ())),
        )
        missing = [unit for unit in units if not maker.finished(unit)]
        if len(missing) < len(units):
            report(f"{len(units) - len(missing)} of {len(units)} units are finished already.")
        execute(maker, missing)
        remarks, counts = _gather(plan, maker)
        rejects_file = output.with_name(output.name + ".rejects.csv")
        _tell(remarks, rejects_file, report)
        if remarks.rejects and not allow_rejects:
            what, reason = remarks.rejects[0]
            raise ValueError(
                f"{len(remarks.rejects)} inputs could not be used, first {what}: {reason}\n"
                f"{rejects_file} lists them with the reasons. What is "
                f"finished is kept and {output} was not made. Repair them and run the same command again, or leave "
                "them out: --allow_rejects."
            )
        splits = [split for split in plan.units if counts[split]]
        for split in plan.units.keys() - set(splits):
            report(f"No image falls into split {split!r}: it is left out.")
        if not splits:
            raise ValueError(f"No image was found for {output}. Check that the source holds what was annotated.")
        dataset = dict(plan.dataset)
        if remarks.rejects:
            dataset["preparation"] = {**dataset["preparation"], "num_rejected": len(remarks.rejects)}
        with DatasetWriter(output, splits=splits, **dataset) as writer:
            for name, text in plan.files.items():
                writer.add_file(name, text)
            for split in splits:
                join_parts(writer, maker, split, plan.units[split])
        remove_parts(folder)


def _check_same(output, plan):
    """Raises `FileExistsError` unless the folder was made by the same plan; returns how many inputs it left out."""
    before = dict(load_info(output).preparation)
    left_out = before.pop("num_rejected", 0)
    now = json.loads(json.dumps(plan.dataset["preparation"]))
    changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    if changed:
        raise FileExistsError(
            f"{output} already exists and was made from other input or with other settings (it differs in "
            f"{', '.join(changed)}). It is never written over: choose another name or remove it."
        )
    return left_out


def _gather(plan, maker):
    """All remarks, and the number of records by split."""
    remarks = Remarks(list(plan.remarks.rejects), list(plan.remarks.drops), list(plan.remarks.notes))
    counts = dict.fromkeys(plan.units, 0)
    for split, units in plan.units.items():
        for unit in units:
            said = maker.attempted(unit)
            if said is None:
                raise OSError(f"The part of {unit.name} is missing though its work ended. Run the command again.")
            counts[split] += said["num_records"]
            remarks.rejects += map(tuple, said["rejects"])
            remarks.drops += map(tuple, said["drops"])
            remarks.notes += said["notes"]
    return remarks, counts


def _tell(remarks, rejects_file, report):
    """Says what was remarked, and writes the file of what is left out."""
    rows = [("rejected", *pair) for pair in remarks.rejects] + [("dropped", *pair) for pair in remarks.drops]
    rejects_file.unlink(missing_ok=True)
    if rows:
        with replace_file(rejects_file, newline="") as file:
            csv.writer(file).writerows([("kind", "what", "reason"), *rows])
    for note in remarks.notes[:20]:
        report(f"Note: {note}.")
    if len(remarks.notes) > 20:
        report(f"... and {len(remarks.notes) - 20} notes more.")
    for kind, what, reason in rows[:20]:
        report(f"{kind.capitalize()}: {what}: {reason}")
    if len(rows) > 20:
        report(f"... and {len(rows) - 20} more in {rejects_file}.")
