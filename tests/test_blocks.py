"""Convolution blocks and resampling against independent numpy implementations."""

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_probunet.blocks import ConvBlock, Downsample, Upsample, _sum_over_pixels, bias_add, conv2d


def images(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def resize_matrix(size, aligned):
    """[2 * size, size]: what each output row takes of each input row, for bilinear doubling of one axis."""
    outputs = np.arange(2 * size)
    inputs = outputs * (size - 1) / (2 * size - 1) if aligned else np.clip((outputs + 0.5) / 2 - 0.5, 0, size - 1)
    return np.clip(1 - np.abs(inputs[:, None] - np.arange(size)), 0, None)


class TestConv2D:
    def test_orthogonal_kernel_has_orthonormal_columns(self):
        conv = conv2d(8, 3)
        conv.build((None, None, None, 16))
        kernel = conv.kernel.numpy().reshape(-1, 8)
        np.testing.assert_allclose(kernel.T @ kernel, np.eye(8), atol=1e-5)

    def test_he_normal_kernel_has_variance_two_over_fan_in(self):
        conv = conv2d(64, 3, initializer="he_normal")
        conv.build((None, None, None, 64))
        kernel = conv.kernel.numpy()
        assert abs(kernel.mean()) < 1e-3
        assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 64)), rel=0.02)

    @pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
    def test_values_and_gradients_are_those_of_keras(self, precision):
        inputs, upstream, results = tf.constant(images(2, 8, 8, 3)), tf.constant(images(2, 8, 8, 5, seed=1)), []
        for conv in (conv2d(5, 3, activation="relu", dtype=precision),
                     keras.layers.Conv2D(5, 3, padding="same", activation="relu", dtype=precision)):
            conv.build(inputs.shape)
            if results:
                conv.set_weights(results[0][0])
            with tf.GradientTape() as tape:
                values = tf.cast(conv(inputs), tf.float32)
                loss = tf.reduce_sum(values * upstream)
            results.append((conv.get_weights(), values, *tape.gradient(loss, conv.trainable_variables)))
        tolerance = dict(atol=1e-5) if precision == "float32" else dict(rtol=0.03, atol=0.1)  # two roundings
        for ours, expected in zip(*(result[1:] for result in results), strict=True):
            np.testing.assert_allclose(ours, expected, **tolerance)

    def test_biases_are_truncated_normal_of_0_001(self):
        conv = conv2d(20_000, 1)
        conv.build((None, None, None, 1))
        bias = conv.bias.numpy()
        assert np.abs(bias).max() <= 0.002
        assert bias.std() == pytest.approx(0.001 * 0.8796, rel=0.05)  # stddev of a normal cut at two sigma
        assert abs(bias.mean()) < 5e-5

    def test_weight_decay_is_half_the_squared_norm(self):
        conv = conv2d(4, 3, weight_decay=0.1)
        conv.build((None, None, None, 2))
        assert float(sum(conv.losses)) == pytest.approx(0.1 * np.square(conv.kernel.numpy()).sum() / 2, rel=1e-6)
        assert not conv2d(4, 3).losses

    def test_an_unknown_initializer_is_refused(self):
        with pytest.raises(ValueError, match="Unknown initializer 'glorot'. Expected one of orthogonal, he_normal"):
            conv2d(4, 3, initializer="glorot")


class TestWeightFiles:
    def test_name_convolutions_as_keras_does(self, tmp_path):
        """Or weights that were saved before could not be loaded."""
        block = ConvBlock(4, num_convs=2)
        block.build((None, None, None, 3))
        model = keras.Sequential([block])
        model.build((None, 8, 8, 3))
        model.save_weights(tmp_path / "model.weights.h5")
        names = []
        with h5py.File(tmp_path / "model.weights.h5") as file:
            file.visit(names.append)
        assert {"layers/conv_block/convs/conv2d/vars/0", "layers/conv_block/convs/conv2d_1/vars/1"} <= set(names)


class TestConvBlock:
    @pytest.mark.parametrize("num_convs", [1, 3])
    def test_is_that_many_convolutions_each_followed_by_relu(self, num_convs):
        block = ConvBlock(5, num_convs=num_convs)
        inputs = images(2, 6, 7, 3)
        outputs = block(inputs)
        expected = inputs
        for conv in block.convs:
            expected = np.maximum(tf.nn.conv2d(expected, conv.kernel, 1, "SAME").numpy() + conv.bias.numpy(), 0)
        np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)
        assert len(block.convs) == num_convs

    def test_every_convolution_has_a_bias(self):
        block = ConvBlock(4, num_convs=3)
        block.build((None, None, None, 2))
        assert [tuple(weight.shape) for weight in block.weights] == [
            (3, 3, 2, 4), (4,), (3, 3, 4, 4), (4,), (3, 3, 4, 4), (4,)
        ]


class TestDownsample:
    @pytest.mark.parametrize("height, width", [(8, 12), (2, 2), (7, 9)])
    def test_is_the_mean_of_two_by_two(self, height, width):
        inputs = images(2, height, width, 3)
        whole = inputs[:, : height // 2 * 2, : width // 2 * 2]
        expected = whole.reshape(2, height // 2, 2, width // 2, 2, 3).mean(axis=(2, 4))
        np.testing.assert_allclose(Downsample()(inputs), expected, atol=1e-6)

    def test_equals_bilinear_halving_with_half_pixel_centres(self):
        inputs = images(1, 8, 12, 2)
        expected = tf.raw_ops.ResizeBilinear(images=inputs, size=(4, 6), half_pixel_centers=True)
        np.testing.assert_allclose(Downsample()(inputs), expected, atol=1e-6)


class TestUpsample:
    @pytest.mark.parametrize("method", ["bilinear", "bilinear_aligned"])
    @pytest.mark.parametrize("height, width", [(4, 6), (5, 3), (1, 2)])
    def test_is_separable_bilinear_interpolation(self, method, height, width):
        inputs = images(2, height, width, 3)
        aligned = method == "bilinear_aligned"
        rows, columns = resize_matrix(height, aligned), resize_matrix(width, aligned)
        expected = np.einsum("yh,bhwc,xw->byxc", rows, inputs, columns)
        outputs = Upsample(method)(inputs)
        assert outputs.shape == (2, 2 * height, 2 * width, 3)
        np.testing.assert_allclose(outputs, expected, atol=1e-5)

    @pytest.mark.parametrize("method", ["bilinear", "bilinear_aligned"])
    def test_gradient_is_the_transpose(self, method):
        inputs, weights = tf.constant(images(1, 3, 5, 2)), images(1, 6, 10, 2, seed=1)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            total = tf.reduce_sum(Upsample(method)(inputs) * weights)
        aligned = method == "bilinear_aligned"
        expected = np.einsum("yh,byxc,xw->bhwc", resize_matrix(3, aligned), weights, resize_matrix(5, aligned))
        np.testing.assert_allclose(tape.gradient(total, inputs), expected, atol=1e-5)

    def test_keeps_the_compute_dtype(self):
        assert Upsample(dtype="mixed_bfloat16")(images(1, 4, 4, 1)).dtype == tf.bfloat16

    def test_an_unknown_method_is_refused(self):
        with pytest.raises(ValueError, match="Unknown upsampling 'nearest'. Expected one of bilinear"):
            Upsample("nearest")


@pytest.mark.parametrize("layer", [ConvBlock(4, num_convs=2), Downsample(), Upsample("bilinear_aligned")])
def test_layers_come_back_from_their_config(layer):
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()


def test_gradients_of_downsample_exist_in_mixed_precision():
    inputs = tf.Variable(images(1, 4, 4, 1))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(tf.cast(Downsample(dtype=keras.DTypePolicy("mixed_bfloat16"))(inputs), tf.float32))
    np.testing.assert_allclose(tape.gradient(total, inputs), np.full((1, 4, 4, 1), 0.25))


class TestBiasGradient:
    """Of bfloat16 it is summed in windows first."""

    def gradient(self, upstream):
        bias = tf.Variable(tf.zeros(upstream.shape[-1]))
        with tf.GradientTape() as tape:
            added = bias_add(tf.zeros_like(upstream), tf.cast(bias, upstream.dtype))
            total = tf.reduce_sum(tf.cast(added * tf.stop_gradient(upstream), tf.float32))
        return tape.gradient(total, bias).numpy()

    @pytest.mark.parametrize("shape", [(3, 64, 64, 5), (2, 16, 48, 4), (2, 20, 12, 3), (2, 5, 7, 3), (2, 2, 2, 8)])
    def test_is_the_sum_over_pixels(self, shape):
        upstream = tf.cast(np.random.default_rng(0).normal(0.5, 1, shape).astype(np.float32), tf.bfloat16)
        expected = tf.cast(upstream, tf.float32).numpy().sum(axis=(0, 1, 2))
        scale = np.abs(tf.cast(upstream, tf.float32).numpy()).sum(axis=(0, 1, 2))
        assert np.abs(self.gradient(upstream) - expected).max() < 2**-8 * scale.max()  # it comes back in bfloat16

    def test_sizes_that_are_not_known_when_the_step_is_traced_are_summed_too(self):
        upstream = tf.cast(tf.random.stateless_normal((2, 32, 32, 4), (0, 1)), tf.bfloat16)
        signature = [tf.TensorSpec([None, None, None, 4], tf.bfloat16)]
        found = tf.function(lambda values: _sum_over_pixels(values), input_signature=signature)(upstream)
        np.testing.assert_allclose(found, _sum_over_pixels(upstream), atol=0.02 * 2048**0.5)

    def test_float32_is_summed_plainly(self):
        upstream = tf.random.stateless_normal((2, 32, 32, 4), (0, 1))
        np.testing.assert_array_equal(_sum_over_pixels(upstream), tf.reduce_sum(upstream, axis=(0, 1, 2)))
