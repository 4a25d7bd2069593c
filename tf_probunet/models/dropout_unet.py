"""The Dropout U-Net (after Kendall et al. 2015), a baseline of the paper: dropout in training and when sampling."""

import keras
import tensorflow as tf

from tf_probunet.models.deterministic_unet import DeterministicUNet

NUM_INNERMOST = 3  # encoder blocks, and as many decoder blocks


@keras.saving.register_keras_serializable(package="tf_probunet")
class DropoutUNet(DeterministicUNet):
    """A plain U-Net with dropout on what the three innermost encoder and decoder blocks read.

    Each sample has masks of its own, which follow from its seed; in training they follow from (seed, step).
    `model(images)` and validation losses are without dropout. A U-Net of three resolutions or fewer has it in all its
    decoder blocks and in all encoder blocks but the outermost, which reads the image itself.

    Args:
        dropout_rate: share of the activations that are dropped.
        **kwargs: arguments of every `tf_probunet.models.Segmenter`; `channels` of two resolutions at least.

    Example:
        >>> import numpy as np
        >>> model = DropoutUNet(num_classes=2, channels=(8, 16))
        >>> samples = model.sample(np.ones((2, 32, 32, 1), "float32"), num_samples=4)
        >>> samples.shape, bool(np.all(samples[:, 0] == samples[:, 3]))
        (TensorShape([2, 4, 32, 32, 2]), False)
    """

    def __init__(self, *, dropout_rate=0.5, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= dropout_rate < 1:
            raise ValueError(f"dropout_rate must be at least 0 and below 1. Received: {dropout_rate}.")
        num_resolutions = len(self.channels)
        if num_resolutions < 2:
            raise ValueError(
                "Dropout is for the inner blocks of a U-Net: channels needs at least two resolutions. Received: "
                f"{self.channels}."
            )
        self.dropout_rate = dropout_rate
        # Places count the blocks in the order of computation, so the innermost ones are neighbours.
        first = max(1, num_resolutions - NUM_INNERMOST)
        self.dropout_places = range(first, num_resolutions + min(NUM_INNERMOST, num_resolutions - 1))

    def get_config(self):
        return {**super().get_config(), "dropout_rate": self.dropout_rate}

    def sample(self, images, num_samples=16, seed=(0, 0)):
        """Draws segmentations, each with its own masks.

        Args:
            images: [B, H, W, C] float32; H and W multiples of `size_multiple`.
            num_samples: M.
            seed: two integers (or one); the same seed gives the same samples.
        Returns:
            logits [B, M, H, W, K].
        """
        return self._sample(self.ready(images), tf.convert_to_tensor(num_samples), self.check_seed(seed))

    def training_noise(self, images, step, rows=None):
        """The seed of the masks of one step, [2], and the rows whose masks are wanted; None in validation."""
        return None if step is None else (tf.stack([self.seed, step]), rows)

    def before_block(self, noise):
        """`noise`: as `training_noise` gives it, or a seed alone."""
        if noise is None or not self.dropout_rate:
            return None
        seed, rows = noise if isinstance(noise, tuple) else (noise, None)

        def dropped(activations, place):
            if place not in self.dropout_places:
                return activations
            shape, place_seed = tf.shape(activations), tf.random.fold_in(seed, place)
            if rows is None:
                uniform = tf.random.stateless_uniform(shape, place_seed)
            else:  # drawn for the whole batch: the same on one replica as on several, in one part as in many
                whole = tf.random.stateless_uniform(tf.concat([[rows.total], shape[1:]], 0), place_seed)
                uniform = whole[rows.first : rows.first + rows.count]
            keep = uniform >= self.dropout_rate
            return tf.where(keep, activations / (1 - self.dropout_rate), tf.zeros((), activations.dtype))

        return dropped

    @tf.function(reduce_retracing=True)
    def _sample(self, images, num_samples, seed):
        def one(index):
            return self.logits(images, self.before_block(tf.random.fold_in(seed, index)))

        # One sample after the other: M U-Nets at once would need M times the memory.
        logits = tf.map_fn(one, tf.range(num_samples), fn_output_signature=tf.as_dtype(self.variable_dtype),
                           parallel_iterations=1)
        return tf.transpose(logits, [1, 0, 2, 3, 4])
