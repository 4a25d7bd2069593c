"""A version that `probunet export` wrote, loaded in this process and checked against its manifest."""

import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from tf_probunet.data.dataset import ImageEncoding
from tf_probunet.export.manifest import NAME, read_manifest
from tf_probunet.export.version_numbers import version_numbers
from tf_probunet.models.segmenter import check_size


class ExportedModel:
    """Draws samples from a SavedModel; the same seed gives what `sample` of the Keras model gives.

    Args:
        folder: a version, `saved_models/NAME/1`, or `saved_models/NAME` for the newest.
    Raises:
        OSError: there is no such version, or a file in it is missing or changed.
    """

    def __init__(self, folder: str | os.PathLike):
        folder = Path(folder)
        if not (folder / NAME).is_file():
            numbers = version_numbers(folder)
            if not numbers:
                what = "holds no version" if folder.is_dir() else "does not exist"
                raise FileNotFoundError(
                    f"{folder} {what}. Expected a folder that `probunet export` wrote, such as saved_models/lidc."
                )
            folder = folder / str(numbers[-1])
        self.folder = folder
        self.manifest = read_manifest(folder)
        self.config = self.manifest["model"]["config"]
        self.image = ImageEncoding(**self.manifest.get("data", {}).get("image", {}))
        self._saved_model = tf.saved_model.load(folder)  # kept: signatures hold its variables weakly
        self.signatures = self._saved_model.signatures

    @property
    def window(self) -> tuple[float, float] | None:
        """The values seen as 0 and as 1, in the units of the training data; None for those of its dataset."""
        return self.manifest.get("experiment", {}).get("window")

    @property
    def num_classes(self) -> int:
        return self.config["num_classes"]

    @property
    def trained_size(self) -> tuple[int, int] | None:
        """Height and width of the crops on which the model was validated, where its manifest says so."""
        return next(iter(self.trained_sizes), None)

    @property
    def trained_sizes(self) -> list[tuple[int, int]]:
        """Heights and widths of the crops that it was trained on, that on which it was validated first."""
        experiment = self.manifest.get("experiment", {})
        size = experiment.get("crop_size")
        scales = (1.0, *experiment.get("crop_scales", ()))
        return list(dict.fromkeys(tuple(round(side * scale) for side in size) for scale in scales)) if size else []

    @property
    def title(self) -> str:
        """Name and version, for people."""
        return f"{self.manifest['name']} version {self.manifest['version']}"

    @property
    def source(self) -> str:
        """What the model was trained on, for people."""
        return self.manifest.get("data", {}).get("source", "unknown data")

    def sample(self, images, num_samples=16, seed=(0, 0)):
        """Draws segmentation hypotheses.

        Args:
            images: [B, H, W, C] float32, 0..1.
            num_samples: M.
            seed: two integers.
        Returns:
            segmentations [B, M, H, W] uint8 and probabilities [B, H, W, K] float32, the mean over the samples.
        """
        images = np.asarray(images, np.float32)
        if images.ndim != 4 or images.shape[3] != self.config["image_channels"]:
            raise ValueError(
                f"Images must have shape [B, H, W, {self.config['image_channels']}]. Received: {list(images.shape)}."
            )
        check_size(*images.shape[1:3], 2 ** (len(self.config["channels"]) - 1))
        noise = tf.random.stateless_normal((len(images), num_samples, self.config["latent_dim"]), seed)
        outputs = self.signatures["serving_default"](images=tf.constant(images), noise=noise)
        return outputs["segmentations"].numpy(), outputs["probabilities"].numpy()
