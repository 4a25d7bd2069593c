"""The elastic displacement has the statistics that it claims, and is what image and segmentation go through."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage
from test_augment import blob, run

from tf_probunet.data import augment as module
from tf_probunet.data.augment import Augmentation, _bilinear, _nearest, _smooth_noise, _smoothing, augment
from tf_probunet.presets import preset

AFFINE = dict(rotation=40.0, mirror=True, scale=(0.7, 1.3), shear=0.2, shift=3.0)
ELASTIC = dict(elastic=3.0, elastic_sigma=9.0)


def scene(size, channels=1, levels=255):
    """Smooth random values as a PNG of so many levels gives them, and labels 0 to 4 in patches."""
    noise = np.random.default_rng(0).normal(size=(*size, channels))
    smooth = ndimage.gaussian_filter(noise, (2, 2, 0))
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    labels = np.floor(smooth[..., 0] * 5).clip(0, 4).astype(np.int32)
    return (np.rint(smooth * levels) / np.float32(levels)).astype(np.float32), labels


def ramp(size):
    """An image of which each pixel says its row and its column, so that a view of it says where it was looked up."""
    return np.stack(np.indices(size), axis=-1).astype(np.float32)


def by_scipy(image, segmentation, y, x, ignore_label=255):
    """Both looked up at y and x, by another implementation and by a loop."""
    channels = [ndimage.map_coordinates(channel, [y, x], order=1, mode="reflect")
                for channel in np.moveaxis(image.astype(np.float64), -1, 0)]
    labels = np.full(y.shape, ignore_label)
    for place in np.ndindex(*y.shape):
        row, column = round(float(y[place])), round(float(x[place]))
        if 0 <= row < segmentation.shape[0] and 0 <= column < segmentation.shape[1]:
            labels[place] = segmentation[row, column]
    return np.stack(channels, axis=-1), labels


def run_with_places(monkeypatch, *arguments):
    """What `augment` gives, and the places at which it looked the image and the segmentation up."""
    looked_up = []

    def spy(name):
        function = getattr(module, name)

        def wrapper(values, y, x, *rest):
            looked_up.append((y.numpy(), x.numpy()))
            return function(values, y, x, *rest)

        monkeypatch.setattr(module, name, wrapper)

    spy("_bilinear")
    spy("_nearest")
    result = run(*arguments)
    of_image, of_labels = looked_up
    np.testing.assert_array_equal(of_image, of_labels)
    return *result, *of_image


class TestField:
    @pytest.mark.parametrize("side, sigma", [(64, 15.0), (128, 15.0), (512, 30.0), (33, 7.3), (10, 30.0), (1, 5.0)])
    def test_covariance_of_the_pixels_of_a_side(self, side, sigma):
        """Noise n with covariance I becomes W n with covariance W W^T: exactly 1 for a pixel with itself."""
        weights = _smoothing(side, sigma).astype(np.float64)
        covariance = weights @ weights.T
        np.testing.assert_allclose(np.diag(covariance), 1.0, rtol=1e-6)
        distance = np.subtract.outer(np.arange(side), np.arange(side))
        np.testing.assert_allclose(covariance, np.exp(-(distance**2) / (4 * sigma**2)), atol=0.002)

    def test_statistics_over_many_seeds(self):
        count = 3000

        @tf.function
        def fields():
            seeds = tf.stack([tf.range(count), tf.zeros(count, tf.int32)], axis=1)
            return tf.map_fn(lambda seed: tf.stack(_smooth_noise(seed, (9, 14), 5.0)), seeds,
                             fn_output_signature=tf.float32)

        found = fields().numpy()  # [count, 2, 9, 14]
        assert np.all(abs(found.mean(axis=0)) < 0.08)  # standard deviation 0.018
        assert np.all(abs(found.std(axis=0) - 1) < 0.06)  # 0.013
        assert np.all(abs((found[:, 0] * found[:, 1]).mean(axis=0)) < 0.08)  # along y tells nothing of along x
        for axis in (2, 3):  # at a distance of 5 pixels
            first, second = np.take(found, 1, axis), np.take(found, 6, axis)
            np.testing.assert_allclose((first * second).mean(axis=0), np.exp(-0.25), atol=0.1)

    def test_the_seed_decides(self):
        first, again, other = (np.stack(_smooth_noise(seed, (8, 8), 4.0)) for seed in ((1, 2), (1, 2), (1, 3)))
        np.testing.assert_array_equal(first, again)
        assert abs(first - other).max() > 0.1


class TestDisplacement:
    def displacements(self, count, crop_size, **options):
        """[count, height, width, 2] in pixels."""
        image, inside = ramp((120, 140)), np.zeros((120, 140), np.int32)
        found = [run(image, inside, (seed, 5), crop_size, Augmentation(shift=0.0, **options))[0]
                 for seed in range(count)]
        return found - augment(image, inside, (0, 0), crop_size, Augmentation(shift=0.0))[0].numpy()

    def test_each_example_draws_its_own_standard_deviation_up_to_the_largest(self):
        found = self.displacements(120, (60, 80), elastic=3.0, elastic_sigma=3.0)  # short: one field has all its values
        stddev = found.std(axis=(1, 2))
        np.testing.assert_allclose(stddev[:, 0], stddev[:, 1], rtol=0.35)  # one for both directions
        stddev = stddev.mean(axis=1)
        assert stddev.max() < 3.3 and stddev.min() < 0.3
        assert abs(stddev.mean() - 1.5) < 0.3 and abs(stddev.std() - 3 / 12**0.5) < 0.2  # as uniform as drawn
        assert np.all(abs(found.mean(axis=(0, 1, 2))) < 0.1)

    def test_it_is_smooth(self):
        found = self.displacements(10, (64, 64), elastic=3.0, elastic_sigma=20.0)
        steps = [abs(np.diff(found, axis=axis)).max() for axis in (1, 2)]
        slope = 3.0 / (2**0.5 * 20.0)  # its standard deviation where the displacement's is the largest
        assert max(steps) < 4.5 * slope and abs(found).max() > 1

    def test_it_comes_on_top_of_the_same_affine_map(self):
        image, segmentation = scene((48, 48))
        for seed in range(4):
            without = run(image, segmentation, (seed, 0), (40, 40), Augmentation(**AFFINE))
            hardly = run(image, segmentation, (seed, 0), (40, 40), Augmentation(**AFFINE, elastic=1e-4))
            np.testing.assert_allclose(hardly[0], without[0], atol=1e-3)
            assert (hardly[1] != without[1]).mean() < 0.01

    @pytest.mark.parametrize("name, size", [("lidc_paper", (300, 300)), ("cityscapes_official", (720, 900))])
    def test_no_preset_folds_the_image(self, name, size):
        """The determinant of the whole map's Jacobian never changes its sign."""
        experiment = preset(name)
        augmentation = dataclasses.replace(experiment.augmentation, shift=0.0, gamma_probability=0.0)
        assert augmentation.elastic > 0
        image, segmentation = tf.constant(ramp(size)), tf.zeros(size, tf.int32)
        view = tf.function(lambda seed: augment(image, segmentation, seed, experiment.crop_size, augmentation))
        for seed in range(30):
            places, labels = view(tf.constant((seed, 11)))
            assert not np.any(labels == 255)  # the ramp ends where the image does
            along_y, along_x = np.diff(places, axis=0)[:, :-1], np.diff(places, axis=1)[:-1]
            determinant = along_y[..., 0] * along_x[..., 1] - along_y[..., 1] * along_x[..., 0]
            assert determinant.min() * determinant.max() > 0 and abs(determinant).min() > 0.05, seed


class TestLookUp:
    @pytest.mark.parametrize("size, channels", [((9, 14), 1), ((14, 9), 3), ((1, 5), 1), ((1, 1), 2)])
    def test_anywhere(self, size, channels):
        """Up to three images away, between pixels, on them and on borders."""
        image, segmentation = scene(size, channels)
        rng = np.random.default_rng(1)
        y, x = (rng.uniform(-3 * side, 4 * side, (30, 40)).astype(np.float32) for side in size)
        y[0], x[0] = np.resize(np.arange(-2, size[0] + 2), 40), np.resize(np.arange(-2, size[1] + 2), 40)
        y[1], x[1] = -0.49, size[1] - 0.51
        y[2], x[2] = size[0] - 0.51, -0.51
        expected, labels = by_scipy(image, segmentation, y, x)
        np.testing.assert_allclose(_bilinear(tf.constant(image), y, x), expected, atol=1e-4)
        np.testing.assert_array_equal(_nearest(tf.constant(segmentation), y, x, 255), labels)
        assert np.all(labels[2] == 255) and np.all(labels[1] != 255)

    def test_halfway_between_two_pixels_is_one_of_them(self):
        labels = _nearest(tf.constant([[1, 2]]), np.zeros((1, 3), np.float32), np.float32([[-0.5, 0.5, 1.5]]), 9)
        np.testing.assert_array_equal(labels, [[1, 2, 9]])  # a pixel is from half before to just before half after

    @pytest.mark.parametrize("size, crop_size, channels, levels", [
        ((40, 40), (32, 32), 1, 255), ((30, 50), (30, 50), 3, 255), ((50, 31), (24, 36), 1, 65535),
    ])
    @pytest.mark.parametrize("options", [AFFINE, ELASTIC, AFFINE | ELASTIC], ids=["affine", "elastic", "both"])
    def test_a_view_is_what_scipy_sees_at_the_same_places(
        self, monkeypatch, size, crop_size, channels, levels, options
    ):
        image, segmentation = scene(size, channels, levels)
        for seed in range(2):
            found, labels, y, x = run_with_places(
                monkeypatch, image, segmentation, (seed, 3), crop_size, Augmentation(**options))
            monkeypatch.undo()
            expected, expected_labels = by_scipy(image, segmentation, y, x)
            np.testing.assert_allclose(found, expected, atol=2e-5)
            np.testing.assert_array_equal(labels, expected_labels)

    def test_an_affine_view_is_what_tensorflows_projective_transform_gives(self, monkeypatch):
        image, segmentation = scene((30, 50))
        for seed in range(4):
            found, labels, y, x = run_with_places(
                monkeypatch, image, segmentation, (seed, 7), (40, 44), Augmentation(**AFFINE))
            monkeypatch.undo()
            rows = [(place[0, 1] - place[0, 0], place[1, 0] - place[0, 0], place[0, 0]) for place in (x, y)]
            options = dict(transforms=[[*rows[0], *rows[1], 0.0, 0.0]], output_shape=(40, 44))
            expected = tf.raw_ops.ImageProjectiveTransformV3(
                images=image[None], fill_value=0.0, interpolation="BILINEAR", fill_mode="REFLECT", **options)[0]
            expected_labels = tf.raw_ops.ImageProjectiveTransformV3(
                images=segmentation[None, ..., None], fill_value=255.0, interpolation="NEAREST", fill_mode="CONSTANT",
                **options)[0, ..., 0]
            np.testing.assert_allclose(found, expected, atol=1e-4)
            assert np.mean(labels != expected_labels) < 0.003  # places halfway between pixels, to rounding

    def test_the_mask_is_ignored_where_the_places_leave_the_image(self, monkeypatch):
        image, segmentation = scene((32, 40))
        _, labels, y, x = run_with_places(monkeypatch, image, segmentation, (4, 0), (32, 40),
                                          Augmentation(elastic=8.0, elastic_sigma=12.0))
        outside = (y < -0.5) | (y >= 31.5) | (x < -0.5) | (x >= 39.5)
        np.testing.assert_array_equal(labels == 255, outside)
        assert 0.005 < outside.mean() < 0.5

    @pytest.mark.parametrize("options", [ELASTIC, AFFINE | ELASTIC], ids=["elastic", "both"])
    def test_image_and_segmentation_stay_aligned(self, options):
        image, segmentation = blob()
        for seed in range(8):
            found, labels = run(image, segmentation, (seed, 0), (40, 40), Augmentation(**options))
            clear = (labels != 255) & (abs(found[..., 0] - 0.5) > 0.3)
            assert (clear & (labels == 1)).sum() > 15
            np.testing.assert_array_equal(labels[clear], found[..., 0][clear] > 0.5)
