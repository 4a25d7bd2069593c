"""Evaluation: figures from known samplers, subsets, and text."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tf_probunet.callbacks import Validation
from tf_probunet.data.dataset import ImageEncoding, load_info
from tf_probunet.data.flips import CITYSCAPES_FLIPS, apply_flips, draw_flips
from tf_probunet.data.reading import evaluation_dataset
from tf_probunet.data.writer import DatasetWriter, Record
from tf_probunet.evaluation import class_probability, evaluate, example_cases, table
from tf_probunet.metrics import energy_distance

SIZE = 16


class ReplayingSegmenter:
    """Draws the graders' own segmentations at random: the perfect sampler, recognised by the image's mean."""

    num_classes, ignore_label = 2, 255

    def __init__(self, answers):
        self.answers = answers  # key (rounded image mean) to [R, H, W]

    def sample(self, images, num_samples, seed):
        rng = np.random.default_rng(seed)
        drawn = []
        for image in np.asarray(images):
            graders = self.answers[round(float(image.mean()), 3)]
            drawn.append(graders[rng.integers(len(graders), size=num_samples)])
        return tf.one_hot(np.stack(drawn), 2) * 10.0  # logits [B, M, H, W, 2]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """40 images of 10 patients, 4 graders; a third of the images with disagreement on presence."""
    folder = tmp_path_factory.mktemp("evaluation") / "data"
    rng = np.random.default_rng(0)
    with DatasetWriter(folder, classes=("background", "lesion"), splits=("val",), source="squares", licence="CC0",
                       preparation={}) as writer:
        for index in range(40):
            graders = np.zeros((4, SIZE, SIZE), np.uint8)
            for grader in range(4):
                if index % 3 or grader < 2:
                    top, left = rng.integers(0, 6, 2)
                    graders[grader, top : top + 8, left : left + 8] = 1
            image = np.full((SIZE, SIZE, 1), index * 5, np.uint8)
            writer.write("val", Record(image, graders, source_id=f"{index}", group=f"patient {index % 10}"))
    return load_info(folder)


@pytest.fixture(scope="module")
def perfect(data):
    answers = {}
    for batch in evaluation_dataset(data, "val", 1):
        answers[round(float(batch["image"][0].numpy().mean()), 3)] = batch["segmentations"][0].numpy()
    return ReplayingSegmenter(answers)


@pytest.fixture(scope="module")
def result(data, perfect):
    return evaluate(perfect, data, num_samples=16, batch_size=7)


def test_perfect_sampler_lands_on_its_floor(result):
    for name in ("all", "presence_disagreed"):
        for count, distance in result.summary()["images"][name]["energy_distance"].items():
            low, high = distance["interval_95"]
            assert low - 0.02 <= distance["floor"] <= high + 0.02, (name, count, distance)
    distances = [distance["mean"] for distance in result.summary()["images"]["all"]["energy_distance"].values()]
    assert distances == sorted(distances, reverse=True) and distances[0] > 4 * distances[-1]


def test_sixteen_samples_equal_the_plain_metric(data, perfect, result):
    expected = []
    for index, batch in enumerate(evaluation_dataset(data, "val", 7)):
        samples = np.argmax(perfect.sample(batch["image"], 16, seed=(0, index)), -1)
        expected.append(energy_distance(samples, batch["segmentations"].numpy(), 2).energy_distance)
    np.testing.assert_allclose(result.energy_distance[16], np.concatenate(expected), atol=1e-12)


def test_disagreement_and_presence_are_counted(result):
    assert result.disagreed.sum() == 14  # images 0, 3, .. 39
    np.testing.assert_array_equal(np.unique(result.grader_presence), [0.5, 1.0])
    figures = result.summary()["images"]["presence_disagreed"]
    assert (figures["num_images"], figures["num_groups"]) == (14, 10)
    assert figures["both_empty_and_filled_samples"] == 1.0  # 16 fair coins
    assert result.summary()["images"]["all"]["both_empty_and_filled_samples"] == pytest.approx(14 / 40)


def test_fewer_samples_give_fewer_figures(data, perfect):
    result = evaluate(perfect, data, num_samples=6, limit=5)
    assert list(result.energy_distance) == [1, 4, 6] and len(result.groups) == 5


def test_same_seed_same_figures_other_seed_others(data, perfect, result):
    again = evaluate(perfect, data, num_samples=16, batch_size=7)
    np.testing.assert_array_equal(again.energy_distance[4], result.energy_distance[4])
    other = evaluate(perfect, data, num_samples=16, batch_size=7, seed=1)
    assert (other.energy_distance[4] != result.energy_distance[4]).any()


def test_summary_is_json_and_table_shows_it(result):
    summary = json.loads(json.dumps(result.summary()))
    text = table(summary)
    distance = summary["images"]["all"]["energy_distance"]["16"]
    assert f"{distance['mean']:.4f}" in text and f"{distance['floor']:.4f}" in text
    assert "16x16 pixels, 16 samples" in text and "graders disagree on presence: 14 images of 10 groups" in text


def test_wrong_input(data, perfect):
    with pytest.raises(ValueError, match="num_samples must be at least 1. Received: 0"):
        evaluate(perfect, data, num_samples=0)
    with pytest.raises(ValueError, match="No split 'test'.*It has: val"):
        evaluate(perfect, data, "test")
    other = ReplayingSegmenter({})
    other.num_classes = 3
    with pytest.raises(ValueError, match="The model has 3 classes"):
        evaluate(other, data)


def test_class_probability_is_the_mean_of_softmax():
    logits = np.random.default_rng(0).normal(size=(3, 4, 5, 3)) * 50
    expected = 1 - tf.nn.softmax(logits).numpy()[..., 0].mean(0)
    np.testing.assert_allclose(class_probability(logits, range(1, 3)), expected, atol=1e-12)


def test_cases_are_spread_and_complete(data, perfect):
    cases = example_cases(perfect, data, "val", num_cases=4, num_samples=3)
    assert [case["name"] for case in cases] == ["0", "10", "20", "30"]
    assert cases[0]["samples"].shape == (3, SIZE, SIZE) and cases[0]["segmentations"].shape == (4, SIZE, SIZE)


class FlippingSegmenter:
    """Knows the unflipped classes, red being class + 1, and flips them as often as they are flipped, or never."""

    num_classes, ignore_label = 24, 255

    def __init__(self, flips):
        self.flips = flips

    def sample(self, images, num_samples, seed):
        classes = tf.cast(tf.math.rint(images[..., 0] * 255), tf.int32) - 1
        seeds = tf.reshape(tf.random.split(seed, len(images) * num_samples), (len(images), num_samples, 2))
        drawn = [
            tf.stack([apply_flips(one, self.flips, draw_flips(self.flips, each)) if self.flips else one
                      for each in image_seeds])
            for one, image_seeds in zip(classes, seeds, strict=True)
        ]
        return tf.one_hot(tf.stack(drawn), 24) * 10.0


@pytest.fixture(scope="module")
def streets(tmp_path_factory, write_dataset):
    """30 images with all five switchable classes, one that is not, and ignored pixels, at places of their own."""
    rng = np.random.default_rng(0)
    records = []
    for index in range(30):
        truth = rng.choice([flip.source for flip in CITYSCAPES_FLIPS] + [2], (8, 8)).astype(np.uint8)
        truth[0, :6] = [0, 1, 8, 11, 13, 2]
        image = np.repeat(truth[..., None] + 1, 3, axis=2)  # what the segmenter sees, under ignored pixels too
        truth[7, rng.permutation(8)[:3]] = 255
        records.append(Record(image, truth[None], f"{index}", f"city {index % 3}"))
    classes = [f"class {label}" for label in range(24)]
    folder = tmp_path_factory.mktemp("streets") / "data"
    return write_dataset(folder, {"val": records}, classes=classes, flips=CITYSCAPES_FLIPS,
                         image=ImageEncoding(channels=3))


class TestFlips:
    def test_a_perfect_segmenter_that_never_flips(self, streets):
        result = evaluate(FlippingSegmenter(()), streets, num_samples=16, batch_size=8)
        np.testing.assert_allclose(result.grader_diversity, 0.57982, atol=5e-6)
        for distances in result.energy_distance.values():
            np.testing.assert_allclose(distances, 0.3906, atol=5e-5)
        assert not result.disagreed.any() and list(result.summary()["images"]) == ["all"]
        figures = result.summary()["images"]["all"]["energy_distance"]
        floors = [round(figures[count]["floor"], 4) for count in ("1", "4", "8", "16")]
        assert floors == [0.5798, 0.145, 0.0725, 0.0362]

    def test_a_perfect_sampler_lands_on_its_floor(self, streets):
        result = evaluate(FlippingSegmenter(CITYSCAPES_FLIPS), streets, num_samples=16, batch_size=8)
        assert result.cross.mean() == pytest.approx(0.57982, abs=0.03)
        assert result.energy_distance[16].mean() == pytest.approx(0.0362, abs=0.01)

    def test_the_table_names_the_scored_classes_and_no_lesion(self, streets):
        text = table(evaluate(FlippingSegmenter(()), streets, num_samples=1, limit=3).summary())
        assert "Scored over class 0, class 1, class 8, class 11, class 13, class 19, " in text and "lesion" not in text

    def test_cases_show_the_likeliest_modes_and_where_a_flip_is(self, streets):
        case, _ = example_cases(FlippingSegmenter(CITYSCAPES_FLIPS), streets, "val", num_cases=2, num_samples=4)
        assert case["segmentations"].shape == (4, 8, 8)
        assert set(np.unique(case["segmentations"][0])) == {0, 1, 2, 8, 11, 13, 255}  # unflipped: mode 0 of 32
        flipped = (case["samples"] >= 19).mean(0)
        assert np.abs(case["probability"] - flipped).max() < 0.01 and flipped.max() > 0

    def test_validation_while_training_scores_the_same_classes(self, streets):
        validation = Validation(evaluation_dataset(streets, "val", 8), 2, 0, streets.scored_classes)
        model = FlippingSegmenter(())
        model.optimizer = SimpleNamespace(use_ema=False)
        model.evaluate = lambda *_, **__: {}
        validation.set_model(model)
        logs = {}
        validation.on_epoch_end(0, logs)
        assert logs["val_energy_distance"] == pytest.approx(0.3906, abs=5e-5)
