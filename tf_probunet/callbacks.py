"""What happens during `fit`: progress in words, validation, history, best weights, checkpoints."""

import contextlib
import csv
import math
import os
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tf_probunet.metrics import energy_distance
from tf_probunet.staging import replace_file


@contextlib.contextmanager
def averaged_weights(model):
    """Within the block the model has the moving average of its weights, where its optimizer keeps one."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # of a LossScaleOptimizer
    if not optimizer.use_ema:
        yield
        return
    raw = [variable.numpy() for variable in model.trainable_variables]
    try:
        optimizer.finalize_variable_values(model.trainable_variables)
        yield
    finally:
        for variable, value in zip(model.trainable_variables, raw, strict=True):
            variable.assign(value)


class StopOnNonFinite(keras.callbacks.Callback):
    """Stops with a clear error when the loss is NaN or infinite, before anything is overwritten."""

    def __init__(self, run):
        super().__init__()
        self.run = run

    def on_train_batch_end(self, batch, logs=None):
        # A running mean stays non-finite once one step was, so looking now and then is enough.
        if batch % 50 == 0:
            self._check(batch, logs)

    def on_epoch_end(self, epoch, logs=None):
        self._check("the last", logs)

    def _check(self, batch, logs):
        bad = [name for name, value in (logs or {}).items() if not math.isfinite(float(value))]
        if bad:
            raise FloatingPointError(
                f"Training stopped: {', '.join(bad)} is not finite near batch {batch} of this epoch. The best weights "
                f"so far are kept in {self.run}. Remedies: --log_sigma_clip 10, --clipnorm 1000, a lower "
                "--learning_rate, or more --warmup_steps."
            )


class LastStep(keras.callbacks.Callback):
    """Ends training at a step, within an epoch where the epochs do not divide the run.

    Args:
        total_steps: of the run.
        first_step: where this process starts.
    """

    def __init__(self, total_steps, first_step=0):
        super().__init__()
        self.total, self.step = total_steps, first_step

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        self.model.stop_training = self.step >= self.total


class Progress(keras.callbacks.Callback):
    """A line now and then: step, losses, seconds a step, time left.

    Args:
        total_steps: of the run.
        first_step: where this process starts.
        report: called with the line.
        interval: seconds between lines.
    """

    def __init__(self, total_steps, first_step, report=print, interval=20.0):
        super().__init__()
        self.total, self.first, self.step = total_steps, first_step, first_step
        self.report, self.interval = report, interval
        self._start = self._last = None

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        now = time.monotonic()
        if self._start is None:  # the first step holds the compilation
            self._start, self._last, self.first = now, now, self.step
            return
        if now - self._last < self.interval:
            return
        self._last = now
        seconds = (now - self._start) / (self.step - self.first)
        values = "  ".join(f"{name} {float(value):.4g}" for name, value in (logs or {}).items())
        left = (self.total - self.step) * seconds
        self.report(
            f"step {self.step}/{self.total} ({100 * self.step // self.total} %)  {values}  {seconds:.2f} s a step, "
            f"{_duration(left)} left"
        )


def _duration(seconds):
    hours, rest = divmod(int(seconds), 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"


class Validation(keras.callbacks.Callback):
    """Energy distance and the parts of the loss on a fixed set of validation images, with averaged weights.

    Adds `val_loss`, `val_cross_entropy`, `val_kl` (of models with a latent space), `val_energy_distance` and
    `val_sample_diversity` to the logs that later callbacks see.

    Args:
        dataset: batches as `tf_probunet.data.reading.evaluation_dataset` gives them; read once an epoch and again for
            the losses, so it had better be cached.
        num_samples: M.
        seed: of the samples; the same every epoch.
        classes: under test; None for the foreground.
    """

    def __init__(self, dataset, num_samples, seed, classes=None):
        super().__init__()
        self.dataset, self.num_samples, self.seed, self.classes = dataset, num_samples, seed, classes

    def on_epoch_end(self, epoch, logs):
        distances, diversities = [], []
        with averaged_weights(self.model):
            one_grader = self.dataset.enumerate().map(_one_grader)
            losses = self.model.evaluate(one_grader, return_dict=True, verbose=0)
            for index, batch in enumerate(self.dataset):
                logits = self.model.sample(batch["image"], self.num_samples, seed=(self.seed, index))
                result = energy_distance(
                    np.argmax(logits, axis=-1), batch["segmentations"].numpy(), self.model.num_classes,
                    classes=self.classes, ignore_label=self.model.ignore_label,
                    grader_weights=batch["grader_weights"].numpy(),
                )
                distances.append(result.energy_distance)
                diversities.append(result.sample_diversity)
        logs.update({f"val_{name}": float(value) for name, value in losses.items()})
        logs["val_energy_distance"] = float(np.mean(np.concatenate(distances)))
        logs["val_sample_diversity"] = float(np.mean(np.concatenate(diversities)))


def _one_grader(index, batch):
    """One grader an image stands for the training's random draw; never one that weighs 0, as padding does.

    Where graders weigh alike they take turns from image to image; modes of flips come up as often as they are
    probable: of n graders, image i gets the one at the quantile (i mod n + 1/2) / n.
    """
    weights = batch["grader_weights"]
    num_graders = tf.math.count_nonzero(weights, axis=1)
    size = tf.size(num_graders, out_type=tf.int64)
    quantile = tf.cast((index * size + tf.range(size)) % num_graders, tf.float32) + 0.5
    below = tf.cumsum(weights, axis=1) <= (quantile / tf.cast(num_graders, tf.float32))[:, None]
    grader = tf.math.count_nonzero(below, axis=1)
    return batch["image"], tf.gather(batch["segmentations"], grader, axis=1, batch_dims=1)


@contextlib.contextmanager
def without_optimizer(model):
    """Within the block a weights file holds the weights alone; Keras adds the optimizer's state, thrice their size."""
    optimizer, model.optimizer = model.optimizer, None
    try:
        yield
    finally:
        model.optimizer = optimizer


def save_weights(model, path):
    """Writes the weights beside `path` and renames them when whole."""
    path = Path(path)
    partial = path.with_name(f"partial-{path.name}")  # Keras wants the .weights.h5 ending
    try:
        with without_optimizer(model):
            model.save_weights(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


class BestWeights(keras.callbacks.Callback):
    """Saves the (averaged) weights whenever `val_energy_distance` is the lowest so far."""

    def __init__(self, path, best=None):
        super().__init__()
        self.path = Path(path)
        self.best = math.inf if best is None else best

    def on_epoch_end(self, epoch, logs):
        if not logs["val_energy_distance"] < self.best:  # NaN is no progress
            return
        self.best = logs["val_energy_distance"]
        with averaged_weights(self.model):
            save_weights(self.model, self.path)


def read_history(path) -> list[dict[str, float]]:
    """Rows of a `history.csv`, one an epoch."""
    with open(path, encoding="utf-8", newline="") as file:
        return [
            {name: int(value) if name in ("epoch", "step") else float(value) for name, value in row.items()}
            for row in csv.DictReader(file)
        ]


def write_history(path, rows):
    """Writes a `history.csv` anew; all rows have the columns of the last."""
    with replace_file(path, newline="") as file:
        writer = csv.DictWriter(file, fieldnames=rows[-1])
        writer.writeheader()
        writer.writerows(rows)


class History(keras.callbacks.Callback):
    """`history.csv`: one row an epoch, rewritten whole each time; rows past `first_epoch` are replayed ones."""

    def __init__(self, path, first_epoch=0):
        super().__init__()
        self.path = Path(path)
        self.rows = []
        if self.path.is_file():
            self.rows = [row for row in read_history(self.path) if row["epoch"] <= first_epoch]
        self._start = time.time()

    def best(self, name):
        """The lowest value of a column so far, or None."""
        return min((row[name] for row in self.rows), default=None)

    def on_epoch_end(self, epoch, logs):
        now = time.time()
        step = int(self.model.optimizer.iterations)
        rate = float(self.model.optimizer.learning_rate)
        self.rows.append({"epoch": epoch + 1, "step": step, "seconds": round(now - self._start, 1),
                          "learning_rate": rate, **{name: float(value) for name, value in logs.items()}})
        self._start = now
        write_history(self.path, self.rows)


class ReportEpoch(keras.callbacks.Callback):
    """Says after each epoch what validation found."""

    def __init__(self, report=print):
        super().__init__()
        self.report = report

    def on_epoch_end(self, epoch, logs):
        def losses(prefix):
            kl = f", KL {logs[f'{prefix}kl']:.3g}" if f"{prefix}kl" in logs else ""  # of models with a latent space
            return f"cross-entropy {logs[f'{prefix}cross_entropy']:.4g}{kl}"

        self.report(
            f"epoch {epoch + 1}: {losses('')}; validation {losses('val_')}, energy distance "
            f"{logs['val_energy_distance']:.4f}, sample diversity {logs['val_sample_diversity']:.3f}"
        )


class ProgressPlot(keras.callbacks.Callback):
    """Draws `progress.png` after each epoch, where matplotlib is installed."""

    def __init__(self, path, history):
        super().__init__()
        self.path, self.history = path, history

    def on_epoch_end(self, epoch, logs):
        from tf_probunet import plots

        if plots.is_available():
            plots.progress(self.history.rows, self.path)


class Checkpoints(keras.callbacks.Callback):
    """Saves model and optimizer after each epoch, for `--resume`."""

    def __init__(self, manager):
        super().__init__()
        self.manager = manager

    def on_epoch_end(self, epoch, logs=None):
        self.manager.save(checkpoint_number=epoch + 1)
