"""The objective of models with a latent space: the evidence lower bound, and what may be varied of it."""

import tensorflow as tf
import tensorflow_probability as tfp

from tf_probunet.geco import Geco
from tf_probunet.latent import gaussian
from tf_probunet.losses import pixel_cross_entropy, standard_gumbel, stochastic_top_k
from tf_probunet.models.learner import Rows, weighted_mean
from tf_probunet.models.segmenter import Segmenter

GUMBEL_STREAM = 23  # tells the seed of the pixels' noise from that of the latents'


class EvidenceSegmenter(Segmenter):
    """A segmenter that maximises the evidence lower bound (Kohl et al. 2018, equation 4); the defaults are the paper's.

    Validation reports the bound as it is in the paper, of all pixels and with the whole beta, whatever training does:
    figures of different objectives compare.

    Args:
        latent_dim: N.
        beta: weight of the KL divergence.
        beta_warmup_steps: over so many first steps beta rises linearly from 0.
        num_posterior_samples: L latents an image and step; their mean cross-entropy has less noise.
        topk_fraction: share of the pixels that count in training, drawn by `stochastic_top_k`; None for all.
        geco_kappa: target for the cross-entropy in nats a pixel that counts, held by `tf_probunet.geco.Geco` instead of
            a fixed beta; None for the plain bound.
        geco_decay, geco_rate: of GECO.
        **kwargs: arguments of every `Segmenter`.
    """

    loss_terms = ("loss", "cross_entropy", "kl")
    training_terms = ("beta",)  # under GECO what the KL weighs beside the cross-entropy, 1 / multiplier

    def __init__(self, *, latent_dim, beta=1.0, beta_warmup_steps=0, num_posterior_samples=1, topk_fraction=None,
                 geco_kappa=None, geco_decay=0.99, geco_rate=0.01, **kwargs):
        super().__init__(**kwargs)
        if num_posterior_samples < 1:
            raise ValueError(f"num_posterior_samples must be at least 1. Received: {num_posterior_samples}.")
        if topk_fraction is not None and not 0 < topk_fraction <= 1:
            raise ValueError(f"topk_fraction must be above 0 and at most 1, or none. Received: {topk_fraction}.")
        if geco_kappa is not None and beta_warmup_steps:
            raise ValueError(
                f"GECO finds the weight of the KL itself and knows no warm-up. Received: geco_kappa {geco_kappa} and "
                f"beta_warmup_steps {beta_warmup_steps}. Set one of them."
            )
        self.latent_dim = latent_dim
        self.beta = beta
        self.beta_warmup_steps = beta_warmup_steps
        self.num_posterior_samples = num_posterior_samples
        self.topk_fraction = topk_fraction
        self.geco_kappa, self.geco_decay, self.geco_rate = geco_kappa, geco_decay, geco_rate
        self.geco = None if geco_kappa is None else Geco(geco_kappa, geco_decay, geco_rate, name="geco")

    def get_config(self):
        names = ("latent_dim", "beta", "beta_warmup_steps", "num_posterior_samples", "topk_fraction", "geco_kappa",
                 "geco_decay", "geco_rate")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def objective(self, images, segmentations, noise=None, sample_weight=None, step=None):
        """The negative evidence lower bound (equation 4), its parts, and weight decay.

        Args:
            images: [B, H, W, C].
            segmentations: [B, H, W] int.
            noise: [B, N] or [B, L, N], standard normal; makes the posterior's samples. With `topk_fraction`, in
                training, a pair of that and Gumbel noise [B, H, W].
            sample_weight: [B] or None.
            step: of training, a scalar; None in validation.
        Returns:
            dict of scalars: loss, cross_entropy (summed over pixels, mean over latents and batch) and kl, in nats; in
            training beta too, and under GECO the constraint.
        """
        self.build()
        features, prior_mean, prior_stddev = self.trunk(images)
        mean, stddev = self._posterior_parameters(images, segmentations)
        posterior, prior = gaussian(mean, stddev), gaussian(prior_mean, prior_stddev)
        kl = weighted_mean(tfp.distributions.kl_divergence(posterior, prior), sample_weight)  # analytic

        latent_noise, gumbel = noise if isinstance(noise, tuple) else (noise, None)
        options = self.cross_entropy_options(step)
        pixels = self._pixel_cross_entropy(features, mean, stddev, latent_noise, segmentations, options)
        cross_entropy = self._mean_sum(pixels, sample_weight)
        decay = sum(self.losses)
        if step is None:
            return {"loss": cross_entropy + self.beta * kl + decay, "cross_entropy": cross_entropy, "kl": kl}

        counted, counting = cross_entropy, segmentations != self.ignore_label  # of [B, H, W]: which pixels count
        if gumbel is not None:
            chosen = [stochastic_top_k(each, self.topk_fraction, gumbel) for each in pixels]
            counted = self._mean_sum([each * which for each, which in zip(pixels, chosen, strict=True)], sample_weight)
            counting = chosen[0]
        terms = {"cross_entropy": cross_entropy, "kl": kl}
        if self.geco is None:
            beta = tf.cast(self.beta_at(step), kl.dtype)
            return terms | {"loss": counted + beta * kl + decay, "beta": beta}
        target = self.geco.kappa * self._mean_sum([tf.cast(counting, counted.dtype)], sample_weight)
        loss = self.geco.loss(counted, target, kl) + decay
        return terms | {"loss": loss, "beta": 1 / self.geco.multiplier, "constraint": (counted - target) / target}

    def beta_at(self, step):
        """Weight of the KL at a training step."""
        if not self.beta_warmup_steps:
            return tf.constant(self.beta, tf.float32)
        return self.beta * tf.minimum(1.0, tf.cast(step, tf.float32) / self.beta_warmup_steps)

    def after_step(self, terms):
        if self.geco is not None:
            self.geco.update(terms["constraint"])

    def training_noise(self, images, step, rows=None):
        """[B, L, N], these rows of the noise of the whole batch: the same on one replica as on several, in one part as
        in many. With `topk_fraction`, in training, a pair of that and Gumbel noise [B, H, W]."""
        shape = tf.shape(images)
        rows = rows or Rows(0, shape[0], shape[0])
        dtype = tf.as_dtype(self.variable_dtype)
        seed = tf.stack([self.seed, -1 if step is None else step])
        own = slice(rows.first, rows.first + rows.count)
        noise = tf.random.stateless_normal((rows.total, self.num_posterior_samples, self.latent_dim), seed, dtype=dtype)
        if step is None or self.topk_fraction is None:
            return noise[own]
        gumbel = standard_gumbel((rows.total, shape[1], shape[2]), tf.random.fold_in(seed, GUMBEL_STREAM), dtype)
        return noise[own], gumbel[own]

    def _pixel_cross_entropy(self, features, mean, stddev, noise, segmentations, options):
        """Cross-entropy of each pixel under each of L posterior samples: a list of [B, H, W]."""
        noise = tf.convert_to_tensor(noise)
        if noise.shape.rank == 2 or noise.shape[1] == 1:
            noise = noise if noise.shape.rank == 2 else noise[:, 0]
            logits = [self.decode(features, mean + stddev * noise)]
        else:
            latents = mean[:, None] + stddev[:, None] * noise  # [B, L, N]
            logits = tf.unstack(self.decode(features, latents), noise.shape[1], axis=1)
        return [pixel_cross_entropy(segmentations, each, **options) for each in logits]

    def _mean_sum(self, pixels, sample_weight):
        """Sum over pixels, mean over latents and batch."""
        sums = [tf.reduce_sum(each, axis=(1, 2)) for each in pixels]  # of [B]
        return weighted_mean(sum(sums) / len(sums) if len(sums) > 1 else sums[0], sample_weight)
