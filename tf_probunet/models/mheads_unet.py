"""M-Heads (Rupprecht et al. 2017, Ilg et al. 2018), a baseline of the paper: one U-Net, M answers, the best learns."""

import keras
import tensorflow as tf

from tf_probunet.head import Head
from tf_probunet.losses import masked_cross_entropy
from tf_probunet.models.hypotheses import choose, mean_logits
from tf_probunet.models.learner import weighted_mean
from tf_probunet.models.segmenter import Segmenter
from tf_probunet.unet import UNet


@keras.saving.register_keras_serializable(package="tf_probunet")
class MHeadsUNet(Segmenter):
    """A U-Net with several heads of 1x1 convolutions, of which each image trains mostly its best.

    Samples are heads, in an order drawn from the seed; more samples than heads repeat them. `model(images)` is the mean
    of their probabilities.

    Args:
        num_heads: M; the paper trains one model for each number of samples.
        head_epsilon: weight that all heads but the best share.
        **kwargs: arguments of every `tf_probunet.models.Segmenter`; each head has `combiner_channels` of its own.

    Example:
        >>> import numpy as np
        >>> model = MHeadsUNet(num_classes=2, channels=(8, 16), num_heads=4)
        >>> model.sample(np.zeros((2, 32, 32, 1), "float32"), num_samples=4).shape
        TensorShape([2, 4, 32, 32, 2])
    """

    def __init__(self, *, num_heads=16, head_epsilon=0.05, **kwargs):
        super().__init__(**kwargs)
        if num_heads < 1:
            raise ValueError(f"num_heads must be at least 1. Received: {num_heads}.")
        if not 0 <= head_epsilon < 1:
            raise ValueError(f"head_epsilon must be at least 0 and below 1. Received: {head_epsilon}.")
        self.num_heads = num_heads
        self.head_epsilon = head_epsilon
        options = self.part_options
        self.unet = UNet(name="unet", **self.unet_options)
        self.heads = [
            Head(self.num_classes, self.combiner_channels, name=f"head_{index}", **options)
            for index in range(num_heads)
        ]

    @property
    def num_hypotheses(self):
        return self.num_heads

    def build(self, input_shape=None):
        if self.built:
            return
        self.unet.build((None, None, None, self.image_channels))
        for head in self.heads:
            head.build((None, None, None, self.channels[0]))
        self.built = True

    def get_config(self):
        return {**super().get_config(), "num_heads": self.num_heads, "head_epsilon": self.head_epsilon}

    def call(self, images):
        """Logits [B, H, W, K] of the mean of all heads' probabilities."""
        return mean_logits(self.hypotheses(self.check_images(images)))

    def sample(self, images, num_samples=16, seed=(0, 0)):
        """Heads in an order drawn from the seed.

        Args:
            images: [B, H, W, C] float32; H and W multiples of `size_multiple`.
            num_samples: M; no head comes twice before all were there.
            seed: two integers (or one); the same seed gives the same samples.
        Returns:
            logits [B, M, H, W, K].
        """
        heads = choose(self.num_heads, num_samples, self.check_seed(seed))
        return tf.gather(self._hypotheses(self.ready(images)), heads, axis=1)

    def hypotheses(self, images):
        """Logits [B, num_heads, H, W, K] of every head."""
        return tf.stack(self._logits(images), axis=1)

    def _logits(self, images):
        """A list of each head's [B, H, W, K]."""
        self.build()
        features = self.unet(self.standardize(images))
        return [head(features) for head in self.heads]

    def objective(self, images, segmentations, noise=None, sample_weight=None, step=None):
        """Each image's cross-entropies, its best head's weighing 1 - epsilon and the others' epsilon together."""
        cross_entropies = tf.stack([
            masked_cross_entropy(segmentations, logits, **self.cross_entropy_options(step))
            for logits in self._logits(images)  # a tensor of them all would be many times the U-Net's activations
        ], axis=1)  # [B, heads]
        cross_entropy = weighted_mean(tf.reduce_sum(self.head_weights(cross_entropies) * cross_entropies, axis=1),
                                      sample_weight)
        return {"loss": cross_entropy + sum(self.losses), "cross_entropy": cross_entropy}

    def head_weights(self, cross_entropies):
        """What each head weighs in the loss of each image, [B, heads]; the first of equally good heads is the best."""
        if self.num_heads == 1:
            return tf.ones_like(cross_entropies)
        best = tf.one_hot(tf.argmin(cross_entropies, axis=1), self.num_heads, dtype=cross_entropies.dtype)
        rest = self.head_epsilon / (self.num_heads - 1)
        return rest + (1 - self.head_epsilon - rest) * best

    @tf.function(reduce_retracing=True)
    def _hypotheses(self, images):
        return self.hypotheses(images)
