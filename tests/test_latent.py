"""The Gaussian nets, their KL divergence, and what the posterior net sees of a segmentation."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tf_probunet.latent import AxisAlignedGaussian, encode_segmentation, gaussian, num_segmentation_channels


def images(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, np.float32)


def net(**options):
    return AxisAlignedGaussian(latent_dim=3, channels=(4, 6), num_convs=1, **options)


class TestAxisAlignedGaussian:
    def test_mean_and_stddev_are_a_point_an_image_whatever_its_size(self):
        layer = net()
        for height, width in ((16, 16), (8, 24)):
            mean, stddev = layer(images(2, height, width, 1))
            assert mean.shape == stddev.shape == (2, 3)
            assert np.all(stddev > 0)

    def test_is_encoder_then_global_mean_then_1x1_convolution(self):
        layer = net()
        inputs = images(2, 8, 8, 1)
        mean, stddev = layer(inputs)
        pooled = layer.encoder(inputs)[-1].numpy().mean(axis=(1, 2))
        head = pooled @ layer.head.kernel.numpy()[0, 0] + layer.head.bias.numpy()
        np.testing.assert_allclose(mean, head[:, :3], atol=1e-6)
        np.testing.assert_allclose(stddev, np.exp(head[:, 3:]), rtol=1e-5)

    @pytest.mark.parametrize("clip, low, high", [(2.0, np.exp(-2), np.exp(2)), (None, 0.0, np.inf)])
    def test_log_sigma_clip_bounds_stddev_and_none_does_not(self, clip, low, high):
        layer = net(log_sigma_clip=clip)
        layer.build((None, None, None, 1))
        layer.head.bias.assign([0, 0, 0, 50, -50, 0.5])
        _, stddev = layer(images(1, 8, 8, 1) * 1e-3)
        if clip is None:
            assert stddev[0, 0] > 1e20 and 0 < stddev[0, 1] < 1e-20
        else:
            np.testing.assert_allclose(stddev[0, :2], [high, low], rtol=1e-5)
        assert float(stddev[0, 2]) == pytest.approx(np.exp(0.5), rel=0.05)

    def test_is_float32_in_mixed_precision(self):
        layer = net(dtype="mixed_bfloat16")
        mean, stddev = layer(images(2, 8, 8, 1))
        assert mean.dtype == stddev.dtype == tf.float32
        assert layer.head.kernel.dtype == "float32"
        # More than bfloat16's 8 bits are in use.
        assert np.any(mean.numpy() != tf.cast(tf.cast(mean, tf.bfloat16), tf.float32).numpy())


class TestGaussian:
    def setup_method(self):
        rng = np.random.default_rng(0)
        self.mean_q, self.mean_p = rng.normal(size=(2, 5, 4)).astype(np.float32)
        self.stddev_q, self.stddev_p = np.exp(rng.normal(0, 0.5, size=(2, 5, 4))).astype(np.float32)

    def kl(self):
        posterior, prior = gaussian(self.mean_q, self.stddev_q), gaussian(self.mean_p, self.stddev_p)
        return posterior, prior, tfp.distributions.kl_divergence(posterior, prior).numpy()

    def test_kl_equals_its_closed_form(self):
        _, _, found = self.kl()
        ratio = (self.stddev_q / self.stddev_p) ** 2
        distance = ((self.mean_q - self.mean_p) / self.stddev_p) ** 2
        np.testing.assert_allclose(found, 0.5 * (ratio + distance - 1 - np.log(ratio)).sum(-1), rtol=1e-5)

    def test_kl_equals_a_monte_carlo_estimate(self):
        posterior, prior, found = self.kl()
        latents = posterior.sample(200_000, seed=1)
        estimates = posterior.log_prob(latents) - prior.log_prob(latents)
        error = tf.math.reduce_std(estimates, 0) / np.sqrt(200_000)
        np.testing.assert_array_less(np.abs(tf.reduce_mean(estimates, 0) - found), 5 * error)

    def test_kl_of_a_distribution_with_itself_is_zero(self):
        one = gaussian(self.mean_q, self.stddev_q)
        np.testing.assert_allclose(tfp.distributions.kl_divergence(one, one), np.zeros(5), atol=1e-6)

    def test_shapes(self):
        posterior, _, _ = self.kl()
        assert (posterior.batch_shape, posterior.event_shape) == ((5,), (4,))


class TestEncodeSegmentation:
    segmentation = np.array([[[0, 1, 2, 255]]])
    one_hot = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]], np.float32)

    @pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8])
    @pytest.mark.parametrize("encoding, expected", [
        ("foreground", one_hot[:, 1:]), ("one_hot", one_hot), ("one_hot_centered", one_hot - 0.5)
    ])
    def test_gives_these_channels(self, encoding, expected, dtype):
        found = encode_segmentation(self.segmentation.astype(dtype), 3, encoding)
        np.testing.assert_array_equal(found, expected[None, None])
        assert found.shape[-1] == num_segmentation_channels(3, encoding)

    def test_another_ignore_label_and_dtype(self):
        found = encode_segmentation(np.array([[[0, 1, -1]]]), 2, "one_hot", ignore_label=-1, dtype=tf.bfloat16)
        np.testing.assert_array_equal(tf.cast(found, tf.float32), [[[[1, 0], [0, 1], [0, 0]]]])
        assert found.dtype == tf.bfloat16

    def test_an_ignore_label_that_is_a_class_number_is_ignored_too(self):
        found = encode_segmentation(np.array([[[0, 1]]]), 2, "one_hot", ignore_label=0)
        np.testing.assert_array_equal(found, [[[[0, 0], [0, 1]]]])

    def test_an_unknown_encoding_is_refused(self):
        with pytest.raises(ValueError, match="Unknown segmentation_encoding 'onehot'. Expected one of foreground"):
            num_segmentation_channels(2, "onehot")
