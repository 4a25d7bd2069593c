"""The Probabilistic U-Net (Kohl et al., NeurIPS 2018): a conditional VAE whose decoder sits on a U-Net's features."""

import keras

from tf_probunet.models.latent_segmenter import LatentSegmenter


@keras.saving.register_keras_serializable(package="tf_probunet")
class ProbabilisticUNet(LatentSegmenter):
    """Learns the distribution over segmentations of an ambiguous image.

    A prior net maps the image to a Gaussian over latents, a U-Net maps it to features, and the combiner turns the
    features and one latent into one segmentation. In training a posterior net, which also sees the segmentation,
    says which latent would have explained it. The defaults are those of the paper for LIDC-IDRI (appendix H.1).

    The paper's ablations are `fixed_prior=True`; that with `posterior_sees_image=False`; and
    `latent_injection="start"`. All three at once are an `Image2ImageVAE`.

    Args:
        latent_dim: N.
        segmentation_encoding: how the posterior net sees a segmentation: "foreground", "one_hot" or
            "one_hot_centered" (see `tf_probunet.latent.encode_segmentation`).
        log_sigma_clip: bound on |log sigma| of prior and posterior, or None for none, as in the paper.
        beta: weight of the KL divergence.
        fixed_prior: the prior is N(0, I) for every image.
        posterior_sees_image: whether the posterior net reads the image beside the segmentation.
        latent_injection: "end", into f_comb over the features; or "start", broadcast and concatenated to the image at
            the U-Net's input, whose features the 1x1 convolutions of f_comb then read without latents.
        **kwargs: arguments of every `EvidenceSegmenter`: beta_warmup_steps, num_posterior_samples, topk_fraction,
            geco_kappa, geco_decay, geco_rate; and of every `tf_probunet.models.Segmenter`: num_classes,
            image_channels, channels, num_convs, combiner_channels, upsampling, normalization, initializer,
            image_mean, image_stddev, weight_decay, class_weights, ignore_label, seed.

    Example:
        >>> import numpy as np
        >>> model = ProbabilisticUNet(num_classes=2, channels=(8, 16), latent_dim=2)
        >>> images = np.random.default_rng(0).random((2, 32, 32, 1), "float32")
        >>> model.sample(images, num_samples=4, seed=(0, 1)).shape
        TensorShape([2, 4, 32, 32, 2])
        >>> model.prior(images).event_shape
        TensorShape([2])
    """

    def __init__(
        self,
        *,
        latent_dim=6,
        segmentation_encoding="foreground",
        log_sigma_clip=None,
        beta=1.0,
        fixed_prior=False,
        posterior_sees_image=True,
        latent_injection="end",
        **kwargs,
    ):
        super().__init__(
            latent_dim=latent_dim, segmentation_encoding=segmentation_encoding, log_sigma_clip=log_sigma_clip,
            beta=beta, fixed_prior=fixed_prior, posterior_sees_image=posterior_sees_image,
            latent_injection=latent_injection, **kwargs,
        )

    def get_config(self):
        return {
            **super().get_config(),
            "fixed_prior": self.fixed_prior,
            "posterior_sees_image": self.posterior_sees_image,
            "latent_injection": self.latent_injection,
        }
