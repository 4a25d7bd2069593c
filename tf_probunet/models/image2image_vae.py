"""The image-to-image VAE, a baseline of the paper: z of a fixed prior, drawn into the image before the U-Net."""

import keras

from tf_probunet.models.latent_segmenter import LatentSegmenter


@keras.saving.register_keras_serializable(package="tf_probunet")
class Image2ImageVAE(LatentSegmenter):
    """A VAE of segmentations whose decoder is the U-Net itself (Zhu et al., NeurIPS 2017, without its discriminator).

    The prior is N(0, I) whatever the image, the posterior sees the segmentation alone, and z is broadcast and
    concatenated to the image at the U-Net's input. It is what remains of a Probabilistic U-Net under all three of its
    ablations at once, with the paper's own latent dimension and beta.

    Args:
        latent_dim: N.
        segmentation_encoding: how the posterior net sees a segmentation: "foreground", "one_hot" or
            "one_hot_centered" (see `tf_probunet.latent.encode_segmentation`).
        log_sigma_clip: bound on |log sigma| of the posterior, or None for none.
        beta: weight of the KL divergence.
        **kwargs: arguments of every `EvidenceSegmenter` and of every `tf_probunet.models.Segmenter`.

    Example:
        >>> import numpy as np
        >>> model = Image2ImageVAE(num_classes=2, channels=(8, 16))
        >>> model.sample(np.zeros((2, 32, 32, 1), "float32"), num_samples=4).shape
        TensorShape([2, 4, 32, 32, 2])
    """

    def __init__(self, *, latent_dim=3, segmentation_encoding="foreground", log_sigma_clip=None, beta=10.0, **kwargs):
        super().__init__(
            latent_dim=latent_dim, segmentation_encoding=segmentation_encoding, log_sigma_clip=log_sigma_clip,
            beta=beta, fixed_prior=True, posterior_sees_image=False, latent_injection="start", **kwargs,
        )
