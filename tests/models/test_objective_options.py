"""What may be varied of the evidence lower bound: warm-up of beta, posterior samples, the hardest pixels, GECO."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from contract import IGNORE, toy

from tf_probunet.losses import pixel_cross_entropy, standard_gumbel, stochastic_top_k
from tf_probunet.models import Image2ImageVAE, ProbabilisticUNet
from tf_probunet.models.evidence import GUMBEL_STREAM
from tf_probunet.models.learner import Rows


def small(**options):
    keras.utils.set_random_seed(0)
    model = ProbabilisticUNet(**{"channels": (4, 8), "num_convs": 1, "latent_dim": 3, "combiner_channels": (6,),
                                 "initializer": "he_normal", "weight_decay": 0.0, **options})
    model.build()
    return model


class TestBetaWarmUp:
    def test_rises_linearly_then_stays(self):
        model = small(beta=4.0, beta_warmup_steps=8)
        assert [float(model.beta_at(step)) for step in (0, 2, 8, 100)] == [0, 1, 4, 4]
        assert float(small(beta=4.0).beta_at(0)) == 4

    def test_decides_the_loss_of_training_and_not_of_validation(self):
        model = small(beta=4.0, beta_warmup_steps=8)
        images, segmentations = toy(4)
        noise = model.training_noise(images, 2)
        terms = model.objective(tf.constant(images), tf.constant(segmentations), noise, step=2)
        assert float(terms["beta"]) == 1
        assert float(terms["loss"]) == pytest.approx(float(terms["cross_entropy"] + terms["kl"]), rel=1e-6)
        validation = model.objective(tf.constant(images), tf.constant(segmentations), noise)
        assert set(validation) == {"loss", "cross_entropy", "kl"}
        assert float(validation["loss"]) == pytest.approx(float(terms["cross_entropy"] + 4 * terms["kl"]), rel=1e-6)

    def test_fit_reports_it_by_step(self):
        model = small(beta=4.0, beta_warmup_steps=8)
        model.compile("adam")
        images, segmentations = toy(4)
        history = model.fit(images, segmentations, batch_size=4, epochs=3, verbose=0).history
        assert history["beta"] == pytest.approx([0, 0.5, 1])


@pytest.mark.parametrize("make", [small, lambda **options: Image2ImageVAE(
    channels=(4, 8), num_convs=1, latent_dim=3, combiner_channels=(6,), weight_decay=0.0, **options)])
def test_several_posterior_samples_are_the_mean_of_each(make):
    model = make(num_posterior_samples=3, beta=1.0)
    model.build()
    images, segmentations = (tf.constant(array) for array in toy(4, ignore=True))
    noise = model.training_noise(images, 5)
    assert noise.shape == (4, 3, 3)
    terms = model.objective(images, segmentations, noise, step=5)
    each = [model.objective(images, segmentations, noise[:, place], step=5) for place in range(3)]
    assert len({float(one["cross_entropy"]) for one in each}) == 3
    for name in ("loss", "cross_entropy", "kl"):
        assert float(terms[name]) == pytest.approx(np.mean([float(one[name]) for one in each]), rel=1e-5)


def test_one_posterior_sample_has_the_noise_that_it_always_had():
    images, _ = toy(4)
    expected = tf.random.stateless_normal((4, 3), (0, 9))
    np.testing.assert_array_equal(small().training_noise(images, 9)[:, 0], expected)


class TestTopK:
    def test_training_counts_the_drawn_pixels_and_validation_all(self):
        model = small(topk_fraction=0.1, beta=0.0)
        images, segmentations = (tf.constant(array) for array in toy(4, ignore=True))
        noise, gumbel = model.training_noise(images, 7)
        seed = tf.random.fold_in((0, 7), GUMBEL_STREAM)
        np.testing.assert_array_equal(gumbel, standard_gumbel(segmentations.shape, seed))
        terms = model.objective(images, segmentations, (noise, gumbel), step=7)
        posterior = model.posterior(images, segmentations)
        logits = model.decode(model.features(images), posterior.mean() + posterior.stddev() * noise[:, 0])
        pixels = pixel_cross_entropy(segmentations, logits, IGNORE)
        chosen = stochastic_top_k(pixels, 0.1, gumbel)
        assert tf.reduce_sum(chosen) == 4 * int(0.1 * 16 * 16)
        assert float(terms["loss"]) == pytest.approx(float(tf.reduce_sum(chosen * pixels)) / 4, rel=1e-5)
        assert float(terms["cross_entropy"]) == pytest.approx(float(tf.reduce_sum(pixels)) / 4, rel=1e-5)
        assert not isinstance(model.training_noise(images, None), tuple)
        validation = model.objective(images, segmentations, noise)
        assert float(validation["loss"]) == pytest.approx(float(terms["cross_entropy"]), rel=1e-5)

    def test_every_pixel_is_the_plain_loss(self):
        images, segmentations = (tf.constant(array) for array in toy(4))
        losses = []
        for fraction in (None, 1.0):
            model = small(topk_fraction=fraction)
            noise = model.training_noise(images, 1)
            losses.append(float(model.objective(images, segmentations, noise, step=1)["loss"]))
        assert losses[0] == pytest.approx(losses[1], rel=1e-6)


class TestGeco:
    def test_holds_the_cross_entropy_to_its_target(self):
        """All or nothing, by the toss of a coin: without a latent 0.69 nats a pixel, with ln 2 nats of KL none."""
        images = np.ones((64, 16, 16, 1), np.float32)
        segmentations = np.broadcast_to((np.arange(64) % 2)[:, None, None], (64, 16, 16)).astype(np.int32)
        model = small(geco_kappa=0.3, geco_rate=0.05, geco_decay=0.9)
        model.compile(keras.optimizers.Adam(5e-3))
        history = model.fit(images, segmentations, batch_size=16, epochs=100, verbose=0).history
        per_pixel = np.array(history["cross_entropy"]) / 256
        assert per_pixel[16:40].max() < 0.05  # far better than asked for, at the price of the KL
        assert np.mean(per_pixel[-30:]) == pytest.approx(0.3, abs=0.06)
        assert history["kl"][-1] < 0.5 * max(history["kl"])
        assert history["beta"][-1] > 100 > 1 > history["beta"][8]

    def test_pixels_without_a_label_raise_no_target(self):
        """The target is nats a pixel that counts: two images of which a quarter and nothing is labelled."""
        model = small(geco_kappa=0.5)
        images, segmentations = toy(2)
        segmentations[0, :, segmentations.shape[2] // 4 :] = IGNORE
        segmentations[1] = IGNORE
        images, segmentations = tf.constant(images), tf.constant(segmentations)
        terms = model.objective(images, segmentations, model.training_noise(images, 0), step=0)
        target = 0.5 * np.sum(segmentations != IGNORE) / 2
        assert float(terms["constraint"]) == pytest.approx(float(terms["cross_entropy"]) / target - 1, rel=1e-5)

    def test_its_state_is_saved_with_the_model(self, tmp_path):
        model = small(geco_kappa=0.6, topk_fraction=0.5)
        model.compile("adam")
        model.fit(*toy(8), batch_size=4, epochs=2, verbose=0)
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        assert float(again.geco.multiplier) == float(model.geco.multiplier) != 1
        assert float(again.geco.average) == float(model.geco.average)

    def test_no_warm_up_beside_it(self):
        with pytest.raises(ValueError, match="Received: geco_kappa 0.05 and beta_warmup_steps 10. Set one of them"):
            small(geco_kappa=0.05, beta_warmup_steps=10)


@pytest.mark.parametrize("options, message", [
    ({"num_posterior_samples": 0}, "num_posterior_samples must be at least 1. Received: 0"),
    ({"topk_fraction": 0.0}, "topk_fraction must be above 0 and at most 1, or none. Received: 0.0"),
    ({"topk_fraction": 1.5}, "topk_fraction must be above 0"),
    ({"geco_kappa": -1.0}, "geco_kappa is a target in nats a pixel"),
])
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_rows_of_a_larger_batch_have_its_noise():
    model = small(topk_fraction=0.5, num_posterior_samples=2)
    images, _ = toy(8)
    whole = model.training_noise(images, 3)
    part = model.training_noise(images[2:5], 3, Rows(2, 3, 8))
    for all_rows, rows in zip(whole, part, strict=True):
        np.testing.assert_array_equal(rows, all_rows[2:5])
