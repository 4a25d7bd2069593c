"""What the trunk gives of real images, for calibrating and checking files for devices."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tf_probunet.data.dataset import DatasetInfo
from tf_probunet.data.reading import evaluation_dataset
from tf_probunet.edge.noise import standard_normal
from tf_probunet.export.exported import ExportedModel

LATENT_RANGE = 3.5  # prior standard deviations; one standard-normal number in 2,000 lies beyond


class Examples(NamedTuple):
    """Images, what the exported trunk gives of them, and their graders.

    Attributes:
        images: [B, H, W, C]. features: [B, H, W, F]. prior_mean, prior_stddev: [B, N].
        segmentations: [B, R, H, W], or None where nobody segmented them.
        grader_weights: [B, R], or None.
        source: what the images are, in words.
    """

    images: np.ndarray
    features: np.ndarray
    prior_mean: np.ndarray
    prior_stddev: np.ndarray
    segmentations: np.ndarray | None
    grader_weights: np.ndarray | None
    source: str

    def latents(self, num_samples: int, seed) -> np.ndarray:
        """Drawn from the priors, [B, M, N]."""
        noise = standard_normal((len(self.images), num_samples, self.prior_mean.shape[1]), seed)
        return self.prior_mean[:, None] + self.prior_stddev[:, None] * noise


def examples_of(exported: ExportedModel, data: DatasetInfo, split: str, size: tuple[int, int],
                num_images: int) -> Examples:
    """Images spread evenly over a split, their middles cut to `size`."""
    data = data.with_window(exported.window)
    batches = list(evaluation_dataset(data, split, num_images, crop_size=size, limit=num_images))
    batch = batches[0]
    return _through_trunk(exported, batch["image"].numpy(), batch["segmentations"].numpy(),
                          batch["grader_weights"].numpy(), f"{len(batch['image'])} images of {data.folder.name}/{split}")


def made_up_examples(exported: ExportedModel, size: tuple[int, int], num_images: int = 4) -> Examples:
    """Images of noise: enough to compare numbers, not to calibrate."""
    shape = (num_images, *size, exported.config["image_channels"])
    images = np.random.default_rng(0).random(shape, np.float32)
    return _through_trunk(exported, images, None, None, f"{num_images} images of noise")


def calibration(examples: Examples, num_samples: int, seed) -> Iterator[dict]:
    """Inputs of the combiner whose ranges are those of real ones, latents up to `LATENT_RANGE` standard deviations.

    Every image is shown with latents drawn from its prior and cut off there, and with the two ends of each dimension
    alone: the corners of the whole box are never drawn, and would stretch the steps of 8 bits for nothing.
    """
    latent_dim = examples.prior_mean.shape[1]
    ends = LATENT_RANGE * np.concatenate([np.eye(latent_dim), -np.eye(latent_dim)]).astype(np.float32)  # [2 N, N]
    drawn = np.clip(standard_normal((len(examples.images), 2 * num_samples, latent_dim), seed), -LATENT_RANGE,
                    LATENT_RANGE)
    for index in range(len(examples.images)):
        noise = np.concatenate([ends, drawn[index]])
        latents = examples.prior_mean[index] + examples.prior_stddev[index] * noise
        for first in range(0, len(latents), num_samples):
            group = np.take(latents, range(first, first + num_samples), axis=0, mode="wrap")
            yield {"features": examples.features[index : index + 1], "latents": group[:, None, None]}


def _through_trunk(exported, images, segmentations, weights, source):
    found = [exported.signatures["trunk"](images=tf.constant(image[None])) for image in images]
    outputs = {name: np.concatenate([part[name].numpy() for part in found]).astype(np.float32) for name in found[0]}
    return Examples(images, outputs["features"], outputs["prior_mean"], outputs["prior_stddev"], segmentations, weights,
                    source)
