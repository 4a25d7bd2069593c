"""A run folder: how it begins, what must not change when a run goes on, and the model that it holds."""

import contextlib
import dataclasses
import json
import os
import zlib
from pathlib import Path

from tf_probunet.alone import LOCK_FILE, alone
from tf_probunet.build import build_model
from tf_probunet.data.dataset import DatasetInfo
from tf_probunet.experiment import FILE_NAME, Experiment
from tf_probunet.models import Segmenter
from tf_probunet.precision import resolve_precision
from tf_probunet.staging import replace_file

BEST_WEIGHTS = "best.weights.h5"
LAST_WEIGHTS = "last.weights.h5"
CHECKPOINTS = "checkpoints"
DATA_FACTS = "data.json"
RETRIES = "retries.json"
IF_STARTED = "if_started"  # resume where there is something to resume, else start


def settled(experiment: Experiment, run: Path) -> Experiment:
    """The experiment with its precision decided: by the run that is there, or else by this machine."""
    if experiment.precision != "auto":
        return experiment
    started = (run / FILE_NAME).is_file()
    return experiment.replace(precision=Experiment.load(run).precision if started else
                              resolve_precision(experiment.precision))


@contextlib.contextmanager
def training_in(run: Path, *, wait=False):
    """Holds a run folder, made if it is not there: two processes that train in one would spoil it.

    Args:
        wait: for the process that trains there; else its being there is an error.
    Raises:
        BlockingIOError: another process trains there.
    """
    made = not run.exists()
    run.mkdir(parents=True, exist_ok=True)
    busy = f"Another process is training in {run}. Wait for it, or stop it first, or choose another --run"
    try:
        with alone(run, None if wait else busy):
            yield
    finally:
        if made:
            with contextlib.suppress(OSError):  # it holds a run
                run.rmdir()  # what was refused leaves no folder


def share(items, attempt, folder, waiting):
    """Brings items to their end that other processes may have in hand, each a run folder.

    Those are passed over, tried again once the others are done, and at last waited for: then they are whole, or were
    stopped and are to be gone on with.

    Args:
        items: in the order in which they are attempted.
        attempt: a function of an item; False if another process has it in hand.
        folder: a function of an item, its run folder.
        waiting: called with the item that is waited for.
    """
    missing = list(items)
    while missing:
        taken = [item for item in missing if not attempt(item)]
        if taken == missing:
            waiting(taken[0])
            with training_in(folder(taken[0]), wait=True):
                pass
        missing = taken


def open_run(experiment, data, run, resume) -> bool:
    """Makes the run folder, or checks the one that is there to be resumed; whether it was resumed."""
    started = (run / FILE_NAME).is_file()
    if resume == IF_STARTED:
        resume = started
    if resume and not started:
        raise FileNotFoundError(f"Nothing to resume: {run} has no {FILE_NAME}. Start without --resume.")
    if resume:
        before = Experiment.load(run)
        # More retries may be granted to a run that has used up its own.
        differences = before.replace(nonfinite_retries=experiment.nonfinite_retries).differences(experiment)
        if differences:
            raise ValueError(f"{run} was started with another experiment. It differs in {'; '.join(differences)}.")
        _check_same_data(data, run)
        if before != experiment:
            experiment.save(run)
    elif started or run.exists() and not all(_of_a_beginning(path.name) for path in run.iterdir()):
        raise FileExistsError(f"{run} already exists. Use --resume to go on with it, or choose another --run.")
    else:
        run.mkdir(parents=True, exist_ok=True)
        with replace_file(run / DATA_FACTS) as file:
            json.dump(data.facts(), file, indent=1)
        experiment.save(run)  # last: a run exists once this file does
    return bool(resume)


def _of_a_beginning(name):
    """Whether a file in a run folder is of a run that was killed as it began, before its experiment was saved."""
    return name in (DATA_FACTS, LOCK_FILE) or ".partial-" in name


def fingerprint(experiment, data, run) -> int:
    """A number that is the same where experiment, data and run folder are: of several processes all must agree."""
    facts = [dataclasses.asdict(experiment), data.facts(), (run / FILE_NAME).is_file()]
    return zlib.crc32(json.dumps(facts, sort_keys=True).encode())


def changed_facts(before: dict, data: DatasetInfo) -> list[str]:
    """The facts in which a dataset differs from that of a run or record, of which older ones know nothing of content."""
    now = json.loads(json.dumps(data.facts()))  # tuples to lists, as in the file
    before = {"content_sha256": now["content_sha256"], **before}
    return [name for name in {**before, **now} if now.get(name) != before.get(name)]


def _check_same_data(data, run):
    changed = changed_facts(json.loads((run / DATA_FACTS).read_text(encoding="utf-8")), data)
    if changed:
        raise ValueError(
            f"{run} was started with another dataset than {data.folder}. It differs in {', '.join(changed)}. Give the "
            "dataset that it was started with, or start a new run."
        )


def noted_retries(run):
    """What was noted each time that a run went back to a checkpoint because of a loss that was not finite."""
    path = run / RETRIES
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def note_retry(experiment, run, retries, error, write=True):
    """`retries` and one more, written for a resumed run to do the same; raises `error` where there were enough."""
    if len(retries) >= experiment.nonfinite_retries:
        raise error
    retries = [*retries, {"term": error.term, "step": error.step}]
    if write:
        with replace_file(run / RETRIES) as file:
            json.dump(retries, file, indent=1)
    return retries


def load_run(run: str | os.PathLike, weights=BEST_WEIGHTS, precision=None) -> tuple[Experiment, Segmenter]:
    """The experiment of a run and its model with the best weights so far.

    Args:
        run: folder that `train` made.
        weights: name of the weights file in it.
        precision: of the model; the experiment's if not given.
    Raises:
        OSError: no such run, or it has no weights yet.
    """
    run = Path(run)
    experiment = Experiment.load(run)
    path = run / weights
    if not path.is_file():
        raise FileNotFoundError(f"{run} has no {weights} yet: no epoch was finished, or not every member. Let the "
                                "training go on: --resume.")
    model = build_model(experiment.replace(precision=precision or experiment.precision))
    model.load_weights(path)
    return experiment, model
