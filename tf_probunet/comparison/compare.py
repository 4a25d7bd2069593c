"""Trains and evaluates whatever a comparison lacks, one run at a time, and goes on after any interruption.

Several processes of the same command share the runs: each takes the next that no other has in hand.

    OUTPUT/plan.json     the plan, resolved, and how runs are evaluated
    OUTPUT/runs/NAME     a run folder each, as `tf_probunet.training.train` makes it; may be removed once recorded
    OUTPUT/records/NAME  what `tf_probunet.comparison.records` keeps of it
    OUTPUT/README.md     the page, its figures beside it, all figures of its tables in comparison.json
"""

import contextlib
import dataclasses
import gc
import os
from pathlib import Path

import keras
import tensorflow as tf

from tf_probunet.alone import alone
from tf_probunet.callbacks import read_history
from tf_probunet.checksums import sha256_of
from tf_probunet.comparison.entries import Plan
from tf_probunet.comparison.pictures import draw_pictures, read_cases
from tf_probunet.comparison.records import (
    CASES,
    FORMAT,
    Record,
    machine_facts,
    plain,
    read_arrays,
    write_arrays,
    write_record,
)
from tf_probunet.comparison.state import (
    ANEW,
    DONE,
    Settings,
    is_finished,
    needed,
    save_comparison,
    settings_of,
    with_one_precision,
)
from tf_probunet.data.dataset import DatasetInfo
from tf_probunet.evaluation import evaluate
from tf_probunet.run_folder import BEST_WEIGHTS, IF_STARTED, load_run, share, training_in
from tf_probunet.suggest import unknown
from tf_probunet.training import train

RECORDS, RUNS = "records", "runs"


def compare(plan: Plan, data: DatasetInfo, output: str | os.PathLike, settings=Settings(), *, runs=None, only=(),
            command="", report=print, progress=lambda run: lambda done, total: None) -> None:
    """Brings a comparison to its end: trains, evaluates and records every run of the plan that lacks it.

    A run is done when its record is there and fits plan, data and settings; its weights may then be gone. What was
    begun goes on from its last epoch. Nothing is trained before all that is there has been found to fit. Runs that
    other processes have in hand are waited for, at the end, or gone on with where those were stopped.

    Args:
        plan: models to be compared.
        data: dataset with the splits "train", "val" and that of the settings.
        output: folder of the comparison; made if it is not there.
        settings: of the evaluation.
        runs: folder of the run folders; OUTPUT/runs if not given.
        only: names of entries or runs that may be trained and evaluated in this sitting; all if empty.
        command: that makes the comparison, for its page.
        report: called with lines of text for the user.
        progress: called with the name of a run to be evaluated; what it returns is called with (images done, in all).
    Raises:
        ValueError: a run or record that is there was made by another plan, from other data or with other settings and
            cannot be made anew; `only` names what is not in the plan.
        FloatingPointError: a loss became NaN or infinite; raised when all other runs are done.
    """
    output, runs = Path(output), Path(runs or Path(output) / RUNS)
    _check_names(plan, only)
    data.split(settings.split)  # or what is missing would be found out after the first training
    output.mkdir(parents=True, exist_ok=True)
    with _many_models():
        with alone(output):  # others that begin, or write the page, come before or after
            plan = with_one_precision(plan, output / RECORDS, runs)
            planned = plan.runs()
            chosen = [run for run in planned if not only or run.entry in only or run.name in only]
            actions = {}
            for run in planned:
                actions[run.name] = needed(run, data, output / RECORDS / run.name, runs / run.name, settings)
            left_out = [run.name for run in planned if run not in chosen and actions[run.name].startswith(ANEW)]
            if left_out:
                raise ValueError(
                    f"The record of {left_out[0]} is stale ({actions[left_out[0]]}), but --only leaves it out. Leave "
                    "out --only, or give the settings that it was made with."
                )
            _save_cases(plan, data, output / RECORDS / CASES, settings)
            save_comparison(plan, settings, command, output)
        failed = {}

        def attempt(run):
            record, folder = output / RECORDS / run.name, runs / run.name
            action = needed(run, data, record, folder, settings)  # others may have done it meanwhile
            report(f"Run {planned.index(run) + 1} of {len(planned)}: {run.name}: {action}.")
            try:
                if action != DONE:
                    _bring_to_its_end(run, data, record, folder, settings, report, progress(run.name))
            except BlockingIOError:
                report(f"{run.name}: another process has it in hand.")
                return False
            except FloatingPointError as error:  # the other runs' hours are not to be lost for it
                report(f"{run.name} failed: {error}")
                failed[run.name] = error
            return True

        share(chosen, attempt, lambda run: runs / run.name,
              lambda run: report(f"Waiting for {run.name}, which another process has in hand."))
        if failed:
            raise FloatingPointError(
                f"The training of {', '.join(failed)} failed; all else is done. First: {next(iter(failed.values()))} A "
                "remedy for one is a remedy for all models: --set FIELD=VALUE, into another --output."
            )


def _bring_to_its_end(run, data, record, folder, settings, report, progress):
    """Trains, evaluates and records a run; a `BlockingIOError` says that another process has it in hand."""
    if not is_finished(folder):
        _fresh()
        train(run.experiment, data, folder, resume=IF_STARTED, report=report)
    with training_in(folder):
        if needed(run, data, record, folder, settings) == DONE:
            return
        made = _evaluate(run, data, folder, settings, progress)
        write_record(record, made)
    value = made.evaluation.energy_distance[run.num_samples].mean()
    report(f"{run.name}: energy distance {value:.4f} at {run.num_samples} samples.")


def _check_names(plan, only):
    known = [entry.name for entry in plan.entries] + [run.name for run in plan.runs()]
    for name in only:
        if name not in known:
            raise ValueError(unknown("entry or run", name, known))


@contextlib.contextmanager
def _many_models():
    """Each run traces the functions of a model of its own once; TensorFlow takes that for one that is traced anew."""
    logger = tf.get_logger()

    def known(record):
        return "triggered tf.function retracing" not in record.getMessage()

    logger.addFilter(known)
    try:
        yield
    finally:
        logger.removeFilter(known)


def _evaluate(run, data, folder, settings, progress) -> Record:
    _fresh()
    sha256 = sha256_of(folder / BEST_WEIGHTS)
    experiment, model = load_run(folder)
    data = data.with_window(experiment.window)
    shared = dict(num_samples=run.num_samples, seed=settings.seed, crop_size=experiment.crop_size)
    evaluation = evaluate(model, data, settings.split, batch_size=settings.batch_size, limit=settings.limit,
                          progress=progress, **shared)
    pictures = draw_pictures(model, data, settings.split, num_cases=settings.num_cases, **shared)
    history = read_history(folder / "history.csv")
    best = min(history, key=lambda row: row["val_energy_distance"])
    facts = plain({
        "format": FORMAT,
        "run": run.name,
        "experiment": dataclasses.asdict(experiment),
        "data": data.facts(),
        "weights_sha256": sha256,
        "evaluation": settings_of(run, settings),
        "training": {
            "parameters": int(model.count_params()),
            "steps": history[-1]["step"],
            # Each member of an ensemble has a step of its own.
            "best_step": None if experiment.model == "unet_ensemble" else best["step"],
            "best_val_energy_distance": best["val_energy_distance"],
            "seconds": sum(row["seconds"] for row in history),
            "history": [{name: row[name] for name in ("step", "seconds", "val_energy_distance")} for row in history],
        },
        "machine": machine_facts(),
    })
    return Record(facts, evaluation, pictures)


def _fresh():
    """Forgets the models before: their functions and variables would fill the memory over a long comparison."""
    keras.utils.clear_session()
    gc.collect()


def _save_cases(plan, data, path, settings):
    crop_size = plan.base.crop_size
    wanted = read_cases(data.with_window(plan.base.window), settings.split, settings.num_cases, crop_size)
    if path.is_file():
        found = read_arrays(path)
        if all(name in found and found[name].shape == value.shape and (found[name] == value).all()
               for name, value in wanted.items()):
            return
    write_arrays(path, wanted)
