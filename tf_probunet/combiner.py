"""f_comb: from features and latents to logits by 1x1 convolutions (Kohl et al. 2018, equation 2).

The first 1x1 convolution reads concat(features, broadcast z). It is linear, so it splits in two:

    kernel^T concat(f, z) + bias  =  (kernel_f^T f + bias)  +  kernel_z^T z

The first half is computed once an image, the second is one [N] x [N, hidden] product a sample. Neither the broadcast
latents nor the concatenation is ever made.
"""

import keras
import tensorflow as tf

from tf_probunet.blocks import conv2d


class Combiner(keras.layers.Layer):
    """1x1 convolutions with ReLU between them, the first one split between features and latents.

    Args:
        num_classes: K.
        latent_dim: N.
        hidden_channels: filters of each hidden 1x1 convolution; two of 32 in the paper, three in the released code.
        initializer, weight_decay: see `tf_probunet.blocks.conv2d`; the logits layer is not decayed, as in the
            released code.

    Call arguments:
        features: [B, H, W, F].
        latents: [B, M, N].
    Returns:
        logits [B, M, H, W, K], float32 (or wider) under every dtype policy.

    Example:
        >>> import numpy as np
        >>> combiner = Combiner(num_classes=2, latent_dim=6)
        >>> combiner(np.zeros((1, 8, 8, 32), "float32"), np.zeros((1, 4, 6), "float32")).shape
        TensorShape([1, 4, 8, 8, 2])
    """

    def __init__(self, num_classes, latent_dim, hidden_channels=(32, 32), *, initializer="orthogonal",
                 weight_decay=0.0, **kwargs):
        super().__init__(**kwargs)
        if not hidden_channels:
            # An affine f_comb nests every sample in the next: z could only shift one threshold.
            raise ValueError("The combiner needs at least one hidden 1x1 convolution. Received: hidden_channels=().")
        self.num_classes = num_classes
        self.latent_dim = latent_dim
        options = dict(kernel_size=1, initializer=initializer, dtype=self.dtype_policy)
        self.hidden = [
            conv2d(filters, weight_decay=weight_decay, name=f"conv_{index}", **options)
            for index, filters in enumerate(hidden_channels)
        ]
        self.logits = conv2d(num_classes, name="logits", **options)

    def build(self, features_shape, latents_shape=None):
        num_channels = features_shape[-1] + self.latent_dim
        for conv in (*self.hidden, self.logits):
            conv.build((None, None, None, num_channels))
            num_channels = conv.filters

    def call(self, features, latents):
        return self.combine(self.project_features(features), latents)

    def project_features(self, features):
        """The features' half of the first convolution, bias included, once an image.

        Args:
            features: [B, H, W, F].
        Returns:
            projected features [B, H, W, hidden_channels[0]], before the ReLU.
        """
        features = tf.cast(features, self.compute_dtype)
        first = self.hidden[0]
        kernel = tf.cast(first.kernel[:, :, : -self.latent_dim], self.compute_dtype)
        return tf.nn.conv2d(features, kernel, strides=1, padding="SAME") + tf.cast(first.bias, self.compute_dtype)

    def combine(self, projected, latents):
        """Adds the latents' half and runs the rest, once a sample.

        Args:
            projected: [B, H, W, hidden_channels[0]] from `project_features`.
            latents: [B, M, N].
        Returns:
            logits [B, M, H, W, K].
        """
        projected, latents = (tf.cast(tensor, self.compute_dtype) for tensor in (projected, latents))
        kernel = tf.cast(self.hidden[0].kernel[0, 0, -self.latent_dim :], self.compute_dtype)  # [N, hidden]
        shift = tf.einsum("bmn,nc->bmc", latents, kernel)
        hidden = tf.nn.relu(projected[:, None] + shift[:, :, None, None])  # [B, M, H, W, hidden]
        shape = tf.shape(hidden)
        hidden = tf.reshape(hidden, tf.concat([[shape[0] * shape[1]], shape[2:]], axis=0))  # [B * M, H, W, hidden]
        hidden = tf.ensure_shape(hidden, [None, None, None, self.hidden[0].filters])
        for conv in self.hidden[1:]:
            hidden = tf.nn.relu(conv(hidden))
        logits = tf.cast(self.logits(hidden), self.variable_dtype)
        return tf.reshape(logits, tf.concat([shape[:4], [self.num_classes]], axis=0))
