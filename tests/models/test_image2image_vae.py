"""Latent models that are not the Probabilistic U-Net as published: its ablations and the image-to-image VAE."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from contract import SegmenterContract, toy, weights_of

from tf_probunet.models import Image2ImageVAE, LatentSegmenter, ProbabilisticUNet

SMALL = dict(channels=(4, 8), num_convs=1, latent_dim=3, combiner_channels=(6, 6), initializer="he_normal")
ABLATED = dict(fixed_prior=True, posterior_sees_image=False, latent_injection="start")


def small(cls=ProbabilisticUNet, **overrides):
    keras.utils.set_random_seed(0)
    model = cls(**{**SMALL, **overrides})
    model.build()
    return model


class TestContract(SegmenterContract):
    """Of the image-to-image VAE, which is every ablation at once."""

    model_class = Image2ImageVAE
    arguments = SMALL


class TestFixedPrior:
    def test_is_standard_normal_for_every_image(self):
        model, (images, _) = small(fixed_prior=True), toy(2)
        prior = model.prior(images)
        assert (prior.batch_shape, prior.event_shape) == ((2,), (3,))
        np.testing.assert_array_equal(prior.mean(), np.zeros((2, 3)))
        np.testing.assert_array_equal(prior.stddev(), np.ones((2, 3)))

    def test_kl_has_its_closed_form(self):
        model = small(fixed_prior=True, beta=2.5, weight_decay=0.0)
        images, segmentations = toy(4)
        posterior = model.posterior(images, segmentations)
        mean, stddev = posterior.mean().numpy(), posterior.stddev().numpy()
        expected = 0.5 * (mean**2 + stddev**2 - 1 - 2 * np.log(stddev)).sum(axis=1).mean()
        terms = model.objective(tf.constant(images), tf.constant(segmentations), tf.zeros((4, 3)))
        np.testing.assert_allclose(terms["kl"], expected, rtol=1e-4)
        np.testing.assert_allclose(terms["loss"], terms["cross_entropy"] + 2.5 * expected, rtol=1e-5)

    def test_there_is_no_prior_net(self):
        whole, fixed = small(), small(fixed_prior=True)
        assert fixed.prior_net is None
        assert whole.count_params() - fixed.count_params() == whole.prior_net.count_params()

    def test_samples_decode_the_noise_itself(self):
        model, (images, _) = small(fixed_prior=True), toy(2)
        noise = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
        np.testing.assert_allclose(model.sample_from_noise(images, noise), model.decode(model.features(images), noise),
                                   atol=1e-5)


class TestPosteriorWithoutImage:
    def test_depends_on_the_segmentation_alone(self):
        model, (images, segmentations) = small(posterior_sees_image=False), toy(2)
        mean = model.posterior(images, segmentations).mean()
        np.testing.assert_array_equal(model.posterior(images + 1, segmentations).mean(), mean)
        assert np.abs(model.posterior(images, 1 - segmentations).mean() - mean).max() > 1e-4
        seeing = small()
        assert np.abs(seeing.posterior(images + 1, segmentations).mean()
                      - seeing.posterior(images, segmentations).mean()).max() > 1e-4

    @pytest.mark.parametrize("encoding, num_channels", [("foreground", 2), ("one_hot", 3)])
    def test_reads_the_channels_of_its_encoding(self, encoding, num_channels):
        model = small(posterior_sees_image=False, num_classes=3, image_channels=4, segmentation_encoding=encoding)
        assert model.posterior_net.encoder.blocks[0].convs[0].kernel.shape[2] == num_channels


class TestInjectionAtTheStart:
    def test_each_latent_decodes_alone_as_among_others(self):
        model, (images, _) = small(latent_injection="start"), toy(2)
        latents = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
        together = model.decode(model.features(images), latents)
        assert together.shape == (2, 4, 16, 16, 2)
        for index in range(4):
            np.testing.assert_allclose(model.decode(model.features(images), latents[:, index]), together[:, index],
                                       atol=1e-5)
        assert np.abs(together[:, 0] - together[:, 1]).max() > 1e-3

    def test_is_the_unet_on_image_and_broadcast_latent(self):
        model, (images, _) = small(latent_injection="start", image_mean=0.25, image_stddev=0.5), toy(2)
        latents = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
        planes = np.broadcast_to(latents[:, None, None], (2, 16, 16, 3))
        inputs = np.concatenate([(images - 0.25) / 0.5, planes], axis=-1).astype(np.float32)
        np.testing.assert_allclose(model.decode(model.features(images), latents), model.head(model.unet(inputs)),
                                   atol=1e-5)

    def test_without_the_latents_kernel_all_samples_are_alike(self):
        model, (images, _) = small(latent_injection="start"), toy(2)
        kernel = model.unet.encoder.blocks[0].convs[0].kernel
        kernel.assign(np.where(np.arange(4)[:, None] > 0, 0, kernel))  # the image is channel 0
        samples = model.sample(images, 3).numpy()
        np.testing.assert_allclose(samples, np.repeat(samples[:, :1], 3, axis=1), atol=1e-6)

    def test_a_call_decodes_the_mean_of_the_prior_and_a_reconstruction_that_of_the_posterior(self):
        model, (images, segmentations) = small(latent_injection="start"), toy(2)
        features = model.features(images)
        np.testing.assert_allclose(model(images), model.decode(features, model.prior(images).mean()), atol=1e-5)
        mean = model.posterior(images, segmentations).mean()
        np.testing.assert_allclose(model.reconstruct(images, segmentations), model.decode(features, mean), atol=1e-5)

    def test_every_weight_learns(self):
        model, (images, segmentations) = small(latent_injection="start", weight_decay=0.0), toy(2)
        with tf.GradientTape() as tape:
            loss = model.objective(tf.constant(images), tf.constant(segmentations), tf.ones((2, 3)))["loss"]
        assert all(np.abs(gradient).max() > 0 for gradient in tape.gradient(loss, model.trainable_weights))

    def test_elsewhere_is_refused(self):
        with pytest.raises(ValueError, match="Unknown latent_injection 'middle'. Expected one of end, start"):
            small(latent_injection="middle")


class TestAblations:
    def test_all_at_once_are_the_image_to_image_vae(self):
        ablated, vae = small(**ABLATED, beta=10.0), small(Image2ImageVAE)
        images, segmentations = toy(4)
        for model in (ablated, vae):
            model.compile(keras.optimizers.Adam(1e-2))
            model.fit(images, segmentations, batch_size=2, shuffle=False, verbose=0)
        for weight, other in zip(weights_of(ablated), weights_of(vae), strict=True):
            np.testing.assert_array_equal(weight, other)
        np.testing.assert_array_equal(ablated.sample(images, 2), vae.sample(images, 2))

    @pytest.mark.parametrize("ablation", [
        dict(fixed_prior=True), dict(fixed_prior=True, posterior_sees_image=False), dict(latent_injection="start"),
    ])
    @pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
    def test_each_trains_saves_and_loads(self, ablation, policy, tmp_path):
        model, (images, segmentations) = small(**ablation, dtype=policy), toy()
        model.compile(keras.optimizers.Adam(1e-2))
        losses = model.fit(images, segmentations, epochs=20, verbose=0).history["loss"]
        assert losses[-1] < 0.8 * losses[0]
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert loaded.get_config() == model.get_config()
        assert {name: loaded.get_config()[name] for name in ablation} == ablation
        np.testing.assert_array_equal(loaded.sample(images, 2), model.sample(images, 2))

    def test_defaults_are_the_papers(self):
        config = Image2ImageVAE(channels=(4, 8)).get_config()
        assert (config["latent_dim"], config["beta"]) == (3, 10.0) and not ABLATED.keys() & config.keys()
        assert ProbabilisticUNet(channels=(4, 8)).get_config().items() >= dict(
            latent_dim=6, beta=1.0, fixed_prior=False, posterior_sees_image=True, latent_injection="end").items()
        assert issubclass(Image2ImageVAE, LatentSegmenter) and issubclass(ProbabilisticUNet, LatentSegmenter)
