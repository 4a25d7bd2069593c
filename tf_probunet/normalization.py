"""Instance normalization, which the paper's networks lack and most later ones for segmentation have."""

import keras
import tensorflow as tf


class InstanceNormalization(keras.layers.Layer):
    """Each channel of each image to mean 0 and variance 1 over its pixels, then a scale and an offset to be learned.

    From Ulyanov et al. 2016 (arXiv 1607.08022). It is `keras.layers.GroupNormalization(groups=-1)` without its tensors
    of five dimensions, which GPUs of devices do not take. An image's result does not depend on the others of its batch,
    and training and use do the same.

    Args:
        epsilon: added to the variance.

    Call arguments:
        inputs: [B, H, W, C], of more than one pixel.
    Returns:
        [B, H, W, C] in the compute dtype; the statistics are float32 (or wider) under every dtype policy.
    Raises:
        ValueError: the images have one pixel, which would come out 0 whatever it was.

    Example:
        >>> round(float(tf.reduce_mean(InstanceNormalization()(tf.random.uniform((1, 8, 8, 2)))[..., 0])), 3) + 0.0
        0.0
    """

    def __init__(self, epsilon=1e-5, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="scale")
        self.offset = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="offset")

    def call(self, inputs):
        if inputs.shape[1] == inputs.shape[2] == 1:
            raise ValueError(
                "Instance normalization needs more than one pixel. Received: images that the last downsampling leaves "
                "one pixel of. Choose a larger crop_size, fewer channels (one resolution each), or normalization none."
            )
        # Not twice rounded: a stored activation of bfloat16 is widened, and narrowed again once all is done.
        inputs = tf.cast(inputs, self.variable_dtype)
        mean = tf.reduce_mean(inputs, axis=(1, 2), keepdims=True)
        variance = tf.reduce_mean(tf.math.squared_difference(inputs, mean), axis=(1, 2), keepdims=True)
        factor = tf.math.rsqrt(variance + self.epsilon) * self.scale
        return tf.cast(inputs * factor + (self.offset - mean * factor), self.compute_dtype)
