"""The plain U-Net: one answer to every image. The core of the baselines, and the yardstick of what diversity adds."""

import keras
import tensorflow as tf

from tf_probunet.head import Head
from tf_probunet.losses import masked_cross_entropy
from tf_probunet.models.learner import weighted_mean
from tf_probunet.models.segmenter import Segmenter
from tf_probunet.unet import UNet


@keras.saving.register_keras_serializable(package="tf_probunet")
class DeterministicUNet(Segmenter):
    """The U-Net of the Probabilistic U-Net, then the 1x1 convolutions of f_comb without latents.

    Args:
        **kwargs: arguments of every `tf_probunet.models.Segmenter`.

    Example:
        >>> import numpy as np
        >>> model = DeterministicUNet(num_classes=2, channels=(8, 16))
        >>> samples = model.sample(np.zeros((2, 32, 32, 1), "float32"), num_samples=4)
        >>> samples.shape, bool(np.all(samples[:, 0] == samples[:, 3]))
        (TensorShape([2, 4, 32, 32, 2]), True)
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        options = self.part_options
        self.unet = UNet(name="unet", **self.unet_options)
        self.head = Head(self.num_classes, self.combiner_channels, name="head", **options)

    def build(self, input_shape=None):
        if self.built:
            return
        self.unet.build((None, None, None, self.image_channels))
        self.head.build((None, None, None, self.channels[0]))
        self.built = True

    def call(self, images):
        """Logits [B, H, W, K]."""
        return self.logits(self.check_images(images))

    def sample(self, images, num_samples=16, seed=(0, 0)):
        """The one answer, `num_samples` times: logits [B, M, H, W, K]."""
        self.check_seed(seed)
        logits = self._logits(self.ready(images))
        return tf.repeat(logits[:, None], num_samples, axis=1)

    def logits(self, images, before_block=None):
        """Logits [B, H, W, K]; `before_block` as `tf_probunet.unet.UNet` takes it."""
        self.build()
        return self.head(self.unet(self.standardize(images), before_block=before_block))

    def objective(self, images, segmentations, noise=None, sample_weight=None, step=None):
        """Cross-entropy summed over labelled pixels, mean over the batch, plus weight decay."""
        logits = self.logits(images, self.before_block(noise))
        cross_entropies = masked_cross_entropy(segmentations, logits, **self.cross_entropy_options(step))
        cross_entropy = weighted_mean(cross_entropies, sample_weight)
        return {"loss": cross_entropy + sum(self.losses), "cross_entropy": cross_entropy}

    def before_block(self, noise):
        """What happens to the input of each block in training, if anything does."""
        return None

    @tf.function(reduce_retracing=True)
    def _logits(self, images):
        return self.logits(images)
