"""Kills a training at random moments, again and again, and compares what comes out with a run that was left alone.

    python benchmarks/killed_training.py --kills 20 --output benchmarks/results/killed_training.json

The run is short and small, but has everything: full augmentation, elastic deformation and flips of contrast included,
moving average, clipping, validation, checkpoints. Both runs are `probunet train` as a user starts it. Equal means every
weight of the last and of the best weights, to the bit, and every figure of `history.csv` but the seconds.
"""

import csv
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
from absl import app, flags
from report import report

flags.DEFINE_integer("kills", 20, "how often the run is killed")
flags.DEFINE_integer("seed", 0, "of the moments")
flags.DEFINE_string("output", None, "JSON file for the figures")
FLAGS = flags.FLAGS

FIELDS = {
    "preset": "demo", "channels": "4,8", "num_convs": "1", "latent_dim": "2", "combiner_channels": "6",
    "crop_size": "16,16", "batch_size": "4", "steps_per_epoch": "2", "shear": "0.1", "elastic": "2",
    "elastic_sigma": "6", "gamma": "0.7,1.4", "gamma_probability": "0.5", "clipnorm": "1000", "ema_momentum": "0.9",
    "validation_images": "4", "validation_samples": "3",
}


def start(data, run, steps, resume):
    """`probunet train` as a process of its own, its lines to be read."""
    command = [str(Path(sys.executable).parent / "probunet"), "train", "--data", str(data), "--run", str(run)]
    command += [part for name, value in {**FIELDS, "steps": str(steps)}.items() for part in (f"--{name}", value)]
    return subprocess.Popen(command + ["--resume"] * resume, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True, env={**os.environ, "PYTHONUNBUFFERED": "1", "TF_CPP_MIN_LOG_LEVEL": "3"})


def finish(process):
    """Waits for the end of a run that is left alone."""
    text = process.communicate()[0]
    if process.returncode:
        raise RuntimeError(f"The training ended with exit code {process.returncode}:\n{text[-3000:]}")


def kill_at_random(process, moments, first):
    """Kills a run from its first word on, in or after any of its first epochs; whether it was still there to kill.

    The first time it is killed as soon as an epoch is over, so that it cannot have come through.
    """
    wait, epochs = (0, 1) if first else (moments.uniform(0, 0.8), moments.choice([0, 0, 1, 1, 2, 3]))
    for line in process.stdout:
        if " parameters, " in line and epochs == 0:  # about to begin
            wait *= 4  # the first step is compiled then
            break
        if line.startswith("epoch "):
            epochs -= 1
            if epochs == 0:
                break
    time.sleep(wait)
    process.send_signal(signal.SIGKILL)
    process.stdout.close()
    return process.wait() == -signal.SIGKILL


def train_through_kills(data, run, steps, kills, seed):
    """Starts a run as often as it is killed and once more; (kills, epochs that were there at each kill)."""
    moments, seen = random.Random(seed), []
    while len(seen) < kills:
        if kill_at_random(start(data, run, steps, resume=(run / "experiment.json").is_file()), moments, not seen):
            seen.append(len(history(run)) if (run / "history.csv").is_file() else 0)
        elif (run / "last.weights.h5").is_file():
            break  # it came through before the moment
    finish(start(data, run, steps, resume=(run / "experiment.json").is_file()))
    return seen


def history(run):
    """Rows of `history.csv` as text, without what the clock decides."""
    with open(run / "history.csv", encoding="utf-8", newline="") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def weights(path):
    """All arrays of a weights file by name."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def differences(run, other):
    """What is not the same in two finished runs, in words."""
    found = []
    for name in ("last.weights.h5", "best.weights.h5"):
        ours, theirs = weights(run / name), weights(other / name)
        if set(ours) != set(theirs):
            found.append(f"{name} holds other arrays")
        found += [f"{name}: {key}" for key in ours if key in theirs and not np.array_equal(ours[key], theirs[key])]
    if history(run) != history(other):
        found.append("history.csv")
    return found


def main(_):
    from tf_probunet.data.phantom import prepare_phantom

    steps = 16 * FLAGS.kills
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "phantom"
        prepare_phantom(data, num_train=24, num_val=8)
        finish(start(data, Path(folder) / "unbroken", steps, resume=False))
        seen = train_through_kills(data, Path(folder) / "killed", steps, FLAGS.kills, FLAGS.seed)
        report({"kills": len(seen), "steps": steps, "epochs_there_at_each_kill": seen, "seed": FLAGS.seed,
                "differences": differences(Path(folder) / "killed", Path(folder) / "unbroken")}, FLAGS.output)


if __name__ == "__main__":
    app.run(main)
