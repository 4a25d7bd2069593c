"""What remains of a run in a comparison: a folder with its figures and pictures, from which pages are drawn.

    records/NAME/record.json      experiment, data, weights' sha256, settings of the evaluation, training, machine
    records/NAME/evaluation.npz   figures, an entry an image
    records/NAME/pictures.npz     samples of a few images and, for a model of two latents, its latent plane
    records/cases.npz             those few images with their graders, once for all

No weights and no dataset are needed to draw the page again, so records can be kept in a repository.
"""

import contextlib
import dataclasses
import json
import os
import platform
import shutil
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tf_probunet import __version__
from tf_probunet.evaluation import Evaluation
from tf_probunet.experiment import Experiment
from tf_probunet.staging import disk_errors, replace_file, stage_folder

FORMAT = "tf_probunet.comparison_record/1"
FACTS, EVALUATION, PICTURES, CASES = "record.json", "evaluation.npz", "pictures.npz", "cases.npz"


@dataclasses.dataclass(frozen=True)
class Record:
    """A run's facts, figures and pictures.

    Args:
        facts: what `record.json` holds: format, run, experiment, data, weights_sha256, evaluation, training, machine.
        evaluation: of the run's best weights.
        pictures: arrays as `tf_probunet.comparison.pictures` makes them.
    """

    facts: dict
    evaluation: Evaluation
    pictures: dict[str, np.ndarray]

    @property
    def experiment(self) -> Experiment:
        return experiment_of(self.facts)


def experiment_of(facts) -> Experiment:
    """The experiment that the facts of a record tell; fields that are newer than the record have their defaults."""
    return Experiment().replace(**facts["experiment"])


def plain(value):
    """As JSON gives it back: tuples as lists, keys as text.

    Example:
        >>> plain({1: (2, None)})
        {'1': [2, None]}
    """
    return json.loads(json.dumps(value))


def write_record(folder: str | os.PathLike, record: Record) -> None:
    """Writes a record, in place of the one that is there; it appears whole or not at all."""
    folder = Path(folder)
    with disk_errors(folder):
        if folder.exists():  # stale, or it would not be written anew
            shutil.rmtree(folder)
        staging = stage_folder(folder)
        try:
            record.evaluation.save(staging / EVALUATION)
            write_arrays(staging / PICTURES, record.pictures)
            with replace_file(staging / FACTS) as file:
                json.dump(record.facts, file, indent=1)
                file.write("\n")
            os.rename(staging, folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def read_facts(folder: str | os.PathLike) -> dict | None:
    """What `record.json` says, or None where there is no record.

    Raises:
        ValueError: the file is damaged or of another format.
    """
    path = Path(folder) / FACTS
    if not path.is_file():
        return None
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        found = facts.get("format") if isinstance(facts, dict) else None
        if found != FORMAT:
            raise ValueError(f"it has format {found!r}, expected {FORMAT!r}")
        experiment_of(facts)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"The record {path} cannot be used: {error}. Take it from a copy, or remove its folder and have the run "
            "evaluated anew."
        ) from error
    return facts


def read_record(folder: str | os.PathLike) -> Record:
    """Reads a whole record.

    Raises:
        OSError: a file is missing or damaged.
        ValueError: `record.json` is damaged or of another format.
    """
    folder = Path(folder)
    facts = read_facts(folder)
    if facts is None:
        raise FileNotFoundError(f"No record: {folder} has no {FACTS}.")
    with _explain_damage(folder / EVALUATION):
        evaluation = Evaluation.load(folder / EVALUATION)
    return Record(facts, evaluation, read_arrays(folder / PICTURES))


def write_arrays(path: str | os.PathLike, arrays: dict[str, np.ndarray]) -> None:
    """Writes arrays into one compressed file that appears whole or not at all."""
    with replace_file(path, "wb") as file:
        np.savez_compressed(file, **arrays)


def read_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads what `write_arrays` wrote; an `OSError` says what to do where that fails."""
    with _explain_damage(path), np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


@contextlib.contextmanager
def _explain_damage(path):
    try:
        yield
    except Exception as error:  # zipfile, zlib and numpy raise a dozen kinds on damaged files
        raise OSError(
            f"{path} is missing or damaged ({error}). Take it from a copy, or remove it and run the comparison again "
            "where weights and data are."
        ) from error


def machine_facts() -> dict:
    """What figures of time depend on, and versions."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpus": len(tf.config.list_physical_devices("GPU")),
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "tf_probunet": __version__,
    }


def _processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
        return names[0]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()
