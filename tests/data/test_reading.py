"""The stream of training examples is a function of seed and position; evaluation gives every image once."""

import itertools
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from tf_probunet.data.augment import Augmentation
from tf_probunet.data.reading import evaluation_dataset, training_dataset
from tf_probunet.data.writer import Record

NUM_IMAGES, NUM_GRADERS = 11, 4
EVERYTHING = Augmentation(rotation=30, mirror=True, scale=(0.8, 1.2), shear=0.1, elastic=2.0, elastic_sigma=8.0,
                          gamma=(0.7, 1.4), gamma_probability=0.5)


@pytest.fixture(scope="module")
def numbered(tmp_path_factory, write_dataset):
    """11 images, 8x8, image i of grey level i; grader r labels everything r."""
    masks = np.broadcast_to(np.arange(NUM_GRADERS, dtype=np.uint8)[:, None, None], (NUM_GRADERS, 8, 8))
    records = [Record(np.full((8, 8, 1), index, np.uint8), masks, str(index), str(index))
               for index in range(NUM_IMAGES)]
    folder = tmp_path_factory.mktemp("numbered") / "data"
    return write_dataset(folder, {"train": records}, classes=("b", "1", "2", "3"))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory, write_dataset):
    """Images of two sizes with 1 to 4 graders; grader r draws the first r + 1 rows."""
    def record(index, size, graders):
        rows, columns = np.indices(size, dtype=np.uint8)
        image = (50 * index + 3 * rows + columns).astype(np.uint8)[..., None]
        masks = np.zeros((graders, *size), np.uint8)
        for grader in range(graders):
            masks[grader, : grader + 1] = 1
        return Record(image, masks, f"image{index}", f"group{index // 2}")

    return write_dataset(tmp_path_factory.mktemp("mixed") / "data", {"val": [
        record(0, (8, 8), 1), record(1, (8, 8), 4), record(2, (10, 13), 2), record(3, (10, 13), 2),
    ]})


def take(dataset, count):
    return [(images.numpy(), segmentations.numpy()) for images, segmentations in dataset.take(count)]


def same(first, second):
    return len(first) == len(second) and all(
        np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1]) for a, b in zip(first, second, strict=True)
    )


def draws(info, count, **options):
    """(image, grader) of the first `count` examples."""
    batch = 25
    pairs = []
    for images, segmentations in take(training_dataset(info, "train", batch, **options), -(-count // batch)):
        levels = np.rint(images[:, 0, 0, 0] * 255).astype(int)
        pairs += zip(levels.tolist(), segmentations[:, 0, 0].tolist(), strict=True)
    return pairs[:count]


class TestTrainingDataset:
    def test_shapes_and_types(self, tiny_info):
        images, segmentations = training_dataset(tiny_info, "train", 3, crop_size=(16, 24)).element_spec
        assert images == tf.TensorSpec((3, 16, 24, 1), tf.float32)
        assert segmentations == tf.TensorSpec((3, 16, 24), tf.int32)
        ((images, segmentations),) = take(training_dataset(tiny_info, "train", 3), 1)
        assert images.shape == (3, 32, 32, 1) and 0 <= images.min() < 0.3 < images.max() <= 1
        assert set(np.unique(segmentations)) == {0, 1}

    def test_each_pass_is_another_permutation_of_all_images(self, numbered):
        images = [image for image, _ in draws(numbered, 20 * NUM_IMAGES)]
        passes = {tuple(images[start : start + NUM_IMAGES]) for start in range(0, len(images), NUM_IMAGES)}
        assert len(passes) == 20
        assert {tuple(sorted(one)) for one in passes} == {tuple(range(NUM_IMAGES))}
        assert Counter(one[0] for one in passes).most_common(1)[0][1] < 8  # no image is always first

    def test_every_grader_is_drawn_about_equally_often_for_every_image(self, numbered):
        num_passes = 200
        counts = Counter(draws(numbered, num_passes * NUM_IMAGES))
        assert set(counts) == set(itertools.product(range(NUM_IMAGES), range(NUM_GRADERS)))
        # Binomial(200, 1/4): mean 50, standard deviation 6.1; summed over the images 550 and 20.3
        assert all(25 < count < 75 for count in counts.values()), counts
        for grader in range(NUM_GRADERS):
            assert abs(sum(counts[image, grader] for image in range(NUM_IMAGES)) - 550) < 82

    def test_only_graders_that_an_image_has_are_drawn(self, mixed):
        seen = set()
        options = dict(crop_size=(8, 8), augmentation=Augmentation(shift=0.0))
        for images, segmentations in take(training_dataset(mixed, "val", 4, **options), 40):
            for image, segmentation in zip(images, segmentations, strict=True):
                index = int(np.rint(image[0, 0, 0] * 255)) // 50
                first_row = 0 if index < 2 else 1
                seen.add((index, first_row + int(segmentation[:, 0].sum())))
        assert seen == {(0, 1), (1, 1), (1, 2), (1, 3), (1, 4), (2, 1), (2, 2), (3, 1), (3, 2)}

    def test_the_same_seed_gives_the_same_stream_and_another_seed_another(self, tiny_info):
        def stream(seed):
            options = dict(crop_size=(24, 24), augmentation=EVERYTHING, seed=seed)
            return take(training_dataset(tiny_info, "train", 4, **options), 3)

        assert same(stream(5), stream(5))
        assert not same(stream(5), stream(6))

    def test_seeds_that_are_near_give_unrelated_streams(self, numbered):
        for first, second in ((0, 1), (1, 2)):
            pairs = zip(draws(numbered, 330, seed=first), draws(numbered, 330, seed=second), strict=True)
            assert sum(a == b for a, b in pairs) < 30  # 7.5 expected by chance

    def test_tensorflows_global_seed_does_not_matter(self, tiny_info):
        streams = []
        for seed in (1, 2):
            tf.random.set_seed(seed)
            dataset = training_dataset(tiny_info, "train", 4, crop_size=(24, 24), augmentation=EVERYTHING)
            streams.append(take(dataset, 2))
        assert same(*streams)

    @pytest.mark.parametrize("step", [1, 5, 6, 17])  # 24 images in batches of 4: a pass has 6 steps
    def test_starting_at_a_step_is_skipping_so_many_batches(self, tiny_info, step):
        options = dict(crop_size=(24, 24), augmentation=EVERYTHING, seed=3)
        unbroken = take(training_dataset(tiny_info, "train", 4, **options), step + 2)
        resumed = take(training_dataset(tiny_info, "train", 4, start_step=step, **options), 2)
        assert same(unbroken[step:], resumed)

    def test_starting_far_on_is_immediate(self, numbered):
        assert len(take(training_dataset(numbered, "train", 32, start_step=10_000_000), 1)) == 1

    def test_a_pass_may_end_within_a_batch_and_a_batch_be_larger_than_the_data(self, numbered):
        ((images, _),) = take(training_dataset(numbered, "train", 3 * NUM_IMAGES), 1)
        assert Counter(np.rint(images[:, 0, 0, 0] * 255).astype(int).tolist()) == {i: 3 for i in range(NUM_IMAGES)}


class TestEvaluationDataset:
    def test_shapes_and_types(self, tiny_info):
        dataset = evaluation_dataset(tiny_info, "val", 3, crop_size=(16, 24))
        assert dataset.element_spec == {
            "image": tf.TensorSpec((None, 16, 24, 1), tf.float32),
            "segmentations": tf.TensorSpec((None, None, 16, 24), tf.int32),
            "grader_weights": tf.TensorSpec((None, None), tf.float32),
            "source_id": tf.TensorSpec((None,), tf.string),
            "group": tf.TensorSpec((None,), tf.string),
        }
        assert int(dataset.cardinality()) == 3
        assert [len(batch["image"]) for batch in dataset] == [3, 3, 2]

    def test_every_image_once_in_order_with_all_its_graders(self, tiny_info):
        batches = list(evaluation_dataset(tiny_info, "train", 7))
        names = [name.decode() for batch in batches for name in batch["source_id"].numpy()]
        groups = [name.decode() for batch in batches for name in batch["group"].numpy()]
        assert names == [f"patient{seed // 2:02d}/{seed:03d}" for seed in range(24)]
        assert groups == [name.split("/")[0] for name in names]
        assert all(batch["segmentations"].shape[1:] == (4, 32, 32) for batch in batches)
        assert all(np.all(batch["grader_weights"] == 0.25) for batch in batches)

    def test_it_is_the_same_each_time(self, tiny_info):
        dataset = evaluation_dataset(tiny_info, "val", 8)
        (first,), (second,) = list(dataset), list(dataset)
        for key in first:
            np.testing.assert_array_equal(first[key].numpy(), second[key].numpy())

    def test_graders_are_padded_with_weight_zero_and_the_ignore_label(self, mixed):
        first, second = evaluation_dataset(mixed, "val", 2, crop_size=(8, 8))
        np.testing.assert_array_equal(first["grader_weights"], [[1, 0, 0, 0], [0.25] * 4])
        np.testing.assert_array_equal(second["grader_weights"], [[0.5, 0.5], [0.5, 0.5]])
        segmentations = first["segmentations"].numpy()
        assert np.all(segmentations[0, 1:] == 255)
        np.testing.assert_array_equal(segmentations[0, 0].sum(axis=1), [8] + [0] * 7)
        np.testing.assert_array_equal(segmentations[1, :, :, 0].sum(axis=1), [1, 2, 3, 4])
        assert np.all(first["grader_weights"].numpy().sum(axis=1) == 1)

    def test_the_crop_is_central(self, mixed):
        _, batch = evaluation_dataset(mixed, "val", 2, crop_size=(4, 5))
        rows, columns = np.indices((10, 13))
        whole = 100 + 3 * rows + columns
        np.testing.assert_allclose(batch["image"][0, ..., 0] * 255, whole[3:7, 4:9], atol=1e-4)
        _, batch = evaluation_dataset(mixed, "val", 2, crop_size=(8, 8))
        drawn_rows = batch["segmentations"][0, :, :, 0].numpy().sum(axis=1)
        np.testing.assert_array_equal(drawn_rows, [0, 1])  # of 1 and 2 drawn rows the first is cut off

    @pytest.mark.parametrize("limit", [1, 2, 7, 23, 24, 100])
    def test_a_limit_is_spread_over_the_split(self, tiny_info, limit):
        dataset = evaluation_dataset(tiny_info, "train", 5, limit=limit)
        numbers = [int(name[-3:]) for batch in dataset for name in batch["source_id"].numpy()]
        count = min(limit, 24)
        assert len(numbers) == count and int(dataset.cardinality()) == -(-count // 5)
        steps = np.diff([*numbers, 24])
        assert numbers[0] == 0 and steps.min() >= 24 // count and steps.max() <= -(-24 // count)


class TestErrors:
    @pytest.mark.parametrize("make", [training_dataset, evaluation_dataset])
    @pytest.mark.parametrize("split, batch_size, options, message", [
        ("tset", 4, {}, "No split 'tset' in .*It has: train, val"),
        ("val", 4, {"crop_size": (33, 32)}, "crop of 33x32 is larger than images of split 'val'.*32x32. Choose a crop"),
        ("val", 4, {"crop_size": (32, 40)}, "crop of 32x40 is larger"),
        ("val", 4, {"crop_size": (0, 8)}, "crop_height must be at least 1. Received: 0"),
        ("val", 0, {}, "batch_size must be at least 1. Received: 0"),
    ])
    def test_of_both(self, tiny_info, make, split, batch_size, options, message):
        with pytest.raises(ValueError, match=message):
            make(tiny_info, split, batch_size, **options)

    @pytest.mark.parametrize("make", [training_dataset, evaluation_dataset])
    def test_images_that_differ_in_size(self, mixed, make):
        with pytest.raises(ValueError, match="'val' in .* differ in size: pass a crop_size"):
            make(mixed, "val", 2)
        with pytest.raises(ValueError, match="crop of 9x9 is larger than images .*8x8"):
            make(mixed, "val", 2, crop_size=(9, 9))

    def test_of_one(self, tiny_info):
        with pytest.raises(ValueError, match="limit must be at least 1. Received: 0"):
            evaluation_dataset(tiny_info, "val", 4, limit=0)
        with pytest.raises(ValueError, match="start_step must be at least 0. Received: -1"):
            training_dataset(tiny_info, "train", 4, start_step=-1)
