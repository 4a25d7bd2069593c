"""Normalizations against Keras's and numpy, and in the blocks of a U-Net."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_probunet.blocks import ConvBlock
from tf_probunet.experiment import NORMALIZATIONS
from tf_probunet.models import DeterministicUNet, ProbabilisticUNet
from tf_probunet.normalization import (
    LAYERS,
    FilterResponseNormalization,
    InstanceNormalization,
    where_constants_matter,
)


def images(*shape, seed=0):
    return np.random.default_rng(seed).normal(3.0, 2.0, shape).astype(np.float32)


def randomized(layer, shape, seed=5):
    layer.build(shape)
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.normal(1.0, 0.5, weight.shape) for weight in layer.get_weights()])
    return layer


class TestEveryLayer:
    @pytest.mark.parametrize("layer", LAYERS.values())
    def test_an_image_does_not_depend_on_its_batch(self, layer):
        layer, inputs = randomized(layer(), (None, 8, 8, 3)), images(4, 8, 8, 3)
        np.testing.assert_allclose(layer(inputs)[2:3], layer(inputs[2:3]), atol=1e-6)

    @pytest.mark.parametrize("layer", LAYERS.values())
    def test_one_pixel_is_refused(self, layer):
        with pytest.raises(ValueError, match="more than one pixel.*Choose a larger crop_size"):
            layer()(images(2, 1, 1, 3))

    @pytest.mark.parametrize("layer", LAYERS.values())
    def test_whether_constants_are_kept(self, layer):
        """Of two images that differ by a constant, what is left of it."""
        inputs = np.concatenate([np.full((1, 6, 6, 1), value, np.float32) for value in (-2.0, 2.0)])
        values = layer()(inputs).numpy()
        assert np.allclose(values[0], values[1], atol=1e-3) != layer.keeps_constants

    def test_names_are_those_that_an_experiment_may_have(self):
        assert ("none", *LAYERS) == NORMALIZATIONS
        assert [where_constants_matter(name) for name in NORMALIZATIONS] == ["none", "none", "filter_response"]


class TestFilterResponse:
    def test_values_and_gradients_are_those_of_keras_root_mean_square(self):
        """Keras's `RMSNormalization` is over the last axis: pixels are brought there."""
        inputs, upstream = images(2, 6, 10, 3), tf.constant(images(2, 6, 10, 3, seed=1))
        ours = randomized(FilterResponseNormalization(), inputs.shape)
        theirs = keras.layers.RMSNormalization(axis=-1, epsilon=1e-3)

        def by_keras(values):
            pixels = theirs(tf.reshape(tf.transpose(values, (0, 3, 1, 2)), (2, 3, 60)))
            return tf.transpose(tf.reshape(pixels, (2, 3, 6, 10)), (0, 2, 3, 1)) * ours.scale + ours.offset

        results = []
        for function in (ours, by_keras):
            values = tf.constant(inputs)
            with tf.GradientTape() as tape:
                tape.watch(values)
                found = function(values)
                loss = tf.reduce_sum(found * upstream)
            results.append((found, *tape.gradient(loss, [values, ours.scale.value, ours.offset.value])))
        for found, expected in zip(*results, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)

    def test_in_half_precision_the_mean_square_is_not(self):
        inputs = images(2, 32, 32, 2) * 300
        expected = inputs / np.sqrt((inputs**2).mean(axis=(1, 2), keepdims=True))
        found = tf.cast(FilterResponseNormalization(dtype="mixed_bfloat16")(inputs), tf.float32)
        np.testing.assert_allclose(found, expected, rtol=0.01, atol=0.01)


class TestInstance:
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


class TestBlock:
    @pytest.mark.parametrize("name", LAYERS)
    def test_is_convolution_normalization_relu(self, name):
        block = randomized(ConvBlock(5, num_convs=3, normalization=name), (2, 6, 8, 3))
        expected = inputs = images(2, 6, 8, 3)
        for conv, norm in zip(block.convs, block.norms, strict=True):
            expected = tf.nn.conv2d(expected, conv.kernel, 1, "SAME").numpy() + conv.bias.numpy()
            if name == "instance":
                expected -= expected.mean(axis=(1, 2), keepdims=True)
            expected /= np.sqrt((expected**2).mean(axis=(1, 2), keepdims=True) + norm.epsilon)
            expected = np.maximum(expected * norm.scale.numpy() + norm.offset.numpy(), 0)
        np.testing.assert_allclose(block(inputs), expected, rtol=1e-3, atol=1e-3)

    def test_an_unknown_one_is_refused(self):
        with pytest.raises(ValueError, match="normalization 'batch'. Expected one of none, instance, filter_response"):
            ConvBlock(4, normalization="batch")


class TestUNet:
    @pytest.mark.parametrize("name, of_the_first", [("instance", 0), ("filter_response", 2)])
    def test_the_first_block_keeps_constants(self, name, of_the_first):
        """There latents may come in, the same at every pixel."""
        model = DeterministicUNet(channels=(4, 8, 8), num_convs=2, normalization=name)
        blocks = [*model.unet.encoder.blocks, *model.unet.decoder_blocks]
        assert [len(block.norms) for block in blocks] == [of_the_first, 2, 2, 2, 2]
        assert all(type(norm) is LAYERS[name] for block in blocks for norm in block.norms)
        assert model.get_config()["normalization"] == name

    def test_prior_and_posterior_nets_have_none(self):
        """Their pooling reads means, of which normalization would leave nothing."""
        model = ProbabilisticUNet(channels=(4, 8), normalization="instance")
        assert not any(block.norms for net in (model.prior_net, model.posterior_net) for block in net.encoder.blocks)

    def test_images_that_end_as_one_pixel_are_refused(self):
        model = DeterministicUNet(channels=(4, 8, 8), normalization="instance")
        with pytest.raises(ValueError, match="the last downsampling leaves one pixel"):
            model(np.zeros((1, 4, 4, 1), np.float32))
