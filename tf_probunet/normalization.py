"""Normalization of activations, which the paper's networks lack and most later ones for segmentation have."""

import keras
import tensorflow as tf


class _Normalization(keras.layers.Layer):
    """What normalizations share: a scale and an offset for each channel, and statistics in float32 at least."""

    def __init__(self, epsilon, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape):
        options = dict(shape=(input_shape[-1],), autocast=False)
        self.scale = self.add_weight(initializer="ones", name="scale", **options)
        self.offset = self.add_weight(initializer="zeros", name="offset", **options)

    def call(self, inputs):
        if inputs.shape[1] == inputs.shape[2] == 1:
            raise ValueError(
                "Normalization needs more than one pixel. Received: images that the last downsampling leaves one pixel "
                "of. Choose a larger crop_size, fewer channels (one resolution each), or normalization none."
            )
        # Not twice rounded: a stored activation of bfloat16 is widened, and narrowed again once all is done.
        return tf.cast(self.normalize(tf.cast(inputs, self.variable_dtype)), self.compute_dtype)


class InstanceNormalization(_Normalization):
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

    keeps_constants = False

    def __init__(self, epsilon=1e-5, **kwargs):
        super().__init__(epsilon, **kwargs)

    def normalize(self, inputs):
        mean = tf.reduce_mean(inputs, axis=(1, 2), keepdims=True)
        variance = tf.reduce_mean(tf.math.squared_difference(inputs, mean), axis=(1, 2), keepdims=True)
        factor = tf.math.rsqrt(variance + self.epsilon) * self.scale
        return inputs * factor + (self.offset - mean * factor)


class FilterResponseNormalization(_Normalization):
    """Each channel of each image to mean square 1 over its pixels, then a scale and an offset to be learned.

    From Singh and Krishnan 2020 (arXiv 1911.09737). No mean is subtracted: what is the same at every pixel stays there,
    but for its size. Their thresholded linear unit is a ReLU here: the offset before and the next convolution's bias
    after it do the same but at the image's edge. An image's result does not depend on the others of its batch, and
    training and use do the same.

    Args:
        epsilon: added to the mean square.

    Call arguments:
        inputs: [B, H, W, C], of more than one pixel.
    Returns:
        [B, H, W, C] in the compute dtype; the mean square is float32 (or wider) under every dtype policy.
    Raises:
        ValueError: the images have one pixel, of which nothing but the sign would be left.

    Example:
        >>> values = FilterResponseNormalization()(tf.random.uniform((1, 8, 8, 2)))
        >>> round(float(tf.reduce_mean(tf.square(values[..., 0]))), 2)
        1.0
    """

    keeps_constants = True

    def __init__(self, epsilon=1e-3, **kwargs):
        super().__init__(epsilon, **kwargs)

    def normalize(self, inputs):
        mean_square = tf.reduce_mean(tf.square(inputs), axis=(1, 2), keepdims=True)
        return inputs * (tf.math.rsqrt(mean_square + self.epsilon) * self.scale) + self.offset


LAYERS = {"instance": InstanceNormalization, "filter_response": FilterResponseNormalization}


def where_constants_matter(normalization: str) -> str:
    """The normalization of a part that reads what is the same at every pixel: "none" if it would take that away."""
    layer = LAYERS.get(normalization)
    return "none" if layer is not None and not layer.keeps_constants else normalization
