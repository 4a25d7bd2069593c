"""Instance normalization against Keras's group normalization and numpy, and in the blocks of a U-Net."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_probunet.blocks import ConvBlock
from tf_probunet.models import DeterministicUNet, ProbabilisticUNet
from tf_probunet.normalization import InstanceNormalization


def images(*shape, seed=0):
    return np.random.default_rng(seed).normal(3.0, 2.0, shape).astype(np.float32)


def randomized(layer, shape, seed=5):
    layer.build(shape)
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.normal(1.0, 0.5, weight.shape) for weight in layer.get_weights()])
    return layer


class TestLayer:
    @pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
    def test_values_and_gradients_are_those_of_keras(self, precision):
        inputs, upstream, results = tf.constant(images(2, 6, 10, 3)), tf.constant(images(2, 6, 10, 3, seed=1)), []
        for layer in (InstanceNormalization(dtype=precision),
                      keras.layers.GroupNormalization(groups=-1, epsilon=1e-5, dtype=precision)):
            randomized(layer, inputs.shape)
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                values = tf.cast(layer(inputs), tf.float32)
                loss = tf.reduce_sum(values * upstream)
            results.append((values, *tape.gradient(loss, [inputs, *layer.trainable_variables])))
        tolerance = dict(rtol=1e-4, atol=1e-4) if precision == "float32" else dict(rtol=0.02, atol=0.05)
        for ours, expected in zip(*results, strict=True):
            np.testing.assert_allclose(ours, expected, **tolerance)

    def test_every_channel_of_every_image_has_mean_0_and_variance_1(self):
        values = InstanceNormalization()(images(3, 12, 8, 4)).numpy()
        np.testing.assert_allclose(values.mean(axis=(1, 2)), 0, atol=1e-5)
        np.testing.assert_allclose(values.var(axis=(1, 2)), 1, atol=1e-4)

    def test_a_large_mean_takes_nothing_from_the_variance(self):
        """As the mean of squares less the square of the mean would, in float32."""
        inputs = images(1, 16, 16, 1).astype(np.float64)
        expected = (inputs - inputs.mean()) / inputs.std()
        np.testing.assert_allclose(InstanceNormalization()(inputs + 4096), expected, atol=2e-3)

    def test_an_image_does_not_depend_on_its_batch(self):
        layer, inputs = randomized(InstanceNormalization(), (None, 8, 8, 3)), images(4, 8, 8, 3)
        np.testing.assert_allclose(layer(inputs)[2:3], layer(inputs[2:3]), atol=1e-6)

    def test_one_pixel_is_refused(self):
        with pytest.raises(ValueError, match="more than one pixel.*Choose a larger crop_size"):
            InstanceNormalization()(images(2, 1, 1, 3))


class TestBlock:
    def test_is_convolution_normalization_relu(self):
        block = randomized(ConvBlock(5, num_convs=3, normalization="instance"), (2, 6, 8, 3))
        expected = inputs = images(2, 6, 8, 3)
        for conv, norm in zip(block.convs, block.norms, strict=True):
            expected = tf.nn.conv2d(expected, conv.kernel, 1, "SAME").numpy() + conv.bias.numpy()
            expected -= expected.mean(axis=(1, 2), keepdims=True)
            expected /= np.sqrt(expected.var(axis=(1, 2), keepdims=True) + 1e-5)
            expected = np.maximum(expected * norm.scale.numpy() + norm.offset.numpy(), 0)
        np.testing.assert_allclose(block(inputs), expected, rtol=1e-3, atol=1e-3)

    def test_an_unknown_one_is_refused(self):
        with pytest.raises(ValueError, match="Unknown normalization 'batch'. Expected one of none, instance"):
            ConvBlock(4, normalization="batch")


class TestUNet:
    def test_all_blocks_but_the_first_have_it(self):
        """There it would take away what is the same at every pixel, as latents at the start are."""
        model = DeterministicUNet(channels=(4, 8, 8), num_convs=2, normalization="instance")
        blocks = [*model.unet.encoder.blocks, *model.unet.decoder_blocks]
        assert [len(block.norms) for block in blocks] == [0, 2, 2, 2, 2]
        assert model.get_config()["normalization"] == "instance"

    def test_prior_and_posterior_nets_have_none(self):
        """Their pooling reads means, of which normalization would leave nothing."""
        model = ProbabilisticUNet(channels=(4, 8), normalization="instance")
        assert not any(block.norms for net in (model.prior_net, model.posterior_net) for block in net.encoder.blocks)

    def test_images_that_end_as_one_pixel_are_refused(self):
        model = DeterministicUNet(channels=(4, 8, 8), normalization="instance")
        with pytest.raises(ValueError, match="the last downsampling leaves one pixel"):
            model(np.zeros((1, 4, 4, 1), np.float32))
