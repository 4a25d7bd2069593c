"""The U-Net (Ronneberger et al. 2015) with the blocks of the Probabilistic U-Net, and its encoder alone."""

import keras
import tensorflow as tf

from tf_probunet.blocks import ConvBlock, Downsample, Upsample
from tf_probunet.normalization import where_constants_matter


class Encoder(keras.layers.Layer):
    """The contracting path: a `ConvBlock` at each resolution, halving in between.

    Args:
        channels: filters of the block at each resolution, finest first.
        num_convs, normalization: see `tf_probunet.blocks.ConvBlock`. The first block has none that would take away what
            is the same at every pixel, as latents are that come in here.
        initializer, weight_decay: see `tf_probunet.blocks.conv2d`.

    Call arguments:
        inputs: [B, H, W, C]; H and W multiples of 2 ** (len(channels) - 1).
        before_block: a function (activations, place) that changes what a block is about to read, or None; places count
            the blocks in the order of computation, from 0.
    Returns:
        list of activations, finest first: [B, H / 2^i, W / 2^i, channels[i]].
    """

    def __init__(self, channels, *, num_convs=3, normalization="none", initializer="orthogonal", weight_decay=0.0,
                 **kwargs):
        super().__init__(**kwargs)
        self.channels = tuple(channels)
        self.blocks = [
            ConvBlock(filters, num_convs=num_convs,
                      normalization=normalization if index else where_constants_matter(normalization),
                      initializer=initializer, weight_decay=weight_decay, dtype=self.dtype_policy,
                      name=f"block_{index}")
            for index, filters in enumerate(self.channels)
        ]
        self.downsample = Downsample(dtype=self.dtype_policy, name="downsample")

    def build(self, input_shape):
        for block in self.blocks:
            block.build(input_shape)
            input_shape = (None, None, None, block.filters)

    def call(self, inputs, before_block=None):
        change = before_block or _keep
        activations = []
        for place, block in enumerate(self.blocks):
            inputs = block(change(self.downsample(inputs) if place else inputs, place))
            activations.append(inputs)
        return activations


class UNet(keras.layers.Layer):
    """Encoder and decoder with concatenated skip connections; returns the last activation map, not logits.

    Args:
        channels: filters at each resolution, finest first; the decoder mirrors them.
        num_convs, normalization: see `tf_probunet.blocks.ConvBlock`.
        upsampling: see `tf_probunet.blocks.Upsample`.
        initializer, weight_decay: see `tf_probunet.blocks.conv2d`.

    Call arguments:
        inputs: images [B, H, W, C]; H and W multiples of 2 ** (len(channels) - 1).
        before_block: as the `Encoder` takes it. Of n resolutions, places 0 to n - 1 are the encoder's blocks, finest
            first, and n to 2 n - 2 the decoder's, coarsest first: n - 1 is the innermost.
    Returns:
        features [B, H, W, channels[0]].

    Example:
        >>> import numpy as np
        >>> UNet((8, 16, 32))(np.zeros((2, 32, 64, 1), "float32")).shape
        TensorShape([2, 32, 64, 8])
    """

    def __init__(self, channels, *, num_convs=3, upsampling="bilinear", normalization="none", initializer="orthogonal",
                 weight_decay=0.0, **kwargs):
        super().__init__(**kwargs)
        self.channels = tuple(channels)
        options = dict(num_convs=num_convs, normalization=normalization, initializer=initializer,
                       weight_decay=weight_decay, dtype=self.dtype_policy)
        self.encoder = Encoder(self.channels, name="encoder", **options)
        self.upsample = Upsample(upsampling, dtype=self.dtype_policy, name="upsample")
        self.decoder_blocks = [
            ConvBlock(filters, name=f"decoder_block_{index}", **options)
            for index, filters in enumerate(self.channels[:-1])
        ]

    def build(self, input_shape):
        self.encoder.build(input_shape)
        for index, block in enumerate(self.decoder_blocks):
            block.build((None, None, None, self.channels[index] + self.channels[index + 1]))

    def call(self, inputs, before_block=None):
        change = before_block or _keep
        activations = self.encoder(inputs, before_block=before_block)
        place, hidden = len(activations), activations.pop()
        for block, skip in zip(reversed(self.decoder_blocks), reversed(activations), strict=True):
            hidden = block(change(tf.concat([skip, self.upsample(hidden)], axis=-1), place))
            place += 1
        return hidden


def _keep(activations, _):
    return activations
