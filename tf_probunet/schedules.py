"""The learning rate over a run, as a Keras schedule that a saved model carries with it."""

import math

import keras
import tensorflow as tf

from tf_probunet.experiment import SCHEDULES


@keras.saving.register_keras_serializable(package="tf_probunet")
class WarmUpSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to the base rate, then a cosine to zero or piecewise constant rates.

    Args:
        learning_rate: base rate.
        schedule: "piecewise" or "cosine".
        steps: of the run; the cosine is zero there.
        boundaries: steps from which on the rate is the `values` entry of the same place ("piecewise").
        values: see `boundaries`.
        warmup_steps: steps over which the rate rises to what the schedule says; 0 for none.

    Example:
        >>> rate = WarmUpSchedule(1.0, boundaries=(10,), values=(0.5,), warmup_steps=4)
        >>> [float(rate(step)) for step in (0, 3, 9, 10)]
        [0.25, 1.0, 1.0, 0.5]
    """

    def __init__(self, learning_rate, schedule="piecewise", steps=1, boundaries=(), values=(), warmup_steps=0):
        if schedule not in SCHEDULES:
            raise ValueError(f"Unknown schedule {schedule!r}. Expected one of {', '.join(SCHEDULES)}.")
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.steps = steps
        self.boundaries = tuple(boundaries)
        self.values = tuple(values)
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        if self.schedule == "cosine":
            rate = self.learning_rate * 0.5 * (1 + tf.cos(math.pi * tf.minimum(step / self.steps, 1.0)))
        else:
            rate = tf.constant(self.learning_rate)
            for boundary, value in zip(self.boundaries, self.values, strict=True):
                rate = tf.where(step < boundary, rate, value)
        return rate * tf.minimum((step + 1) / max(1, self.warmup_steps), 1.0)

    def get_config(self):
        return {
            "learning_rate": self.learning_rate,
            "schedule": self.schedule,
            "steps": self.steps,
            "boundaries": self.boundaries,
            "values": self.values,
            "warmup_steps": self.warmup_steps,
        }
