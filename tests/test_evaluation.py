"""Evaluation: figures from known samplers, subsets, and text."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tf_probunet.data.dataset import load_info
from tf_probunet.data.reading import evaluation_dataset
from tf_probunet.data.writer import DatasetWriter, Record
from tf_probunet.evaluation import Evaluation, class_probability, evaluate, example_cases, table
from tf_probunet.evaluation_measures import draw_graders, measure_batch, measure_reconstructions, summarize
from tf_probunet.metrics import (
    bootstrap_interval,
    calibration_error,
    energy_distance,
    matched_iou,
    presence_disagreement_auc,
    reconstruction_iou,
    reliability_bins,
    variance_error_correlation,
)

SIZE = 16


class ReplayingSegmenter:
    """Draws the graders' own segmentations at random: the perfect sampler, recognised by the image's mean."""

    num_classes, ignore_label, num_hypotheses = 2, 255, None

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
            assert low <= distance["floor"] <= high, (name, count, distance)
    distances = [distance["mean"] for distance in result.summary()["images"]["all"]["energy_distance"].values()]
    assert distances == sorted(distances, reverse=True) and distances[0] > 4 * distances[-1]


def test_sixteen_samples_equal_the_plain_metric(data, perfect, result):
    expected = []
    for index, batch in enumerate(evaluation_dataset(data, "val", 7)):
        samples = np.argmax(perfect.sample(batch["image"], 16, seed=(0, index)), -1)
        expected.append(energy_distance(samples, batch["segmentations"].numpy(), 2).energy_distance)
    np.testing.assert_allclose(result.energy_distance[16], np.concatenate(expected), atol=1e-12)


class FewHypotheses(ReplayingSegmenter):
    """An ensemble of four, whose members draw what graders of other images drew."""

    num_hypotheses = 4

    def sample(self, images, num_samples, seed):
        members = np.random.default_rng(0).permutation(np.concatenate(list(self.answers.values())))[:4]
        order = np.random.default_rng(seed).permutation(4)
        order = np.resize(order, num_samples)  # none comes again before all were there
        return tf.one_hot(np.broadcast_to(members[order], (len(images), num_samples, SIZE, SIZE)), 2) * 10.0


def test_no_hypothesis_counts_twice_before_all_were_there(data, perfect):
    """An ensemble of 4 of which 16 samples were drawn is at 4 samples what it is if 4 are asked for."""
    model = FewHypotheses(perfect.answers)
    many = evaluate(model, data, num_samples=16, batch_size=7)
    for count in (4, 8):  # all, and each twice
        asked = evaluate(model, data, num_samples=count, batch_size=7)
        np.testing.assert_allclose(many.energy_distance[count], asked.energy_distance[count], atol=1e-12)
        np.testing.assert_allclose(many.matched_iou[count], asked.matched_iou[count], atol=1e-12)
    alone = np.argmax(model.sample(np.zeros((1, SIZE, SIZE, 1)), 4, 0), -1)[0]
    expected = []
    for batch in evaluation_dataset(data, "val", 7):
        graders = batch["segmentations"].numpy()
        expected.append(np.mean([
            energy_distance(np.broadcast_to(member, (len(graders), 1, SIZE, SIZE)), graders, 2).energy_distance
            for member in alone], axis=0))
    np.testing.assert_allclose(many.energy_distance[1], np.concatenate(expected), atol=1e-12)


def test_every_measure_is_that_of_its_function(data, perfect, result):
    columns = {"matched_iou": [], "calibration": [], "variance_error_correlation": []}
    for index, batch in enumerate(evaluation_dataset(data, "val", 7)):
        logits = perfect.sample(batch["image"], 16, seed=(0, index))
        graders = batch["segmentations"].numpy()
        probabilities = tf.nn.softmax(logits).numpy()
        columns["matched_iou"].append(matched_iou(np.argmax(logits, -1), graders, 2))
        columns["calibration"].append(reliability_bins(probabilities.mean(axis=1), graders, classes=(1,)))
        columns["variance_error_correlation"].append(variance_error_correlation(probabilities, graders))
    for name, expected in columns.items():
        found = result.matched_iou[16] if name == "matched_iou" else getattr(result, name)
        np.testing.assert_allclose(found, np.concatenate(expected), atol=2e-5, err_msg=name)
    assert np.isnan(result.reconstruction_iou).all()  # the perfect sampler has no posterior
    assert result.mode_counts is None and result.pixel_flip_rates is None


def test_a_perfect_sampler_is_good_by_every_measure(result):
    figures = result.summary()["images"]["all"]
    matched = [figures["matched_iou"][count]["mean"] for count in ("1", "4", "8", "16")]
    assert matched == sorted(matched) and matched[-1] > 0.85
    assert figures["variance_error_correlation"]["mean"] > 0.85
    assert figures["calibration"]["expected_error"]["value"] < 0.03
    assert figures["presence_auc"]["value"] > 0.999 and figures["reconstruction_iou"] is None
    text = table(result.summary())
    assert "calibration error 0.0" in text and "ROC-AUC 1.000 (1.000 to 1.000)" in text and "reconstr" not in text


def test_summary_figures_are_those_of_their_functions(result):
    figures = result.summary()["images"]["presence_disagreed"]
    chosen = result.disagreed
    interval = bootstrap_interval(result.matched_iou[4][chosen], result.groups[chosen])
    assert figures["matched_iou"]["4"] == {"mean": result.matched_iou[4][chosen].mean(), "num_images": 14,
                                           "interval_95": list(interval)}
    calibration = figures["calibration"]["expected_error"]
    assert calibration["value"] == pytest.approx(calibration_error(result.calibration[chosen].sum(axis=0)))
    assert calibration["interval_95"][0] <= calibration["value"] <= calibration["interval_95"][1]
    assert figures["presence_auc"] is None  # all of them are disputed
    auc = result.summary()["images"]["all"]["presence_auc"]
    assert auc["value"] == pytest.approx(presence_disagreement_auc(result.sample_presence, result.disagreed))


def test_saved_and_loaded_again(result, tmp_path):
    assert result.save(tmp_path / "run") == tmp_path / "run" / "evaluation.npz"
    loaded = Evaluation.load(tmp_path / "run")
    assert loaded.summary() == result.summary() and loaded.settings == result.settings
    np.testing.assert_array_equal(loaded.calibration, result.calibration)
    assert loaded.groups.tolist() == result.groups.tolist() and loaded.mode_counts is None
    result.save(tmp_path / "other.npz")
    assert Evaluation.load(tmp_path / "other.npz").matched_iou.keys() == {1, 4, 8, 16}
    with pytest.raises(FileNotFoundError, match="evaluation.npz is not there"):
        Evaluation.load(tmp_path)
    np.savez(tmp_path / "wrong.npz", cross=result.cross, rubbish=1)
    with pytest.raises(ValueError, match="Missing: calibration, .*unknown: rubbish. Evaluate again"):
        Evaluation.load(tmp_path / "wrong.npz")


def test_summarize_in_parts_is_the_whole(monkeypatch):
    logits = np.random.default_rng(0).normal(size=(5, 3, 4, 4, 6)).astype(np.float32) * 3
    samples, means, logarithms = summarize(logits)
    probabilities = tf.nn.softmax(logits.astype(np.float64)).numpy()
    np.testing.assert_array_equal(samples, logits.argmax(-1))
    np.testing.assert_allclose(means, probabilities.mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(logarithms, np.log(probabilities + 1e-8).mean(axis=1), atol=1e-4)
    monkeypatch.setattr("tf_probunet.evaluation_measures.LOGITS_AT_ONCE", 600)
    for found, expected in zip(summarize(logits), (samples, means, logarithms), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)


class RememberingModel:
    """A latent model whose latent is the segmentation's foreground share, and whose decoder draws so many pixels."""

    num_classes, ignore_label, num_hypotheses = 2, 255, None

    def posterior(self, images, segmentations):
        share = tf.reduce_mean(tf.cast(segmentations == 1, tf.float32), axis=(1, 2))
        return SimpleNamespace(mean=lambda: share[:, None])

    def features(self, images):
        return images[..., 0]

    def decode(self, features, latents):
        size = features.shape[1] * features.shape[2]
        place = tf.reshape(tf.range(size, dtype=tf.float32), (1, 1, *features.shape[1:]))
        drawn = place < latents[..., None] * size - 0.5
        return tf.one_hot(tf.cast(drawn, tf.int32), 2)


class TestReconstruction:
    def test_every_grader_is_reconstructed(self):
        rng = np.random.default_rng(0)
        graders = (rng.random((3, 4, 4, 4)) < 0.3).astype(np.uint8)
        weights = rng.dirichlet([1] * 4, 3)
        drawn = np.array([[np.arange(16).reshape(4, 4) < one.sum() for one in image] for image in graders])
        expected = reconstruction_iou(drawn.astype(int), graders, 2, grader_weights=weights)
        found = measure_reconstructions(RememberingModel(), np.zeros((3, 4, 4, 1)), graders, weights, None, (), 0)
        assert list(found) == ["reconstruction_iou"]
        np.testing.assert_allclose(found["reconstruction_iou"], expected, atol=1e-12)

    def test_graders_are_drawn_by_their_weights_and_padding_never(self):
        weights = np.concatenate([np.random.default_rng(1).dirichlet([1] * 7), [0.0]])
        drawn = draw_graders(np.tile(weights, (4000, 1)), 4, (0, 1))
        assert drawn.shape == (4000, 4)
        shares = np.bincount(drawn.ravel(), minlength=8) / drawn.size
        assert shares[7] == 0
        np.testing.assert_allclose(shares, weights, atol=0.015)
        assert len(np.unique(draw_graders(np.full((1, 4), 0.25), 4, 0))) == 4  # none twice without need

    def test_a_real_model_is_asked_as_reconstruct_says(self, data):
        from tf_probunet.models import ProbabilisticUNet

        model = ProbabilisticUNet(channels=(4, 8), latent_dim=2, combiner_channels=(4,), initializer="he_normal")
        batch = next(iter(evaluation_dataset(data, "val", 5)))
        graders = batch["segmentations"].numpy()
        found = measure_batch(model, batch, model.sample(batch["image"], 2), [1, 2], (), 0)["reconstruction_iou"]
        single = [np.argmax(model.reconstruct(batch["image"], graders[:, grader]), -1) for grader in range(4)]
        np.testing.assert_allclose(found, reconstruction_iou(np.stack(single, 1), graders, 2), atol=1e-12)


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
