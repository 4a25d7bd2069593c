"""Where a comparison stands: its plan and settings on disk, and what each run still needs."""

import contextlib
import dataclasses
import json
import os
from pathlib import Path

from tf_probunet.comparison.entries import Plan, PlannedRun
from tf_probunet.comparison.plan import parse_plan
from tf_probunet.comparison.records import experiment_of, plain, read_facts
from tf_probunet.checksums import sha256_of
from tf_probunet.experiment import FILE_NAME, Experiment
from tf_probunet.precision import resolve_precision
from tf_probunet.run_folder import BEST_WEIGHTS, DATA_FACTS, LAST_WEIGHTS, changed_facts
from tf_probunet.staging import replace_file

PLAN = "plan.json"
DONE, ANEW = "done", "evaluate anew"  # of a run; see `needed`


@dataclasses.dataclass(frozen=True)
class Settings:
    """How every run of a comparison is evaluated; one for all.

    Args:
        split: of the dataset.
        limit: images, spread evenly; None for all.
        num_cases: images that are drawn, spread evenly.
        batch_size: images at once; with `seed` it decides the samples.
        seed: of samples and intervals.
    """

    split: str = "val"
    limit: int | None = None
    num_cases: int = 4
    batch_size: int = 16
    seed: int = 0


def is_finished(run: str | os.PathLike) -> bool:
    """Whether training came to its end: the last weights are written after the last step."""
    return (Path(run) / LAST_WEIGHTS).is_file() and (Path(run) / BEST_WEIGHTS).is_file()


def save_comparison(plan: Plan, settings: Settings, command: str, output: str | os.PathLike) -> None:
    """Writes plan, settings and the command that makes a comparison into its folder."""
    with replace_file(Path(output) / PLAN) as file:
        content = {"plan": plan.to_json(), "settings": dataclasses.asdict(settings), "command": command}
        json.dump(content, file, indent=1)
        file.write("\n")


def load_comparison(output: str | os.PathLike) -> tuple[Plan, Settings, str]:
    """Plan, settings and command of a comparison that was begun.

    Raises:
        OSError: the folder is no comparison.
        ValueError: its plan is damaged.
    """
    path = Path(output) / PLAN
    if not path.is_file():
        raise FileNotFoundError(
            f"Not a comparison: {output} has no {PLAN}. Begin one with probunet compare --plan NAME --data DIR "
            f"--output {output}."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return parse_plan(content["plan"], f"the plan in {path}"), Settings(**content["settings"]), content["command"]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is damaged or was edited ({error}). Run the comparison again with --plan.") from error


def with_one_precision(plan: Plan, records: str | os.PathLike, runs: str | os.PathLike) -> Plan:
    """The plan with its precision decided for all runs: by those that are there, or else by this machine.

    A comparison that goes on at a machine of another kind would otherwise compare models of different precisions. Where
    no run has begun yet, the plan that another process has just saved beside the records decides.

    Raises:
        ValueError: "auto" is asked for and what is there has several.
    """
    if plan.base.precision != "auto":
        return plan
    found = {}
    for run in plan.runs():
        facts = read_facts(Path(records) / run.name)
        if facts is not None:
            found[run.name] = experiment_of(facts).precision
        elif (Path(runs) / run.name / FILE_NAME).is_file():
            found[run.name] = Experiment.load(Path(runs) / run.name).precision
    if len(set(found.values())) > 1:
        raise ValueError(
            f"Runs that are there have different precisions: {', '.join(map(' '.join, found.items()))}. Remove records "
            "and run folders of one precision; the other is then that of all."
        )
    with contextlib.suppress(FileNotFoundError, ValueError):  # none, or a damaged one: it is written anew
        found.setdefault(PLAN, load_comparison(Path(records).parent)[0].base.precision)
    return plan.with_base(precision=resolve_precision(next(iter(found.values()), "auto")))


def needed(run: PlannedRun, data, record, folder, settings: Settings) -> str:
    """What is to be done for a run, in words: `DONE` where that is nothing, from `ANEW` on where the record is stale.

    Args:
        run: of the plan.
        data: `tf_probunet.data.dataset.DatasetInfo`.
        record, folder: where the run's record and its run folder are, or will be.
        settings: of the evaluation.
    Raises:
        ValueError: what is there was made by another plan or from other data, or is stale and its weights are gone.
    """
    facts, finished, started = read_facts(record), is_finished(folder), (folder / FILE_NAME).is_file()
    if started:
        check_plan(folder, Experiment.load(folder), run)
        _check_data(folder, json.loads((folder / DATA_FACTS).read_text(encoding="utf-8")), data, run)
    if facts is None:
        return "evaluate" if finished else "go on training, then evaluate" if started else "train, then evaluate"
    check_plan(record, experiment_of(facts), run)
    _check_data(record, facts["data"], data, run)
    reasons = stale(facts, run, settings)
    if finished and sha256_of(folder / BEST_WEIGHTS) != facts["weights_sha256"]:
        reasons.append(f"{folder / BEST_WEIGHTS} has changed")
    if reasons and not finished:
        raise ValueError(
            f"{record} was evaluated with other settings: {'; '.join(reasons)}; and its weights are not in {folder}. "
            "Give the settings that it was made with, bring the run folder back, or remove the record to train it anew."
        )
    return f"{ANEW}: {'; '.join(reasons)}" if reasons else DONE


def _check_data(path, found, data, run):
    changed = changed_facts(found, data.with_window(run.experiment.window))
    if changed:
        raise ValueError(
            f"{path} was made from another dataset than {data.folder}. It differs in {', '.join(changed)}. Give the "
            "dataset that it was made from, or choose another --output."
        )


def check_plan(path, experiment, run: PlannedRun) -> None:
    """Raises a `ValueError` that names the fields in which a run or record is not as the plan has it."""
    differences = experiment.differences(run.experiment)
    if differences:
        raise ValueError(
            f"{path} was made by another plan. It differs in {'; '.join(differences)}. Give the plan that it was made "
            "by, or choose another --output."
        )


def stale(facts, run: PlannedRun, settings: Settings) -> list[str]:
    """The settings of the evaluation in which a record's facts differ from those wanted, in words."""
    found = facts["evaluation"]
    return [f"{name} was {found.get(name)!r}, now {value!r}"
            for name, value in settings_of(run, settings).items() if found.get(name) != value]


def settings_of(run: PlannedRun, settings: Settings) -> dict:
    """How a run is evaluated, as its record tells it."""
    of_run = {"num_samples": run.num_samples, "crop_size": run.experiment.crop_size}
    return plain(dataclasses.asdict(settings) | of_run)
