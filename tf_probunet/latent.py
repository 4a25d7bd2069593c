"""The axis-aligned Gaussian nets: prior P(z | X) and posterior Q(z | X, Y) of the paper (equations 1 and 3)."""

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tf_probunet.blocks import conv2d
from tf_probunet.unet import Encoder

SEGMENTATION_ENCODINGS = ("foreground", "one_hot", "one_hot_centered")


class AxisAlignedGaussian(keras.layers.Layer):
    """A U-Net encoder, global average pooling and a 1x1 convolution to the mean and log sigma of a Gaussian.

    Args:
        latent_dim: N, dimension of the latent space.
        channels, num_convs, initializer, weight_decay: of the encoder.
        log_sigma_clip: bound on |log sigma|, or None for the paper's plain exponential.

    Call arguments:
        inputs: [B, H, W, C].
    Returns:
        `(mean, stddev)`, each [B, N], float32 (or wider) under every dtype policy: a stddev that lost its bits to
        bfloat16 makes the KL noise.
    """

    def __init__(self, latent_dim, channels, *, num_convs=3, initializer="orthogonal", weight_decay=0.0,
                 log_sigma_clip=None, **kwargs):
        super().__init__(**kwargs)
        self.latent_dim = latent_dim
        self.log_sigma_clip = log_sigma_clip
        self.encoder = Encoder(channels, num_convs=num_convs, initializer=initializer, weight_decay=weight_decay,
                               dtype=self.dtype_policy, name="encoder")
        self.head = conv2d(2 * latent_dim, 1, initializer=initializer, weight_decay=weight_decay,
                           dtype=self.variable_dtype, name="mean_log_sigma")

    def build(self, input_shape):
        self.encoder.build(input_shape)
        self.head.build((None, 1, 1, self.encoder.channels[-1]))

    def call(self, inputs):
        hidden = tf.cast(self.encoder(inputs)[-1], self.variable_dtype)
        pooled = tf.reduce_mean(hidden, axis=(1, 2), keepdims=True)
        # [B, N] each. Not head[:, 0, 0]: a GPU of a device cannot drop dimensions in a slice.
        mean, log_sigma = (tf.squeeze(half, (1, 2)) for half in tf.split(self.head(pooled), 2, axis=-1))
        if self.log_sigma_clip is not None:
            log_sigma = tf.clip_by_value(log_sigma, -self.log_sigma_clip, self.log_sigma_clip)
        return mean, tf.exp(log_sigma)


def gaussian(mean, stddev):
    """The TFP distribution over latents with batch shape [B] and event shape [N]."""
    return tfp.distributions.MultivariateNormalDiag(loc=mean, scale_diag=stddev)


def encode_segmentation(segmentation, num_classes, encoding, ignore_label=255, dtype=tf.float32):
    """Class maps as the channels that the posterior net reads beside the image.

    Args:
        segmentation: [B, H, W] int; `ignore_label` where unlabelled.
        num_classes: K.
        encoding: "foreground": one-hot without the background channel (K - 1 channels; an ignored pixel reads as
            background), which gives the paper's parameter count; "one_hot": K channels, ignored pixels all 0;
            "one_hot_centered": one-hot minus 0.5, ignored pixels all -0.5 (released code).
    Returns:
        [B, H, W, K - 1 or K].
    """
    labels = tf.where(segmentation == ignore_label, -1, tf.cast(segmentation, tf.int32))
    one_hot = tf.one_hot(labels, num_classes, dtype=dtype)  # -1 gives all zeros
    if encoding == "foreground":
        return one_hot[..., 1:]
    return one_hot - 0.5 if encoding == "one_hot_centered" else one_hot


def num_segmentation_channels(num_classes, encoding):
    """Channels that `encode_segmentation` gives; raises `ValueError` for an unknown encoding."""
    if encoding not in SEGMENTATION_ENCODINGS:
        raise ValueError(
            f"Unknown segmentation_encoding {encoding!r}. Expected one of {', '.join(SEGMENTATION_ENCODINGS)}."
        )
    return num_classes - 1 if encoding == "foreground" else num_classes
