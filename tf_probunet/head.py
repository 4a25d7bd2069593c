"""From features to logits by 1x1 convolutions: f_comb without latents, for models whose U-Net says all there is."""

import keras
import tensorflow as tf

from tf_probunet.blocks import conv2d


class Head(keras.layers.Layer):
    """The 1x1 convolutions of `tf_probunet.combiner.Combiner`, ReLU between them, on the features alone.

    Args:
        num_classes: K.
        hidden_channels: filters of each hidden 1x1 convolution.
        initializer, weight_decay: see `tf_probunet.blocks.conv2d`; the logits layer is not decayed.

    Call arguments:
        features: [B, H, W, F].
    Returns:
        logits [B, H, W, K], float32 (or wider) under every dtype policy.

    Example:
        >>> import numpy as np
        >>> Head(num_classes=2)(np.zeros((1, 8, 8, 32), "float32")).shape
        TensorShape([1, 8, 8, 2])
    """

    def __init__(self, num_classes, hidden_channels=(32, 32), *, initializer="orthogonal", weight_decay=0.0, **kwargs):
        super().__init__(**kwargs)
        options = dict(kernel_size=1, initializer=initializer, dtype=self.dtype_policy)
        self.hidden = [
            conv2d(filters, weight_decay=weight_decay, activation="relu", name=f"conv_{index}", **options)
            for index, filters in enumerate(hidden_channels)
        ]
        self.logits = conv2d(num_classes, name="logits", **options)

    def build(self, features_shape):
        for conv in (*self.hidden, self.logits):
            conv.build(features_shape)
            features_shape = (*features_shape[:-1], conv.filters)

    def call(self, features):
        for conv in self.hidden:
            features = conv(features)
        return tf.cast(self.logits(features), self.variable_dtype)
