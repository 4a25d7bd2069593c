"""Batches of crops of several sizes: as many images as cost the same, one size a step, a function of seed and step."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_probunet.data.augment import Augmentation
from tf_probunet.data.crop_scales import drawn_scale, scaled_crops
from tf_probunet.data.reading import training_dataset
from tf_probunet.data.writer import Record

OPTIONS = dict(crop_size=(16, 16), crop_scales=(1.0, 2.0, 0.5), augmentation=Augmentation(mirror=True, rotation=90.0))
SHAPES = {(8, 16, 16), (2, 32, 32), (32, 8, 8)}


def take(dataset, count):
    return list(dataset.take(count).as_numpy_iterator())


def shapes(batches):
    return [segmentations.shape for _, segmentations in batches]


class TestScaledCrops:
    @given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 64), st.floats(0.1, 4.0))
    def test_a_batch_is_as_large_as_the_pixels_of_scale_1_allow(self, height, width, batch_size, scale):
        pixels = batch_size * height * width
        try:
            ((one_height, one_width), count), = scaled_crops((height, width), batch_size, (scale,))
        except ValueError:
            one = round(height * scale) * round(width * scale)
            assert one == 0 or one > pixels
            return
        assert abs(one_height - height * scale) <= 0.5 and abs(one_width - width * scale) <= 0.5
        assert 1 <= count and count * one_height * one_width <= pixels < (count + 1) * one_height * one_width

    @pytest.mark.parametrize("scales, message", [
        ((), r"crop_scales must be positive numbers, one at least. Received: \(\)"),
        ((1.0, -1.0), "crop_scales must be positive"),
        ((1.0, 3.0), "not one crop of 48x48 has as few pixels as a batch of 8 crops of 16x16. Received: crop_scales"),
        ((0.01,), "not one crop of 0x0"),
    ])
    def test_what_cannot_be_is_refused(self, scales, message):
        with pytest.raises(ValueError, match=message):
            scaled_crops((16, 16), 8, scales)


class TestTrainingDataset:
    def test_each_step_has_one_of_the_sizes_each_about_as_often(self, tiny_info):
        found = Counter(shapes(take(training_dataset(tiny_info, "train", 8, seed=1, **OPTIONS), 300)))
        assert set(found) == SHAPES
        assert all(70 < count < 130 for count in found.values()), found  # binomial: 100, standard deviation 8.2

    def test_the_sizes_are_those_that_were_drawn(self, tiny_info):
        crops = [(count, *size) for size, count in scaled_crops((16, 16), 8, OPTIONS["crop_scales"])]
        expected = [crops[int(drawn_scale(5, step, 3))] for step in range(4, 24)]
        assert shapes(take(training_dataset(tiny_info, "train", 8, seed=5, start_step=4, **OPTIONS), 20)) == expected

    @pytest.mark.parametrize("step", [1, 7])
    def test_starting_at_a_step_is_skipping_so_many_batches(self, tiny_info, step):
        unbroken = take(training_dataset(tiny_info, "train", 8, seed=3, **OPTIONS), step + 4)
        resumed = take(training_dataset(tiny_info, "train", 8, seed=3, start_step=step, **OPTIONS), 4)
        for batch, other in zip(unbroken[step:], resumed, strict=True):
            for one, another in zip(batch, other, strict=True):
                np.testing.assert_array_equal(one, another)

    def test_no_image_comes_twice_in_a_pass(self, tmp_path, write_dataset):
        mask = np.zeros((1, 8, 8), np.uint8)
        records = [Record(np.full((8, 8, 1), 5 * index, np.uint8), mask, str(index), str(index)) for index in range(40)]
        info = write_dataset(tmp_path / "data", {"train": records})
        # Batches of 2 crops or 8: each step has 8 of the 40 places of a pass to itself.
        options = dict(crop_size=(4, 4), crop_scales=(1.0, 0.5), seed=2)
        batches = [images[:, 0, 0, 0] for images, _ in take(training_dataset(info, "train", 2, **options), 5)]
        assert {len(batch) for batch in batches} == {2, 8}
        levels = np.rint(np.concatenate(batches) * 255).tolist()
        assert len(set(levels)) == len(levels)

    def test_seeds_draw_other_sizes(self, tiny_info):
        first, second = (shapes(take(training_dataset(tiny_info, "train", 8, seed=seed, **OPTIONS), 30))
                         for seed in (0, 1))
        assert first != second

    def test_the_largest_crop_must_fit(self, tiny_info):  # its images are 32x32
        with pytest.raises(ValueError, match="The crop of 48x48 is larger than images of split 'train'"):
            training_dataset(tiny_info, "train", 24, crop_size=(16, 16), crop_scales=(1.0, 3.0))
