"""GECO: the Lagrange multiplier that holds a reconstruction term to its target (Rezende and Viola, "Taming VAEs")."""

import keras
import tensorflow as tf

LEAST, MOST = 1e-4, 1e4  # of the multiplier, so that neither term is ever switched off for good


class Geco(keras.layers.Layer):
    """Keeps the moving average of the constraint, and the multiplier that follows from it.

    The loss is `multiplier * (reconstruction - target) + KL` (algorithm 1 there; Kohl et al. 2019, section 3.3). While
    reconstructions are worse than the target the multiplier grows and the KL may rise; once they are better it falls
    and the KL is squeezed out. The constraint is measured in targets and cut at 1, so that `rate` means the same for
    every size of image: at most a factor of e in 1 / rate steps.

    Args:
        kappa: target in nats a pixel that counts.
        decay: of the moving average.
        rate: of the multiplier's logarithm, a step.
    """

    def __init__(self, kappa, decay=0.99, rate=0.01, **kwargs):
        super().__init__(**kwargs)
        if kappa <= 0:
            raise ValueError(f"geco_kappa is a target in nats a pixel, above 0, or none. Received: {kappa}.")
        self.kappa, self.decay, self.rate = kappa, decay, rate

    def build(self, input_shape=None):
        # Without aggregation: every replica is given the constraint of the whole batch.
        options = dict(shape=(), dtype="float32", trainable=False)
        self.log_multiplier = self.add_weight(name="log_multiplier", initializer="zeros", **options)
        self.average = self.add_weight(name="constraint", initializer="zeros", **options)
        self.started = self.add_weight(name="started", initializer="zeros", **options)

    @property
    def multiplier(self):
        """Weight of the reconstruction term at this step."""
        return tf.exp(tf.convert_to_tensor(self.log_multiplier))

    def loss(self, reconstruction, target, kl):
        """The Lagrangian, in nats.

        Args:
            reconstruction: cross-entropy of the pixels that count, a scalar.
            target: kappa times their number, a scalar.
            kl: a scalar.
        """
        return tf.cast(tf.stop_gradient(self.multiplier), kl.dtype) * (reconstruction - target) + kl

    def update(self, constraint):
        """After a step: `constraint` is (reconstruction - target) / target, a scalar."""
        constraint = tf.stop_gradient(tf.cast(constraint, tf.float32))
        started = tf.convert_to_tensor(self.started)
        average = tf.where(started > 0, self.decay * self.average + (1 - self.decay) * constraint, constraint)
        moved = self.log_multiplier + self.rate * tf.clip_by_value(average, -1.0, 1.0)
        self.average.assign(average)
        self.log_multiplier.assign(tf.clip_by_value(moved, tf.math.log(LEAST), tf.math.log(MOST)))
        self.started.assign(1.0)
