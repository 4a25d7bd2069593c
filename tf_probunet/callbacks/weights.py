"""Weights as files, and which of them a run keeps: moving averages, the best so far."""

import contextlib
import math
import os
from pathlib import Path

import keras


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
