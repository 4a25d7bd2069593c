"""What tests of training share: a small experiment, and what is compared of two of its runs (fixture `unbroken`)."""

import csv

import numpy as np

from tf_probunet.experiment import Experiment
from tf_probunet.run_folder import LAST_WEIGHTS, load_run

TINY = Experiment(
    name="tiny", channels=(4, 8), num_convs=1, latent_dim=2, combiner_channels=(6,), initializer="he_normal",
    crop_size=(16, 16), batch_size=4, mirror=True, rotation=90.0, steps=6, steps_per_epoch=2, learning_rate=3e-3,
    schedule="cosine", warmup_steps=2, clipnorm=1000.0, ema_momentum=0.5, validation_images=6, validation_samples=3,
    precision="float32",
)


def quiet(_):
    pass


def weights_of(run, name=LAST_WEIGHTS):
    _, model = load_run(run, name)
    return [weight.numpy() for weight in model.weights]


def assert_same_weights(found, expected):
    for weight, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(weight, other)


def history_of(run):
    """Rows of history.csv, as text, without the seconds that each epoch took."""
    with open(run / "history.csv", newline="") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]
