"""Evaluation of data with label flips: perfect samplers, modes, and what comes back from the posterior."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tf_probunet.callbacks import Validation
from tf_probunet.data.dataset import ImageEncoding
from tf_probunet.data.flips import CITYSCAPES_FLIPS, all_modes, apply_flips, draw_flips
from tf_probunet.data.reading import evaluation_dataset
from tf_probunet.data.writer import Record
from tf_probunet.evaluation import Evaluation, evaluate, example_cases, table
from tf_probunet.evaluation_measures import measure_reconstructions


class FlippingSegmenter:
    """Knows the unflipped classes, red being class + 1, and flips them as often as they are flipped, or never."""

    num_classes, ignore_label, num_hypotheses = 24, 255, None

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


class FlipRememberingSegmenter(FlippingSegmenter):
    """Has a posterior, whose latents carry some of the flips of the segmentation; of all others it shows `default`."""

    def __init__(self, carried, default=0.0):
        super().__init__(CITYSCAPES_FLIPS)
        self.carried, self.default = carried, default

    def posterior(self, images, segmentations):
        flipped = [tf.reduce_any(segmentations == flip.target, axis=(1, 2)) for flip in self.flips]
        latents = [tf.cast(one, tf.float32) if place in self.carried else tf.fill(tf.shape(one), self.default)
                   for place, one in enumerate(flipped)]
        return SimpleNamespace(mean=lambda: tf.stack(latents, axis=1))

    def features(self, images):
        return tf.cast(tf.math.rint(images[..., 0] * 255), tf.int32) - 1

    def decode(self, features, latents):
        drawn = [tf.stack([apply_flips(one, self.flips, latent > 0.5) for latent in of_image])
                 for one, of_image in zip(features, latents, strict=True)]
        return tf.one_hot(tf.stack(drawn), 24)


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


def test_a_perfect_segmenter_that_never_flips(streets):
    result = evaluate(FlippingSegmenter(()), streets, num_samples=16, batch_size=8)
    np.testing.assert_allclose(result.grader_diversity, 0.57982, atol=5e-6)
    for distances in result.energy_distance.values():
        np.testing.assert_allclose(distances, 0.3906, atol=5e-5)
    assert not result.disagreed.any() and list(result.summary()["images"]) == ["all"]
    figures = result.summary()["images"]["all"]["energy_distance"]
    floors = [round(figures[count]["floor"], 4) for count in ("1", "4", "8", "16")]
    assert floors == [0.5798, 0.145, 0.0725, 0.0362]


def test_a_perfect_sampler_lands_on_its_floor(streets):
    result = evaluate(FlippingSegmenter(CITYSCAPES_FLIPS), streets, num_samples=16, batch_size=8)
    assert result.cross.mean() == pytest.approx(0.57982, abs=0.03)
    assert result.energy_distance[16].mean() == pytest.approx(0.0362, abs=0.01)


def test_modes_of_a_perfect_sampler(streets):
    result = evaluate(FlippingSegmenter(CITYSCAPES_FLIPS), streets, num_samples=16, batch_size=8)
    figures = result.summary()["images"]["all"]
    for rule in ("first", "split", "pixel_vote"):
        for against in ("against_probabilities", "against_truth"):  # the same, since no class is absent
            found = figures["modes"][rule][against]
            assert found["total_variation"] < 1.5 * found["expected_total_variation"] < 0.15, (rule, against)
            assert found["log_correlation"] > 0.9 and found["num_hit"] >= 30
            assert found["interval_95"][0] <= found["total_variation"] + 0.05
        np.testing.assert_allclose(np.sum(figures["modes"][rule]["frequencies"]), 1)
        without = figures["modes"][rule]["total_variation_without"]
        assert len(without) == 5 and max(without) < figures["modes"][rule]["against_truth"]["total_variation"]
    for rate, flip in zip(figures["pixel_flip_rates"], CITYSCAPES_FLIPS, strict=True):
        assert rate["rate"] == pytest.approx(flip.probability, abs=0.07) and rate["met"] == 1.0
    np.testing.assert_array_equal(result.mode_counts.sum(axis=1), 16)
    np.testing.assert_allclose(result.mode_truth, [result.mode_weights] * 30, atol=1e-6)
    assert result.pixel_flip_rates.shape == (30, 5)
    assert np.isnan(result.reconstruction_iou).all() and 0.5 < result.matched_iou[16].mean() < 1


@pytest.mark.parametrize("default", [0.0, 1.0])
def test_flips_that_the_latents_carry_come_back(streets, default):
    result = evaluate(FlipRememberingSegmenter((1, 4), default), streets, num_samples=1, batch_size=8)
    flips = result.summary()["images"]["all"]["pixel_flip_rates"]
    assert [flip["recovered"] for flip in flips] == [0, 1, 0, 0, 1]
    np.testing.assert_array_equal(result.flip_recovery[..., 0].sum(axis=2), 4)  # modes an image
    assert "flips that come back from the posterior (0 none, 1 all): class 1 0.00, class 11 1.00, " in table(
        result.summary())


def test_flips_are_looked_for_where_their_own_grader_sees_the_class():
    seen = np.array([[0, 1, 8, 11, 13, 2]], np.uint8)
    other = np.where(seen == 0, 2, seen)  # this grader sees no class 0
    modes, weights = all_modes(tf.constant(np.stack([seen, other])), tf.constant([0.5, 0.5]), CITYSCAPES_FLIPS)
    image = np.repeat(seen[None, ..., None] + 1, 3, axis=-1) / 255
    found = measure_reconstructions(FlipRememberingSegmenter(range(5)), tf.constant(image, tf.float32),
                                    modes.numpy()[None], weights.numpy()[None], None, CITYSCAPES_FLIPS, 0)
    votes = found["flip_recovery"][0, :, :, 0].sum(axis=1)
    assert [flip.source for flip in CITYSCAPES_FLIPS][-1] == 0 and votes.tolist() == [4, 4, 4, 4, 2]


def test_a_segmenter_that_never_flips_hits_one_mode(streets, tmp_path):
    result = evaluate(FlippingSegmenter(()), streets, num_samples=4, limit=6)
    modes = result.summary()["images"]["all"]["modes"]["first"]["against_probabilities"]
    assert modes["num_hit"] == 1
    assert modes["total_variation"] == pytest.approx(1 - result.mode_weights[0])
    text = table(result.summary())
    assert "modes: 1 of 32 hit, total variation from nominal probabilities 0.891" in text
    assert "class 1 0.00 (0.47)" in text and "pixels shown as their class or its twin: class 1 1.00, " in text
    rates = {flip.source: flip.probability for flip in CITYSCAPES_FLIPS}
    never = np.prod([1 - rate for rate in rates.values()])  # of the other four flips: without the first, 1 in so many
    assert f"of all flips but one: without class 1 {1 - never / (1 - rates[1]):.3f}, " in text
    # Matched with 32 modes of which it meets the unflipped one: the mean over modes of their IoU with it.
    iou = 1 - 2 * np.arange(6) / (5 + np.arange(6))
    flipped = (np.arange(32)[:, None] >> np.arange(5) & 1).sum(axis=1)
    expected = (iou[flipped] * result.mode_weights).sum()
    for values in result.matched_iou.values():
        np.testing.assert_allclose(values, expected, atol=1e-6)
    assert result.flip_recovery is None and "come back" not in text
    result.save(tmp_path)
    assert Evaluation.load(tmp_path).summary() == result.summary()


def test_the_table_names_the_scored_classes_and_no_lesion(streets):
    text = table(evaluate(FlippingSegmenter(()), streets, num_samples=1, limit=3).summary())
    assert "Scored over class 0, class 1, class 8, class 11, class 13, class 19, " in text and "lesion" not in text


def test_cases_show_the_likeliest_modes_and_where_a_flip_is(streets):
    case, _ = example_cases(FlippingSegmenter(CITYSCAPES_FLIPS), streets, "val", num_cases=2, num_samples=4)
    assert case["segmentations"].shape == (4, 8, 8)
    assert set(np.unique(case["segmentations"][0])) == {0, 1, 2, 8, 11, 13, 255}  # unflipped: mode 0 of 32
    flipped = (case["samples"] >= 19).mean(0)
    assert np.abs(case["probability"] - flipped).max() < 0.01 and flipped.max() > 0


def test_validation_while_training_scores_the_same_classes(streets):
    validation = Validation(evaluation_dataset(streets, "val", 8), 2, 0, streets.scored_classes)
    model = FlippingSegmenter(())
    model.optimizer = SimpleNamespace(use_ema=False)
    model.evaluate = lambda *_, **__: {}
    validation.set_model(model)
    logs = {}
    validation.on_epoch_end(0, logs)
    assert logs["val_energy_distance"] == pytest.approx(0.3906, abs=5e-5)
