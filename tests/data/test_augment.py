"""Image and segmentation go through one map, and the map is the one that was asked for."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_probunet.data.augment import Augmentation, _affine_places, _bilinear, _nearest, augment

SEEDS = [(seed, 0) for seed in range(12)]
ALONE = {
    "rotation": Augmentation(rotation=180.0),
    "mirror": Augmentation(mirror=True),
    "scale": Augmentation(scale=(0.5, 2.0)),
    "shear": Augmentation(shear=0.4),
    "shift": Augmentation(rotation=1e-3, shift=5.0),
    "elastic": Augmentation(elastic=4.0, elastic_sigma=10.0),
}
TOGETHER = Augmentation(rotation=45, mirror=True, scale=(0.8, 1.2), shear=0.1, shift=3.0, elastic=2.0,
                        elastic_sigma=8.0, gamma=(0.7, 1.4), gamma_probability=0.5)


def numbered(height, width):
    """An image and a segmentation of which each pixel tells where it was."""
    places = np.arange(height * width).reshape(height, width)
    return (places / 255).astype(np.float32)[..., None], (places % 250).astype(np.int32)


def blob(size=48):
    """An L of soft edges, and its mask where it is more than half bright: no mirror or turn maps it to itself."""
    rows, columns = np.indices((size, size))
    middle = size / 2

    def bar(top, left, height, width):
        distance = np.maximum(abs(rows - top - height / 2) - height / 2, abs(columns - left - width / 2) - width / 2)
        return np.clip(0.5 - distance / 4, 0, 1)

    image = np.maximum(bar(middle - 10, middle - 6, 18, 5), bar(middle + 3, middle - 6, 5, 14)).astype(np.float32)
    return image[..., None], (image > 0.5).astype(np.int32)


def run(image, segmentation, seed, crop_size, augmentation):
    image, segmentation = augment(tf.constant(image), tf.constant(segmentation), seed, crop_size, augmentation)
    assert image.dtype == tf.float32 and segmentation.dtype == tf.int32
    assert image.shape == (*crop_size, image.shape[-1]) and segmentation.shape == crop_size
    return image.numpy(), segmentation.numpy()


class TestCropOnly:
    @settings(max_examples=40)
    @given(seed=st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1)), height=st.integers(1, 9),
           width=st.integers(1, 12), shift=st.sampled_from([None, 0.0, 1.0, 1.5, 50.0]))
    def test_it_is_a_slice(self, seed, height, width, shift):
        image, segmentation = numbered(9, 12)
        found, labels = run(image, segmentation, seed, (height, width), Augmentation(shift=shift))
        top, left = divmod(int(np.rint(found[0, 0, 0] * 255)), 12)
        np.testing.assert_array_equal(found, image[top : top + height, left : left + width])
        np.testing.assert_array_equal(labels, segmentation[top : top + height, left : left + width])
        if shift is not None:
            assert abs(top - (9 - height) / 2) <= shift + 0.5 and abs(left - (12 - width) / 2) <= shift + 0.5

    def test_every_place_is_equally_likely(self):
        image, segmentation = numbered(5, 6)
        places = np.zeros((3, 2), int)

        @tf.function
        def many(seeds):
            def one(seed):
                return augment(tf.constant(image), tf.constant(segmentation), seed, (3, 5), Augmentation())[1][0, 0]

            return tf.map_fn(one, seeds, fn_output_signature=tf.int32)

        for label in many(tf.constant([(seed, 1) for seed in range(1200)])).numpy():
            places[divmod(label, 6)] += 1
        assert np.all(abs(places - 200) < 55), places  # standard deviation 13

    def test_no_shift_is_the_central_crop(self):
        image, segmentation = numbered(9, 12)
        found, _ = run(image, segmentation, (1, 2), (4, 6), Augmentation(shift=0.0))
        np.testing.assert_array_equal(found, image[2:6, 3:9])  # as `evaluation_dataset` crops

    def test_a_crop_that_does_not_fit_is_refused(self):
        with pytest.raises(ValueError, match="crop of 8x10 is larger than the image of 9x9. Choose a crop that fits"):
            run(*numbered(9, 9), (0, 0), (8, 10), Augmentation())


class TestMap:
    """`_affine_places` with chosen draws, against NumPy: draws are angle, magnification, shear and two mirrors."""

    def warped(self, size, augmentation, angle=0.0, magnification=-1.0, shear=0.0, mirror_x=1.0, mirror_y=1.0,
               shift=(0.0, 0.0), crop_size=None):
        image, segmentation = numbered(*size)
        draws = [tf.constant(value) for value in (angle, magnification, shear, mirror_x, mirror_y)]
        crop_size = crop_size or size
        y, x = _affine_places(draws, tf.constant(shift), tf.constant([*size, 1]), crop_size, augmentation)
        found = _bilinear(tf.constant(image), y, x)[..., 0].numpy() * 255
        labels = _nearest(tf.constant(segmentation), y, x, 255).numpy()
        return found, labels, np.arange(size[0] * size[1]).reshape(size)

    @pytest.mark.parametrize("size", [(8, 8), (9, 9)])
    @pytest.mark.parametrize("angle, turns", [(1.0, 1), (-1.0, -1)])
    def test_a_quarter_turn(self, size, angle, turns):
        found, labels, places = self.warped(size, Augmentation(rotation=90.0), angle=angle)
        np.testing.assert_allclose(found, np.rot90(places, turns), atol=1e-3)
        np.testing.assert_array_equal(labels, np.rot90(places, turns))

    def test_a_half_turn(self):
        found, labels, places = self.warped((7, 10), Augmentation(rotation=180.0), angle=1.0)
        np.testing.assert_allclose(found, places[::-1, ::-1], atol=1e-3)
        np.testing.assert_array_equal(labels, places[::-1, ::-1])

    @pytest.mark.parametrize("mirror_x, mirror_y", [(1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)])
    def test_mirrors(self, mirror_x, mirror_y):
        found, labels, places = self.warped((7, 10), Augmentation(mirror=True), mirror_x=mirror_x, mirror_y=mirror_y)
        expected = places[:: int(mirror_y), :: int(mirror_x)]
        np.testing.assert_allclose(found, expected, atol=1e-3)
        np.testing.assert_array_equal(labels, expected)

    def test_a_whole_shift_is_a_slice(self):
        found, labels, places = self.warped((9, 12), Augmentation(mirror=True), shift=(-2.0, 1.0), crop_size=(5, 4))
        np.testing.assert_allclose(found, places[0:5, 5:9], atol=1e-3)
        np.testing.assert_array_equal(labels, places[0:5, 5:9])

    def test_a_magnification_of_three_makes_each_pixel_three(self):
        _, labels, places = self.warped((5, 5), Augmentation(scale=(3.0, 3.0)), crop_size=(15, 15))
        np.testing.assert_array_equal(labels, np.kron(places, np.ones((3, 3))))

    def test_shear_moves_rows_sideways_by_their_distance_from_the_middle(self):
        _, labels, places = self.warped((9, 9), Augmentation(shear=1.0), shear=1.0)
        for row in range(9):
            expected = np.full(9, 255)
            columns = np.arange(9) + row - 4
            inside = (columns >= 0) & (columns < 9)
            expected[inside] = places[row, columns[inside]]
            np.testing.assert_array_equal(labels[row], expected)

    def test_outside_the_image_is_its_reflection_and_ignored(self):
        found, labels, places = self.warped((4, 4), Augmentation(mirror=True), crop_size=(8, 8))
        np.testing.assert_array_equal(labels[2:6, 2:6], places)
        labels[2:6, 2:6] = 255
        assert np.all(labels == 255)
        np.testing.assert_allclose(found, np.pad(places, 2, "symmetric"), atol=1e-3)


class TestAugment:
    @pytest.mark.parametrize("name", ALONE)
    def test_image_and_segmentation_stay_aligned(self, name):
        image, segmentation = blob()
        views = []
        for seed in SEEDS:
            found, labels = run(image, segmentation, seed, (38, 38), ALONE[name])
            known = labels != 255
            # Only where a pixel is neither bright nor dark may resampling by two methods disagree.
            clear = known & (abs(found[..., 0] - 0.5) > 0.3)
            assert clear.mean() > 0.5 and (clear & (labels == 1)).sum() > 15
            np.testing.assert_array_equal(labels[clear], found[..., 0][clear] > 0.5)
            assert 20 < (labels == 1).sum() < 1200
            views.append(found)
        assert len({view.tobytes() for view in views}) >= (4 if name == "mirror" else len(SEEDS))

    def test_mirrors_give_all_four_views_and_no_other(self):
        image, segmentation = blob()
        views = {run(image, segmentation, seed, (48, 48), ALONE["mirror"])[1].tobytes() for seed in SEEDS}
        expected = {segmentation[::y, ::x].tobytes() for y in (1, -1) for x in (1, -1)}
        assert views == expected

    def test_scales_are_within_their_range_on_both_sides(self):
        image, segmentation = blob()
        areas = [(run(image, segmentation, seed, (48, 48), ALONE["scale"])[1] == 1).sum() / segmentation.sum()
                 for seed in SEEDS]
        assert 0.2 < min(areas) < 0.7 and 1.5 < max(areas) < 4.3

    def test_the_seed_decides_everything(self):
        image, segmentation = blob()
        first = run(image, segmentation, (3, 4), (32, 32), TOGETHER)
        tf.random.set_seed(99)
        again = run(image, segmentation, (3, 4), (32, 32), TOGETHER)
        other = run(image, segmentation, (3, 5), (32, 32), TOGETHER)
        np.testing.assert_array_equal(first[0], again[0])
        np.testing.assert_array_equal(first[1], again[1])
        assert not np.array_equal(first[0], other[0]) and not np.array_equal(first[1], other[1])

    def test_a_smaller_image_is_filled(self):
        image, segmentation = blob(20)
        found, labels = run(image, segmentation, (1, 1), (48, 48), Augmentation(rotation=10.0, shift=0.0))
        assert (labels == 255).mean() > 0.7 and (labels == 1).sum() > 20
        assert np.isfinite(found).all() and 0 <= found.min() and found.max() <= 1
        assert np.all(labels[[0, 0, -1, -1], [0, -1, 0, -1]] == 255)

    def test_the_ignore_label_is_the_datasets(self):
        image, segmentation = blob(20)
        _, labels = augment(tf.constant(image), tf.constant(segmentation), (1, 1), (48, 48), ALONE["rotation"], 19)
        assert set(np.unique(labels)) == {0, 1, 19}

    def test_images_of_three_channels(self):
        image, segmentation = blob()
        one, _ = run(image, segmentation, (1, 1), (32, 32), TOGETHER)
        three, _ = run(np.repeat(image, 3, axis=-1), segmentation, (1, 1), (32, 32), TOGETHER)
        np.testing.assert_array_equal(three, np.repeat(one, 3, axis=-1))


class TestGamma:
    def exponents(self, count, **options):
        """The exponent that was applied to an image of 0.25, for each of `count` seeds."""
        image, segmentation = np.full((4, 4, 1), 0.25, np.float32), np.zeros((4, 4), np.int32)
        found = [run(image, segmentation, (seed, 0), (4, 4), Augmentation(**options))[0] for seed in range(count)]
        assert all(np.ptp(one) == 0 for one in found)
        return np.log([one[0, 0, 0] for one in found]) / np.log(0.25)

    def test_only_when_asked(self):
        np.testing.assert_allclose(self.exponents(8, gamma=(0.5, 2.0)), 1.0, rtol=1e-7)

    def test_always_and_within_its_range(self):
        found = self.exponents(40, gamma=(0.5, 2.0), gamma_probability=1.0)
        assert 0.5 <= found.min() < 0.75 and 1.4 < found.max() <= 2.0
        assert abs(np.log(found).mean()) < 0.25  # halving is as likely as doubling

    def test_as_often_as_asked(self):
        changed = self.exponents(60, gamma=(3.0, 3.0), gamma_probability=0.25) > 2
        assert 5 <= changed.sum() <= 26  # 15 expected, standard deviation 3.4

    def test_values_within_0_and_1_stay_there_and_others_stay_what_they_are(self):
        image = np.linspace(-0.5, 1.5, 64, dtype=np.float32).reshape(8, 8, 1)
        found, labels = run(image, np.zeros((8, 8), np.int32), (1, 1), (8, 8),
                            Augmentation(gamma=(2.0, 2.0), gamma_probability=1.0))
        inside = (image > 0) & (image < 1)
        np.testing.assert_allclose(found[inside], image[inside] ** 2, rtol=1e-5)
        np.testing.assert_array_equal(found[~inside], image[~inside])
        assert np.all(labels == 0)


@pytest.mark.parametrize("wrong, message", [
    ({"scale": (0.0, 1.0)}, "scale must be two numbers with 0 < smallest <= largest. Received: 0.0, 1.0"),
    ({"scale": (1.2, 0.8)}, "scale must be"),
    ({"gamma": (-1.0, 1.0)}, "gamma must be"),
    ({"rotation": -5.0}, "rotation is a largest amount.*Received: -5.0"),
    ({"shift": -1.0}, "shift is a largest amount"),
    ({"elastic": -0.5}, "elastic is a largest standard deviation: 0 or more. Received: -0.5"),
    ({"elastic_sigma": 0.0}, "elastic_sigma is a smoothing length: 1 pixel or more. Received: 0.0"),
    ({"gamma_probability": 1.5}, r"gamma_probability must be in 0\.\.1. Received: 1.5"),
])
def test_what_cannot_be_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**wrong)
