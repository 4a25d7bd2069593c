"""The Probabilistic U-Net (Kohl et al., NeurIPS 2018): a conditional VAE whose decoder sits on a U-Net's features."""

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tf_probunet.combiner import Combiner
from tf_probunet.latent import AxisAlignedGaussian, encode_segmentation, gaussian, num_segmentation_channels
from tf_probunet.losses import masked_cross_entropy
from tf_probunet.models.segmenter import Segmenter
from tf_probunet.unet import UNet


@keras.saving.register_keras_serializable(package="tf_probunet")
class ProbabilisticUNet(Segmenter):
    """Learns the distribution over segmentations of an ambiguous image.

    A prior net maps the image to a Gaussian over latents, a U-Net maps it to features, and the combiner turns the
    features and one latent into one segmentation. In training a posterior net, which also sees the segmentation,
    says which latent would have explained it. The defaults are those of the paper for LIDC-IDRI (appendix H.1).

    Args:
        num_classes: K, background included.
        image_channels: C of the images.
        channels: filters of the blocks at each resolution, finest first.
        num_convs: 3x3 convolutions in a block.
        latent_dim: N.
        combiner_channels: filters of the hidden 1x1 convolutions of f_comb.
        segmentation_encoding: how the posterior net sees a segmentation: "foreground", "one_hot" or
            "one_hot_centered" (see `tf_probunet.latent.encode_segmentation`).
        upsampling: "bilinear" or "bilinear_aligned".
        initializer: of all kernels, "orthogonal" or "he_normal".
        image_mean, image_stddev: the nets see (image - image_mean) / image_stddev. All-positive images of low contrast
            let the prior net forget its input early in training; the published configurations leave this alone.
        beta: weight of the KL divergence.
        weight_decay: the loss gains weight_decay * ||kernel||^2 / 2 over all kernels but the logits layer's.
        log_sigma_clip: bound on |log sigma| of prior and posterior, or None for none, as in the paper.
        ignore_label: class map value of pixels that count nothing.
        seed: of the posterior samples in training; with the step number it decides each one.

    Training data is `(images [B, H, W, C] float32, segmentations [B, H, W] int32)`.

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
        num_classes=2,
        image_channels=1,
        channels=(32, 64, 128, 256, 512),
        num_convs=3,
        latent_dim=6,
        combiner_channels=(32, 32),
        segmentation_encoding="foreground",
        upsampling="bilinear",
        initializer="orthogonal",
        image_mean=0.0,
        image_stddev=1.0,
        beta=1.0,
        weight_decay=1e-5,
        log_sigma_clip=None,
        ignore_label=255,
        seed=0,
        **kwargs,
    ):
        super().__init__(num_classes=num_classes, image_channels=image_channels, channels=channels,
                         ignore_label=ignore_label, seed=seed, **kwargs)
        if image_stddev <= 0:
            raise ValueError(f"image_stddev must be above 0. Received: {image_stddev}.")
        self.num_convs = num_convs
        self.latent_dim = latent_dim
        self.combiner_channels = tuple(combiner_channels)
        self.segmentation_encoding = segmentation_encoding
        self.upsampling = upsampling
        self.initializer = initializer
        self.image_mean = image_mean
        self.image_stddev = image_stddev
        self.beta = beta
        self.weight_decay = weight_decay
        self.log_sigma_clip = log_sigma_clip
        self._posterior_channels = image_channels + num_segmentation_channels(num_classes, segmentation_encoding)

        shared = dict(initializer=initializer, weight_decay=weight_decay, dtype=self.dtype_policy)
        self.unet = UNet(self.channels, num_convs=num_convs, upsampling=upsampling, name="unet", **shared)
        gaussian_net = dict(latent_dim=latent_dim, channels=self.channels, num_convs=num_convs,
                            log_sigma_clip=log_sigma_clip, **shared)
        self.prior_net = AxisAlignedGaussian(name="prior_net", **gaussian_net)
        self.posterior_net = AxisAlignedGaussian(name="posterior_net", **gaussian_net)
        self.combiner = Combiner(num_classes, latent_dim, self.combiner_channels, name="combiner", **shared)
        self.trackers = [keras.metrics.Mean(name=name) for name in ("loss", "cross_entropy", "kl")]

    @property
    def metrics(self):
        return self.trackers  # without Keras's own "loss", which this model's stands for

    def build(self, input_shape=None):
        if self.built:
            return
        images_shape = (None, None, None, self.image_channels)
        self.unet.build(images_shape)
        self.prior_net.build(images_shape)
        self.posterior_net.build((None, None, None, self._posterior_channels))
        self.combiner.build((None, None, None, self.channels[0]))
        self.built = True

    def get_config(self):
        return {
            **super().get_config(),
            "num_convs": self.num_convs,
            "latent_dim": self.latent_dim,
            "combiner_channels": self.combiner_channels,
            "segmentation_encoding": self.segmentation_encoding,
            "upsampling": self.upsampling,
            "initializer": self.initializer,
            "image_mean": self.image_mean,
            "image_stddev": self.image_stddev,
            "beta": self.beta,
            "weight_decay": self.weight_decay,
            "log_sigma_clip": self.log_sigma_clip,
        }

    # --- The distribution over segmentations -------------------------------------------------------------------

    def call(self, images):
        """Logits [B, H, W, K] at the mean of the prior: one best guess, so that `predict` works."""
        images = self.check_images(images)
        features, prior_mean, _ = self.trunk(images)
        return self.decode(features, prior_mean)

    def sample(self, images, num_samples=16, seed=(0, 0)):
        """Draws segmentations: latents from the *prior*, each decoded over the same features.

        Args:
            images: [B, H, W, C] float32; H and W multiples of `size_multiple`.
            num_samples: M.
            seed: two integers (or one); the same seed gives the same samples.
        Returns:
            logits [B, M, H, W, K].
        """
        images = self._ready(images)
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
        return self._sample(self._ready(images), tf.cast(noise, self.variable_dtype))

    def trunk(self, images):
        """Everything that is computed once an image.

        Args:
            images: [B, H, W, C] float32.
        Returns:
            features [B, H, W, channels[0]], prior mean [B, N] and prior stddev [B, N].
        """
        standard = self._standardize(images)
        return self.unet(standard), *self.prior_net(standard)

    def features(self, images):
        """The U-Net's last activation map, [B, H, W, channels[0]]."""
        return self._features(self._ready(images))

    def prior(self, images):
        """P(z | image): `MultivariateNormalDiag` with batch shape [B], event shape [N]."""
        return gaussian(*self._prior(self._ready(images)))

    def posterior(self, images, segmentations):
        """Q(z | image, segmentation): `MultivariateNormalDiag` with batch shape [B], event shape [N].

        Args:
            images: [B, H, W, C].
            segmentations: [B, H, W] int.
        """
        images = self._ready(images)
        return gaussian(*self._posterior(images, self.check_segmentations(images, segmentations)))

    def decode(self, features, latents):
        """The segmentation that one latent, or each of several, stands for.

        Args:
            features: [B, H, W, channels[0]] as `features` gives them.
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
        if latents.shape.rank == 2:
            return self.combiner(features, latents[:, None])[:, 0]
        return self.combiner(features, latents)

    def reconstruct(self, images, segmentations):
        """Logits [B, H, W, K] at the mean of the *posterior*: how well the latent space can say this segmentation."""
        return self.decode(self.features(images), self.posterior(images, segmentations).mean())

    # --- Learning ----------------------------------------------------------------------------------------------

    def objective(self, images, segmentations, noise, sample_weight=None):
        """The negative evidence lower bound (equation 4), its parts, and weight decay.

        Args:
            images: [B, H, W, C].
            segmentations: [B, H, W] int.
            noise: [B, N], standard normal; makes the posterior's sample.
            sample_weight: [B] or None.
        Returns:
            dict of scalars: loss, cross_entropy (summed over pixels, mean over the batch) and kl, in nats.
        """
        self.build()
        features, prior_mean, prior_stddev = self.trunk(images)
        mean, stddev = self._posterior(images, segmentations)
        logits = self.decode(features, mean + stddev * noise)
        cross_entropy = masked_cross_entropy(segmentations, logits, self.ignore_label)  # [B]
        posterior, prior = gaussian(mean, stddev), gaussian(prior_mean, prior_stddev)
        kl = tfp.distributions.kl_divergence(posterior, prior)  # [B], analytic
        if sample_weight is not None:
            cross_entropy, kl = cross_entropy * sample_weight, kl * sample_weight
        cross_entropy, kl = tf.reduce_mean(cross_entropy), tf.reduce_mean(kl)
        loss = cross_entropy + self.beta * kl + sum(self.losses)  # equation 4, plus weight decay
        return {"loss": loss, "cross_entropy": cross_entropy, "kl": kl}

    def train_step(self, data):
        images, segmentations, sample_weight = self._unpack(data)
        # Noise is a function of (seed, step), so a resumed run sees what an unbroken one would.
        noise = self._noise(images, tf.cast(self.optimizer.iterations, tf.int32))
        with tf.GradientTape() as tape:
            terms = self.objective(images, segmentations, noise, sample_weight)
            # The optimizer sums gradients over replicas; the loss is a mean over the whole batch.
            loss = terms["loss"] / tf.distribute.get_strategy().num_replicas_in_sync
            scaled_loss = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled_loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        return self._track(terms, images)

    def test_step(self, data):
        images, segmentations, sample_weight = self._unpack(data)
        terms = self.objective(images, segmentations, self._noise(images, -1), sample_weight)
        return self._track(terms, images)

    def _noise(self, images, step):
        """[B, N]: this replica's rows of the noise of the whole batch, the same on one replica as on several."""
        batch_size, num_replicas = tf.shape(images)[0], tf.distribute.get_strategy().num_replicas_in_sync
        shape = (batch_size * num_replicas, self.latent_dim)
        noise = tf.random.stateless_normal(shape, (self.seed, step), dtype=tf.as_dtype(self.variable_dtype))
        if num_replicas == 1:
            return noise
        first = tf.distribute.get_replica_context().replica_id_in_sync_group * batch_size
        return noise[first : first + batch_size]

    def _unpack(self, data):
        images, segmentations, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if segmentations is None:
            raise ValueError("Training data must be (images, segmentations) pairs. Received images alone.")
        images = self.check_images(images)
        if sample_weight is not None and len(sample_weight.shape) != 1:
            raise ValueError(
                f"sample_weight must be one number an image, [B]. Received: {list(sample_weight.shape)}. Mark pixels "
                f"that shall not count with the ignore label, {self.ignore_label}."
            )
        return images, self.check_segmentations(images, segmentations), sample_weight

    def _track(self, terms, images):
        for tracker in self.trackers:
            tracker.update_state(terms[tracker.name], sample_weight=tf.shape(images)[0])
        return {tracker.name: tracker.result() for tracker in self.trackers}

    # --- Helpers -----------------------------------------------------------------------------------------------

    def _ready(self, images):
        self.build()
        return self.check_images(images)

    def _standardize(self, images):
        return (images - self.image_mean) / self.image_stddev

    # Each is a tf.function of its own, behind a method that checks: its relaxed shapes keep a new B, M, H or W from
    # tracing anew.

    @tf.function(reduce_retracing=True)
    def _sample(self, images, noise):
        features, prior_mean, prior_stddev = self.trunk(images)
        latents = prior_mean[:, None] + prior_stddev[:, None] * noise  # [B, M, N]
        return self.combiner(features, latents)

    @tf.function(reduce_retracing=True)
    def _features(self, images):
        return self.unet(self._standardize(images))

    @tf.function(reduce_retracing=True)
    def _prior(self, images):
        return self.prior_net(self._standardize(images))

    @tf.function(reduce_retracing=True)
    def _posterior(self, images, segmentations):
        channels = encode_segmentation(segmentations, self.num_classes, self.segmentation_encoding,
                                       self.ignore_label, images.dtype)
        return self.posterior_net(tf.concat([self._standardize(images), channels], axis=-1))
