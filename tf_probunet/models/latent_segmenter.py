"""What models with a latent space share: prior, posterior, samples and reconstructions."""

import tensorflow as tf

from tf_probunet.combiner import Combiner
from tf_probunet.experiment import INJECTIONS
from tf_probunet.head import Head
from tf_probunet.latent import AxisAlignedGaussian, encode_segmentation, gaussian, num_segmentation_channels
from tf_probunet.models.evidence import EvidenceSegmenter
from tf_probunet.unet import UNet


class LatentSegmenter(EvidenceSegmenter):
    """A conditional variational autoencoder: z from a prior picks one segmentation of the image.

    Args:
        segmentation_encoding: how the posterior net sees a segmentation: "foreground", "one_hot" or
            "one_hot_centered" (see `tf_probunet.latent.encode_segmentation`).
        log_sigma_clip: bound on |log sigma| of prior and posterior, or None for none, as in the paper.
        fixed_prior: the prior is N(0, I) instead of a net's of the image.
        posterior_sees_image: whether the posterior net reads the image beside the segmentation.
        latent_injection: where z comes in. "end": f_comb, over the U-Net's features, which are computed once an image.
            "start": z is broadcast and concatenated to the image, and the U-Net runs once a sample.
        **kwargs: arguments of every `EvidenceSegmenter`.
    """

    def __init__(self, *, segmentation_encoding, log_sigma_clip, fixed_prior, posterior_sees_image, latent_injection,
                 **kwargs):
        super().__init__(**kwargs)
        if latent_injection not in INJECTIONS:
            raise ValueError(f"Unknown latent_injection {latent_injection!r}. Expected one of {', '.join(INJECTIONS)}.")
        self.segmentation_encoding = segmentation_encoding
        self.log_sigma_clip = log_sigma_clip
        self.fixed_prior = fixed_prior
        self.posterior_sees_image = posterior_sees_image
        self.latent_injection = latent_injection
        self._posterior_channels = num_segmentation_channels(self.num_classes, segmentation_encoding)
        self._posterior_channels += self.image_channels if posterior_sees_image else 0

        options = self.part_options
        self.unet = UNet(name="unet", **self.unet_options)
        gaussian_net = dict(latent_dim=self.latent_dim, channels=self.channels, num_convs=self.num_convs,
                            log_sigma_clip=log_sigma_clip, **options)
        self.prior_net = None if fixed_prior else AxisAlignedGaussian(name="prior_net", **gaussian_net)
        self.posterior_net = AxisAlignedGaussian(name="posterior_net", **gaussian_net)
        if latent_injection == "end":
            self.combiner = Combiner(self.num_classes, self.latent_dim, self.combiner_channels, name="combiner",
                                     **options)
        else:
            self.head = Head(self.num_classes, self.combiner_channels, name="head", **options)

    def build(self, input_shape=None):
        if self.built:
            return
        features_shape = (None, None, None, self.channels[0])
        if self.latent_injection == "end":
            self.unet.build((None, None, None, self.image_channels))
            self.combiner.build(features_shape)
        else:
            self.unet.build((None, None, None, self.image_channels + self.latent_dim))
            self.head.build(features_shape)
        if not self.fixed_prior:
            self.prior_net.build((None, None, None, self.image_channels))
        self.posterior_net.build((None, None, None, self._posterior_channels))
        if self.geco is not None:
            self.geco.build()
        self.built = True

    def get_config(self):
        return {
            **super().get_config(),
            "segmentation_encoding": self.segmentation_encoding,
            "log_sigma_clip": self.log_sigma_clip,
        }

    # --- The distribution over segmentations -------------------------------------------------------------------

    def call(self, images):
        """Logits [B, H, W, K] at the mean of the prior: one best guess, so that `predict` works."""
        images = self.check_images(images)
        features, prior_mean, _ = self.trunk(images)
        return self.decode(features, prior_mean)

    def sample(self, images, num_samples=16, seed=(0, 0)):
        """Draws segmentations: latents from the *prior*, each decoded.

        Args:
            images: [B, H, W, C] float32; H and W multiples of `size_multiple`.
            num_samples: M.
            seed: two integers (or one); the same seed gives the same samples.
        Returns:
            logits [B, M, H, W, K].
        """
        images = self.ready(images)
        shape = (tf.shape(images)[0], num_samples, self.latent_dim)
        noise = tf.random.stateless_normal(shape, self.check_seed(seed), dtype=tf.as_dtype(self.variable_dtype))
        return self._sample(images, noise)

    def sample_from_noise(self, images, noise):
        """`sample` with its randomness as an input: z = prior mean + prior stddev * noise.

        Args:
            images: [B, H, W, C].
            noise: [B, M, N], standard normal.
        Returns:
            logits [B, M, H, W, K].
        """
        return self._sample(self.ready(images), tf.cast(noise, self.variable_dtype))

    def trunk(self, images):
        """Everything that is computed once an image.

        Args:
            images: [B, H, W, C] float32.
        Returns:
            features as of `features`, prior mean [B, N] and prior stddev [B, N].
        """
        standard = self.standardize(images)
        return self._trunk_features(standard), *self._prior_parameters(standard)

    def features(self, images):
        """What decoding needs of an image: with injection at the end the U-Net's last activation map,
        [B, H, W, channels[0]]; at the start the image as the U-Net sees it, [B, H, W, C]."""
        return self._features(self.ready(images))

    def prior(self, images):
        """P(z | image): `MultivariateNormalDiag` with batch shape [B], event shape [N]."""
        return gaussian(*self._prior(self.ready(images)))

    def posterior(self, images, segmentations):
        """Q(z | image, segmentation): `MultivariateNormalDiag` with batch shape [B], event shape [N].

        Args:
            images: [B, H, W, C].
            segmentations: [B, H, W] int.
        """
        images = self.ready(images)
        return gaussian(*self._posterior(images, self.check_segmentations(images, segmentations)))

    def decode(self, features, latents):
        """The segmentation that one latent, or each of several, stands for.

        Args:
            features: as `features` gives them.
            latents: [B, N] or [B, M, N].
        Returns:
            logits [B, H, W, K] or [B, M, H, W, K].
        """
        self.build()
        latents = tf.convert_to_tensor(latents)
        if latents.shape.rank not in (2, 3) or latents.shape[-1] != self.latent_dim:
            raise ValueError(
                f"Latents must have shape [B, {self.latent_dim}] or [B, M, {self.latent_dim}]. Received: "
                f"{list(latents.shape)}."
            )
        if latents.shape.rank == 3:
            return self._decode(features, latents)
        if self.latent_injection == "start":
            return self._decode_from_start(features, latents)
        return self.combiner(features, latents[:, None])[:, 0]

    def reconstruct(self, images, segmentations):
        """Logits [B, H, W, K] at the mean of the *posterior*: how well the latent space can say this segmentation."""
        return self.decode(self.features(images), self.posterior(images, segmentations).mean())

    # --- Parts -------------------------------------------------------------------------------------------------

    def _trunk_features(self, standard):
        return self.unet(standard) if self.latent_injection == "end" else standard

    def _prior_parameters(self, standard):
        """Mean and stddev of the prior, [B, N] each."""
        if not self.fixed_prior:
            return self.prior_net(standard)
        shape = (tf.shape(standard)[0], self.latent_dim)
        return tf.zeros(shape, self.variable_dtype), tf.ones(shape, self.variable_dtype)

    def _posterior_parameters(self, images, segmentations):
        """Mean and stddev of the posterior, [B, N] each: in a training step this, because XLA takes the weights that a
        `tf.function` within another reads for constants, and would compile the step anew each time."""
        standard = self.standardize(images)
        channels = encode_segmentation(segmentations, self.num_classes, self.segmentation_encoding,
                                       self.ignore_label, standard.dtype)
        return self.posterior_net(tf.concat([standard, channels], axis=-1) if self.posterior_sees_image else channels)

    def _decode(self, features, latents):
        """Logits [B, M, H, W, K] of latents [B, M, N]."""
        if self.latent_injection == "end":
            return self.combiner(features, latents)
        # One sample after the other: M U-Nets at once would need M times the memory.
        logits = tf.map_fn(lambda one: self._decode_from_start(features, one), tf.transpose(latents, [1, 0, 2]),
                           fn_output_signature=tf.as_dtype(self.variable_dtype), parallel_iterations=1)
        return tf.transpose(logits, [1, 0, 2, 3, 4])

    def _decode_from_start(self, features, latents):
        """Logits [B, H, W, K] of one latent an image, [B, N], concatenated to every pixel of the U-Net's input."""
        shape = tf.concat([tf.shape(features)[:3], [self.latent_dim]], axis=0)
        planes = tf.broadcast_to(tf.cast(latents, features.dtype)[:, None, None], shape)  # [B, H, W, N]
        planes = tf.ensure_shape(planes, [None, None, None, self.latent_dim])
        return self.head(self.unet(tf.concat([features, planes], axis=-1)))

    # Each is a tf.function of its own, behind a method that checks: its relaxed shapes keep a new B, M, H or W from
    # tracing anew.

    @tf.function(reduce_retracing=True)
    def _sample(self, images, noise):
        features, prior_mean, prior_stddev = self.trunk(images)
        latents = prior_mean[:, None] + prior_stddev[:, None] * noise  # [B, M, N]
        return self._decode(features, latents)

    @tf.function(reduce_retracing=True)
    def _features(self, images):
        return self._trunk_features(self.standardize(images))

    @tf.function(reduce_retracing=True)
    def _prior(self, images):
        return self._prior_parameters(self.standardize(images))

    @tf.function(reduce_retracing=True)
    def _posterior(self, images, segmentations):
        return self._posterior_parameters(images, segmentations)
