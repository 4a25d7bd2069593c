"""What validation images say after each epoch: losses, energy distance, and whether the latent space is alive."""

import keras
import numpy as np
import tensorflow as tf

from tf_probunet.callbacks.weights import averaged_weights
from tf_probunet.metrics import energy_distance, nested_share

ACTIVE = 0.01  # nats of KL from which on a latent counts as active


class Validation(keras.callbacks.Callback):
    """Energy distance and the parts of the loss on a fixed set of validation images, with averaged weights.

    Adds to the logs that later callbacks see: `val_loss`, `val_cross_entropy`, `val_energy_distance`,
    `val_sample_diversity`, `val_grader_diversity` and `val_nested_pairs` (0 where no two samples differ); of models with a latent
    space also `val_kl`, its parts `val_kl_0`, `val_kl_1`, .. by latent, `val_active_latents`, those with more than 0.01
    nats, and `val_prior_stddev`, the mean over latents and images.

    Args:
        dataset: batches as `tf_probunet.data.reading.evaluation_dataset` gives them; read once an epoch and again for
            the losses, so it had better be cached.
        num_samples: M.
        seed: of the samples; the same every epoch.
        classes: under test; None for the foreground.
    """

    def __init__(self, dataset, num_samples, seed, classes=None):
        super().__init__()
        self.dataset, self.num_samples, self.seed, self.classes = dataset, num_samples, seed, classes

    def on_epoch_end(self, epoch, logs):
        with averaged_weights(self.model):
            one_grader = self.dataset.enumerate().map(one_grader_an_image)
            losses = self.model.evaluate(one_grader, return_dict=True, verbose=0)
            found = [self._measure(index, batch) for index, batch in enumerate(self.dataset)]
            latents = self._latents(one_grader) if hasattr(self.model, "posterior") else {}
        logs.update({f"val_{name}": float(value) for name, value in losses.items()})
        for name in found[0]:
            values = np.concatenate([measures[name] for measures in found])
            known = values[~np.isnan(values)]
            logs[f"val_{name}"] = float(np.mean(known)) if len(known) else 0.0
        logs.update(latents)

    def _measure(self, index, batch):
        """Measures of each image of a batch, [B] by name."""
        model = self.model
        samples = np.argmax(model.sample(batch["image"], self.num_samples, seed=(self.seed, index)), axis=-1)
        options = dict(classes=self.classes, ignore_label=model.ignore_label)
        distance = energy_distance(samples, batch["segmentations"].numpy(), model.num_classes,
                                   grader_weights=batch["grader_weights"].numpy(), **options)
        return {
            "energy_distance": distance.energy_distance,
            "sample_diversity": distance.sample_diversity,
            "grader_diversity": distance.grader_diversity,
            "nested_pairs": nested_share(samples, model.num_classes, **options),
        }

    def _latents(self, one_grader):
        """KL of the posterior from the prior by latent, averaged over images, and what follows from it."""
        divergences, stddevs = [], []
        for images, segmentations in one_grader:
            posterior, prior = self.model.posterior(images, segmentations), self.model.prior(images)
            ratio = posterior.stddev() / prior.stddev()
            shift = (posterior.mean() - prior.mean()) / prior.stddev()
            divergences.append(0.5 * (ratio**2 + shift**2 - 1) - tf.math.log(ratio))  # [B, N], of two Gaussians
            stddevs.append(prior.stddev())
        by_latent = tf.reduce_mean(tf.concat(divergences, axis=0), axis=0).numpy()
        return {
            **{f"val_kl_{place}": float(kl) for place, kl in enumerate(by_latent)},
            "val_active_latents": int(np.sum(by_latent > ACTIVE)),
            "val_prior_stddev": float(tf.reduce_mean(tf.concat(stddevs, axis=0))),
        }


def one_grader_an_image(index, batch):
    """One grader an image stands for the training's random draw; never one that weighs 0, as padding does.

    Where graders weigh alike they take turns from image to image; modes of flips come up as often as they are
    probable: of n graders, image i gets the one at the quantile (i mod n + 1/2) / n.
    """
    weights = batch["grader_weights"]
    num_graders = tf.math.count_nonzero(weights, axis=1)
    size = tf.size(num_graders, out_type=tf.int64)
    quantile = tf.cast((index * size + tf.range(size)) % num_graders, tf.float32) + 0.5
    below = tf.cumsum(weights, axis=1) <= (quantile / tf.cast(num_graders, tf.float32))[:, None]
    grader = tf.math.count_nonzero(below, axis=1)
    return batch["image"], tf.gather(batch["segmentations"], grader, axis=1, batch_dims=1)
