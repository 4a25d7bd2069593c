"""The U-Net Ensemble (Lakshminarayanan et al. 2017), a baseline of the paper: its members' answers are the samples."""

import functools

import keras
import tensorflow as tf

from tf_probunet.models.deterministic_unet import DeterministicUNet
from tf_probunet.models.hypotheses import choose, mean_logits
from tf_probunet.models.segmenter import Segmenter


@keras.saving.register_keras_serializable(package="tf_probunet")
class UNetEnsemble(Segmenter):
    """Plain U-Nets that were initialised and trained independently of each other.

    Samples are members, in an order drawn from the seed; more samples than members repeat them. `model(images)` is the
    mean of their probabilities.

    `fit` trains all members at once: each takes its own step on its own loss, but all on the same batch. Members that
    also see different batches and graders, as the paper's do, come from `tf_probunet.training.train`, which trains
    them one after the other. An optimizer that looks at all gradients together, as `global_clipnorm` does, ties the
    members of one `fit`.

    Args:
        num_members: as many as samples, in the paper.
        **kwargs: arguments of every `tf_probunet.models.Segmenter`.

    Example:
        >>> import numpy as np
        >>> model = UNetEnsemble(num_classes=2, channels=(8, 16), num_members=4)
        >>> model.sample(np.zeros((2, 32, 32, 1), "float32"), num_samples=4).shape
        TensorShape([2, 4, 32, 32, 2])
    """

    def __init__(self, *, num_members=16, **kwargs):
        super().__init__(**kwargs)
        if num_members < 1:
            raise ValueError(f"num_members must be at least 1. Received: {num_members}.")
        self.num_members = num_members
        shared = {name: value for name, value in Segmenter.get_config(self).items() if name not in ("name", "dtype")}
        self.members = [
            DeterministicUNet(name=f"member_{index:02d}", dtype=self.dtype_policy, **shared)
            for index in range(num_members)
        ]

    @property
    def num_hypotheses(self):
        return self.num_members

    def build(self, input_shape=None):
        if self.built:
            return
        for member in self.members:
            member.build()
        self.built = True

    def get_config(self):
        return {**super().get_config(), "num_members": self.num_members}

    def call(self, images):
        """Logits [B, H, W, K] of the mean of all members' probabilities."""
        images = self.check_images(images)
        return mean_logits(tf.stack([member.logits(images) for member in self.members], axis=1))

    def sample(self, images, num_samples=16, seed=(0, 0)):
        """Members in an order drawn from the seed.

        Args:
            images: [B, H, W, C] float32; H and W multiples of `size_multiple`.
            num_samples: M; no member comes twice before all were there.
            seed: two integers (or one); the same seed gives the same samples.
        Returns:
            logits [B, M, H, W, K].
        """
        members = choose(self.num_members, num_samples, self.check_seed(seed))
        logits = self._hypotheses(self.ready(images), members[: self.num_members])
        return tf.gather(logits, tf.range(num_samples) % self.num_members, axis=1)

    def objective(self, images, segmentations, noise=None, sample_weight=None, step=None):
        """The mean of the members' objectives."""
        self.build()
        terms = [member.objective(images, segmentations, None, sample_weight, step) for member in self.members]
        return {name: sum(term[name] for term in terms) / self.num_members for name in self.loss_terms}

    def loss_and_gradients(self, images, segmentations, noise, sample_weight, step):
        """Each member's gradient is that of its own loss, as if it trained alone."""
        all_terms, gradients = [], []
        for member in self.members:
            # One member after the other: the activations of all at once would need as many times the memory.
            with tf.control_dependencies(gradients[-1:]):
                images = tf.identity(images)
            with tf.GradientTape() as tape:
                terms = member.objective(images, segmentations, None, sample_weight, step)
                scaled_loss = self.scale_loss(terms["loss"])
            gradients += tape.gradient(scaled_loss, member.trainable_weights)
            all_terms.append(terms)
        return {name: sum(terms[name] for terms in all_terms) / self.num_members for name in self.loss_terms}, gradients

    @tf.function(reduce_retracing=True)
    def _hypotheses(self, images, members):
        branches = [functools.partial(member.logits, images) for member in self.members]
        logits = tf.map_fn(lambda index: tf.switch_case(index, branches), members,
                           fn_output_signature=tf.as_dtype(self.variable_dtype), parallel_iterations=1)
        return tf.transpose(logits, [1, 0, 2, 3, 4])  # from [members, B, H, W, K]
