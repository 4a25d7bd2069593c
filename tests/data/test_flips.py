"""Flips rename the classes they should, as often as they should, and nothing else; evaluation gets every mode."""

import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tf_probunet.data.dataset import load_info
from tf_probunet.data.flips import (
    CITYSCAPES_FLIPS,
    Flip,
    apply_flips,
    flips_from_json,
    flips_to_json,
    mode_flips,
    mode_probabilities,
    scored_classes,
)
from tf_probunet.data.format_checks import check_flips
from tf_probunet.data.reading import evaluation_dataset, training_dataset
from tf_probunet.data.verify import verify
from tf_probunet.data.writer import Record

CLASSES = ("road", "car", "tree", "road 2", "car 2")
FLIPS = (Flip(0, 3, 0.25), Flip(1, 4, 0.8))
NUM_IMAGES = 7


def stored(index):
    """[2, 8, 8]: what the two graders of an image drew; stripes of all classes and of ignored pixels."""
    stripes = np.array([0, 1, 2, 255, 0, 1, 2, 2], np.uint8)
    return np.stack([np.tile(np.roll(stripes, index), (8, 1)), np.tile(np.roll(stripes, index)[:, None], (1, 8))])


def records():
    return [Record(np.full((8, 8, 1), index, np.uint8), stored(index), f"{index}", f"{index}")
            for index in range(NUM_IMAGES)]


@pytest.fixture(scope="module")
def info(tmp_path_factory, write_dataset):
    folder = tmp_path_factory.mktemp("flips") / "data"
    return write_dataset(folder, {"train": records()}, classes=CLASSES, flips=FLIPS)


@pytest.fixture(scope="module")
def stream(info):
    """The first 1400 readings: 200 of each image."""
    ((images, segmentations),) = training_dataset(info, "train", 200 * NUM_IMAGES, seed=3).take(1).as_numpy_iterator()
    return np.rint(images[:, 0, 0, 0] * 255).astype(int), segmentations


def flipped(image, segmentation):
    """Which flips happened to a reading; fails unless whole classes were renamed and all other pixels kept."""
    happened = [bool((segmentation == flip.target).any()) for flip in FLIPS]
    back = segmentation.copy()
    for flip in FLIPS:
        assert not {flip.source, flip.target} <= set(np.unique(segmentation)), "a class was flipped in part"
        back[segmentation == flip.target] = flip.source
    assert any(np.array_equal(back, grader) for grader in stored(image)), "another pixel changed"
    return happened


class TestDataset:
    def test_is_read_as_it_was_written(self, info):
        assert info.flips == FLIPS and info.num_classes == 5 and info.scored_classes == (0, 1, 3, 4)
        entries = json.loads((info.folder / "dataset.json").read_text())["flips"]
        assert entries == [{"from": "road", "to": "road 2", "probability": 0.25},
                           {"from": "car", "to": "car 2", "probability": 0.8}]
        assert info.facts()["flips"] == entries
        assert verify(info)["train"].num_segmentations == 2 * NUM_IMAGES

    def test_without_flips_nothing_is_said_of_them(self, tiny_info):
        assert "flips" not in json.loads((tiny_info.folder / "dataset.json").read_text())
        assert "flips" not in tiny_info.facts() and tiny_info.flips == () and tiny_info.scored_classes is None

    def test_an_empty_list_means_none(self, tmp_path, write_dataset):
        info = write_dataset(tmp_path / "data", {"train": records()[:1]}, classes=CLASSES, flips=[])
        path = info.folder / "dataset.json"
        content = json.loads(path.read_text())
        assert "flips" not in content
        path.write_text(json.dumps(content | {"flips": []}))
        assert load_info(info.folder) == info

    def test_stored_segmentations_hold_no_twin(self, tmp_path, write_dataset):
        record = Record(np.zeros((8, 8, 1), np.uint8), np.full((1, 8, 8), 4, np.uint8), "a", "a")
        with pytest.raises(ValueError, match=r"a: segmentations hold \[4\], to which flips lead"):
            write_dataset(tmp_path / "data", {"train": [record]}, classes=CLASSES, flips=FLIPS)
        assert list(tmp_path.iterdir()) == []
        write_dataset(tmp_path / "data", {"train": [record]}, classes=CLASSES)
        path = tmp_path / "data" / "dataset.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"flips": flips_to_json(FLIPS, CLASSES)}))
        with pytest.raises(ValueError, match=r"segmentation 0 is .* with labels \[4\]; expected .*\[0, 1, 2, 255\]"):
            verify(load_info(tmp_path / "data"))

    @pytest.mark.parametrize("entries, message", [
        ({"from": "road"}, r"flips: expected at most 8 flips. Received: \"{'from': 'road'}\""),
        ([{"from": "road", "to": "car"}], r"flips\[0\]: expected an object with from, to and probability"),
        ([{"from": "road", "to": "bus", "probability": 0.5}], r"flips\[0\].to: expected one of the classes road, car"),
        ([{"from": 0, "to": "car", "probability": 0.5}], r"flips\[0\].from: expected one of the classes"),
        ([{"from": "road", "to": "road", "probability": 0.5}], "expected two different classes"),
        ([{"from": "road", "to": "car 2", "probability": 1.5}], r"flips\[0\].probability: expected a number of 0 to 1"),
        ([{"from": "road", "to": "car 2", "probability": float("nan")}], "probability: expected a number of 0 to 1"),
        ([{"from": "road", "to": "car 2", "probability": True}], "probability: expected a number of 0 to 1"),
        ([{"from": "road", "to": "car 2", "probability": 0.5}, {"from": "road", "to": "road 2", "probability": 0.5}],
         "flips.from: expected each class in no more than one flip's 'from'. Received: 'road'"),
        ([{"from": "road", "to": "car 2", "probability": 0.5}, {"from": "car", "to": "car 2", "probability": 0.5}],
         "flips.to: expected each class in no more than one flip's 'to'. Received: 'car 2'"),
        ([{"from": "road", "to": "car", "probability": 0.5}, {"from": "car", "to": "car 2", "probability": 0.5}],
         "no class that is flipped and flipped to; give each its own twin. Received: 'car'"),
    ])
    def test_what_contradicts_itself_is_refused(self, info, tmp_path, entries, message):
        (tmp_path / "data").mkdir()
        content = json.loads((info.folder / "dataset.json").read_text()) | {"flips": entries}
        (tmp_path / "data" / "dataset.json").write_text(json.dumps(content))
        with pytest.raises(ValueError, match=f"(?s)dataset.json is damaged or was edited: .*{message}"):
            load_info(tmp_path / "data")

    @pytest.mark.parametrize("flip", [Flip(0, 5, 0.5), Flip(-1, 3, 0.5), Flip(0.0, 3, 0.5), Flip(True, 3, 0.5)])
    def test_the_writer_refuses_what_is_no_class(self, tmp_path, write_dataset, flip):
        with pytest.raises(ValueError, match="of a flip must be a class, 0 to 4. Received: Flip"):
            write_dataset(tmp_path / "data", {"train": records()[:1]}, classes=CLASSES, flips=[flip])
        assert list(tmp_path.iterdir()) == []

    def test_two_classes_of_one_name_cannot_be_flipped(self, tmp_path, write_dataset):
        with pytest.raises(ValueError, match="classes: expected names that differ"):
            write_dataset(tmp_path / "data", {"train": records()[:1]}, classes=("a", "b", "b", "c"), flips=FLIPS[:1])


@given(st.data())
def test_a_table_survives_json(data):
    names = data.draw(st.lists(st.text(min_size=1), min_size=4, max_size=40, unique=True))
    labels = data.draw(st.permutations(range(len(names))))
    count = data.draw(st.integers(0, min(8, len(names) // 2)))
    flips = tuple(Flip(source, target, data.draw(st.floats(0, 1)))
                  for source, target in zip(labels[:count], labels[count : 2 * count], strict=True))
    entries = json.loads(json.dumps(flips_to_json(flips, names)))
    check_flips(entries, names)
    assert flips_from_json(entries, names) == flips
    assert scored_classes(flips) == (tuple(sorted(labels[: 2 * count])) or None)
    probabilities = mode_probabilities(flips)
    assert probabilities.shape == (2**count,) and probabilities.sum() == pytest.approx(1)
    # Summed over the modes in which it happens, each flip has its own probability back.
    np.testing.assert_allclose(probabilities @ mode_flips(flips), [flip.probability for flip in flips], atol=1e-12)


class TestTraining:
    def test_flips_happen_as_often_as_they_should_and_change_nothing_else(self, stream):
        images, segmentations = stream
        happened = np.array([flipped(image, one) for image, one in zip(images, segmentations, strict=True)])
        number = len(happened)
        expected = np.array([flip.probability for flip in FLIPS])
        assert (np.abs(happened.mean(0) - expected) < 4 * np.sqrt(expected * (1 - expected) / number)).all()
        both = expected.prod()  # independent of each other
        assert abs(happened.all(1).mean() - both) < 4 * np.sqrt(both * (1 - both) / number)
        for image in range(NUM_IMAGES):  # and drawn anew for the same image
            shares = happened[images == image].mean(0)
            assert (np.abs(shares - expected) < 4.5 * np.sqrt(expected * (1 - expected) / 200)).all()

    def test_all_else_is_as_it_is_without_flips(self, stream, tmp_path, write_dataset):
        plain = write_dataset(tmp_path / "data", {"train": records()}, classes=CLASSES)
        images, segmentations = next(training_dataset(plain, "train", 50, seed=3).as_numpy_iterator())
        np.testing.assert_array_equal(np.rint(images[:, 0, 0, 0] * 255), stream[0][:50])
        back = stream[1][:50].copy()
        for flip in FLIPS:
            back[back == flip.target] = flip.source
        np.testing.assert_array_equal(back, segmentations)  # the same grader of the same image

    def test_same_seed_same_flips_and_a_resumed_stream_goes_on(self, info, stream):
        resumed = training_dataset(info, "train", 10, seed=3, start_step=4).take(2).as_numpy_iterator()
        found = np.concatenate([segmentations for _, segmentations in resumed])
        np.testing.assert_array_equal(found, stream[1][40:60])
        _, other = next(training_dataset(info, "train", 100, seed=4).as_numpy_iterator())
        shares = [(np.isin(one, (3, 4)).any((1, 2))).mean() for one in (other, stream[1][:100])]
        assert not np.array_equal(other, stream[1][:100]) and all(0.6 < share < 1 for share in shares)


class TestEvaluation:
    def test_every_mode_of_every_grader_with_its_probability(self, info):
        (batch,) = evaluation_dataset(info, "train", NUM_IMAGES, cache=True).as_numpy_iterator()
        assert batch["segmentations"].shape == (NUM_IMAGES, 2 * 4, 8, 8)
        expected = np.array([0.75 * 0.2, 0.25 * 0.2, 0.75 * 0.8, 0.25 * 0.8])  # bit 0: road, bit 1: car
        for index in range(NUM_IMAGES):
            np.testing.assert_allclose(batch["grader_weights"][index], np.tile(expected / 2, 2), rtol=1e-6)
            for grader, drawn in enumerate(stored(index)):
                for mode, (road, car) in enumerate([(0, 0), (1, 0), (0, 1), (1, 1)]):
                    wanted = np.where((drawn == 0) & bool(road), 3, np.where((drawn == 1) & bool(car), 4, drawn))
                    np.testing.assert_array_equal(batch["segmentations"][index, 4 * grader + mode], wanted)

    def test_the_second_pass_over_cached_images_is_the_first(self, info):
        dataset = evaluation_dataset(info, "train", 3, crop_size=(4, 6), cache=True)
        first, second = (list(dataset.as_numpy_iterator()) for _ in range(2))
        assert len(first) == len(second) == 3 and first[0]["segmentations"].shape == (3, 8, 4, 6)
        for one, other in zip(first, second, strict=True):
            for name in one:
                np.testing.assert_array_equal(one[name], other[name])

    def test_graders_of_the_loss_come_up_as_often_as_modes_are_probable(self, info):
        from tf_probunet.callbacks.validation import one_grader_an_image

        weights = np.tile(mode_probabilities(CITYSCAPES_FLIPS).astype(np.float32), (8, 1))
        weights = np.concatenate([weights, np.zeros((8, 3), np.float32)], 1)  # padding
        batch = {"image": np.zeros((8, 1)), "segmentations": np.tile(np.arange(35), (8, 1)), "grader_weights": weights}
        drawn = np.concatenate([one_grader_an_image(tf.constant(index, tf.int64), batch)[1] for index in range(4)])
        assert drawn.max() < 32  # no padding
        happened = mode_flips(CITYSCAPES_FLIPS)[drawn].mean(0)
        np.testing.assert_allclose(happened, [flip.probability for flip in CITYSCAPES_FLIPS], atol=0.1)


class TestCityscapesTable:
    def test_mode_probabilities_are_those_of_the_paper(self):
        probabilities = mode_probabilities(CITYSCAPES_FLIPS)
        assert len(probabilities) == 32 and probabilities.sum() == pytest.approx(1)
        assert probabilities[0] == probabilities.max() == pytest.approx(0.10877, abs=5e-6)
        assert probabilities[31] == probabilities.min() == pytest.approx(0.00473, abs=5e-6)

    def test_ten_classes_are_scored_and_twins_follow_the_nineteen(self):
        assert scored_classes(CITYSCAPES_FLIPS) == (0, 1, 8, 11, 13, 19, 20, 21, 22, 23)
        assert [flip.target for flip in CITYSCAPES_FLIPS] == [19, 20, 21, 22, 23]

    def test_every_label_but_the_flipped_stays(self):
        everything = tf.cast(tf.range(256), tf.uint8)
        modes = apply_flips(everything, CITYSCAPES_FLIPS, mode_flips(CITYSCAPES_FLIPS)).numpy()
        assert modes.dtype == np.uint8 and modes.shape == (32, 256)
        sources = [flip.source for flip in CITYSCAPES_FLIPS]
        others = np.setdiff1d(np.arange(256), sources)
        np.testing.assert_array_equal(modes[:, others], np.tile(others, (32, 1)))
        for number, flip in enumerate(CITYSCAPES_FLIPS):
            happened = mode_flips(CITYSCAPES_FLIPS)[:, number]
            np.testing.assert_array_equal(modes[:, flip.source], np.where(happened, flip.target, flip.source))
