"""Convolution blocks and the two resampling steps that the encoders and the decoder are made of."""

import math

import keras
import tensorflow as tf

from tf_probunet.experiment import NORMALIZATIONS
from tf_probunet.normalization import LAYERS

UPSAMPLINGS = ("bilinear", "bilinear_aligned")
INITIALIZERS = ("orthogonal", "he_normal")
POOLED = 16  # pixels a side of the window in which gradients of biases are summed first


@tf.custom_gradient
def bias_add(values, bias):
    """values [B, H, W, C] + bias [C], the bias's gradient a plain float32 sum.

    oneDNN computes `BiasAddGrad` inside the kernel's gradient, in an order that differs between two compilations of
    the same function: equal runs would differ in their last bits, which Adam enlarges.
    """

    def gradient(upstream):
        return upstream, tf.cast(_sum_over_pixels(upstream), bias.dtype)

    return tf.nn.bias_add(values, bias), gradient


def _sum_over_pixels(values):
    """[B, H, W, C] to [C], float32.

    Of bfloat16, a cast would write twice the bytes to read them again, and the sum is all about bytes: oneDNN's pooling
    reads them as they are, adds in float32 and leaves few.
    """
    window = math.gcd(values.shape[1] or 1, values.shape[2] or 1, POOLED)
    if values.dtype != tf.bfloat16 or window < 4:
        return tf.reduce_sum(tf.cast(values, tf.float32), axis=(0, 1, 2))
    means = tf.nn.avg_pool2d(values, window, window, "VALID")
    return window**2 * tf.reduce_sum(tf.cast(means, tf.float32), axis=(0, 1, 2))


class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` whose training is the same to the bit each time; weight files name it, so it has its name."""

    def call(self, inputs):
        return self.activation(bias_add(self.convolution_op(inputs, self.kernel), tf.convert_to_tensor(self.bias)))


def conv2d(filters, kernel_size, *, initializer="orthogonal", weight_decay=0.0, **options):
    """A 'same' convolution with the initialisation and weight decay that all parts share.

    Args:
        filters: output channels.
        kernel_size: of the square kernel.
        initializer: of the kernel, one of `INITIALIZERS`; biases are truncated normal 0.001 in both
            published configurations.
        weight_decay: the loss gains weight_decay * ||kernel||^2 / 2 (the released code's L2 term).
        **options: further arguments of `keras.layers.Conv2D`.
    """
    if initializer not in INITIALIZERS:
        raise ValueError(f"Unknown initializer {initializer!r}. Expected one of {', '.join(INITIALIZERS)}.")
    kernel = {"orthogonal": keras.initializers.Orthogonal, "he_normal": keras.initializers.HeNormal}[initializer]
    return Conv2D(
        filters,
        kernel_size,
        padding="same",
        kernel_initializer=kernel(),
        bias_initializer=keras.initializers.TruncatedNormal(stddev=0.001),
        kernel_regularizer=keras.regularizers.L2(weight_decay / 2) if weight_decay else None,
        **options,
    )


class ConvBlock(keras.layers.Layer):
    """Three (`num_convs`) times 3x3 convolution, normalization and ReLU, all with the same number of channels.

    Args:
        filters: output channels of each convolution.
        num_convs: convolutions in the block; 3 in the paper (appendix H.1).
        normalization: between convolution and ReLU, "none" as in the paper, or "instance" or "filter_response"
            (`tf_probunet.normalization`).
        initializer, weight_decay: see `conv2d`.

    Call arguments:
        inputs: [B, H, W, C].
    Returns:
        [B, H, W, filters].

    Example:
        >>> import numpy as np
        >>> ConvBlock(8)(np.zeros((1, 32, 32, 3), "float32")).shape
        TensorShape([1, 32, 32, 8])
    """

    def __init__(self, filters, *, num_convs=3, normalization="none", initializer="orthogonal", weight_decay=0.0,
                 **kwargs):
        super().__init__(**kwargs)
        if normalization not in NORMALIZATIONS:
            raise ValueError(f"Unknown normalization {normalization!r}. Expected one of {', '.join(NORMALIZATIONS)}.")
        self.filters = filters
        plain = normalization == "none"
        self.convs = [
            conv2d(filters, 3, activation="relu" if plain else None, initializer=initializer,
                   weight_decay=weight_decay, dtype=self.dtype_policy, name=f"conv_{index}")
            for index in range(num_convs)
        ]
        self.norms = [] if plain else [LAYERS[normalization](dtype=self.dtype_policy, name=f"norm_{index}")
                                       for index in range(num_convs)]

    def build(self, input_shape):
        for conv in self.convs:
            conv.build(input_shape)
            input_shape = (*input_shape[:-1], self.filters)
        for norm in self.norms:
            norm.build(input_shape)

    def call(self, inputs):
        for index, conv in enumerate(self.convs):
            inputs = conv(inputs)
            if self.norms:
                inputs = tf.nn.relu(self.norms[index](inputs))
        return inputs


class Downsample(keras.layers.Layer):
    """Halves height and width: bilinear interpolation at 1/2 with half-pixel centres *is* the mean of 2x2 pixels.

    Call arguments:
        inputs: [B, H, W, C].
    Returns:
        [B, H // 2, W // 2, C]; the last row or column of an odd size is dropped.
    """

    def call(self, inputs):
        return tf.nn.avg_pool2d(inputs, ksize=2, strides=2, padding="VALID")


class Upsample(keras.layers.Layer):
    """Doubles height and width by bilinear interpolation.

    Args:
        method: "bilinear" (half-pixel centres) or "bilinear_aligned" (corners aligned, as in the released code).

    Call arguments:
        inputs: [B, H, W, C].
    Returns:
        [B, 2H, 2W, C] in the compute dtype.
    """

    def __init__(self, method="bilinear", **kwargs):
        super().__init__(**kwargs)
        if method not in UPSAMPLINGS:
            raise ValueError(f"Unknown upsampling {method!r}. Expected one of {', '.join(UPSAMPLINGS)}.")
        self.method = method

    def call(self, inputs):
        size = 2 * tf.shape(inputs)[1:3]
        aligned = self.method == "bilinear_aligned"
        # The op returns float32 whatever it is given; XLA mixes the types up where it is given another.
        outputs = tf.raw_ops.ResizeBilinear(
            images=tf.cast(inputs, tf.float32), size=size, align_corners=aligned, half_pixel_centers=not aligned
        )
        return tf.cast(outputs, self.compute_dtype)
