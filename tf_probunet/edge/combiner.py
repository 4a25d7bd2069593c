"""Segmentation hypotheses on a device, from what a server's trunk gave once: numpy and ai-edge-litert, no TensorFlow."""

import os

import numpy as np

from tf_probunet.edge.noise import standard_normal
from tf_probunet.edge.runtime import CompiledFile
from tf_probunet.edge.tflite_file import TfliteFile


class Combiner:
    """The combiner of one exported version, out of a file that `probunet convert` wrote.

    The file is made for one size of features and one number of samples; any other is made of these: larger features
    in tiles, smaller ones padded, further samples in further runs. The combiner sees one pixel at a time, so tiles
    change nothing.

    Args:
        path: the `.tflite` file, or its bytes.
        accelerator: "auto" takes the GPU if there is one, else the CPU; "gpu" and "cpu" take that or raise.
        num_threads: of the CPU.
        half: lets the GPU compute in float16, which is faster and less exact.
    Raises:
        OSError: no such file.
        ValueError: it is no combiner.
        RuntimeError: accelerator is "gpu" and there is none.
        ImportError: ai-edge-litert is not installed.

    Attributes:
        device: where it runs, in words: "GPU", "CPU", or "CPU (no GPU: ...)".
        metadata: what the file says of the model that it comes from; an empty dict if nothing.
        size: (height, width) of the features of one run.
        num_samples: M of one run.
        feature_channels: F. latent_dim: N. num_classes: K.

    Example:
        combiner = Combiner("edge/combiner-64x64-16-float32.tflite")
        segmentations, probabilities = combiner.sample(features, prior_mean, prior_stddev, num_samples=100, seed=(0, 0))
    """

    def __init__(self, path: str | os.PathLike | bytes, accelerator: str = "auto", num_threads: int = 1,
                 half: bool = False):
        file = TfliteFile(path)
        _check_is_combiner(file)
        self.metadata = file.metadata or {}
        self._compiled = CompiledFile(file.content, accelerator, num_threads, half)
        self.device = self._compiled.device
        _, *size, self.feature_channels = file.inputs["features"]
        self.size = tuple(size)
        self.num_samples, _, _, self.latent_dim = file.inputs["latents"]
        self.num_classes = file.outputs["logits"][-1]

    def __call__(self, features, latents) -> np.ndarray:
        """Logits of hypotheses, as the `combiner` signature gives them.

        Args:
            features: [B, H, W, F] from the `trunk` signature.
            latents: [B, M, N].
        Returns:
            logits [B, M, H, W, K] float32.
        Raises:
            ValueError: a shape does not fit.
        """
        features, latents = self._check(features, latents)
        logits = np.empty((*latents.shape[:2], *features.shape[1:3], self.num_classes), np.float32)
        for image, rows, columns, samples, part in self._parts(features, latents):
            logits[image, samples, rows, columns] = part
        return logits

    def sample(self, features, prior_mean, prior_stddev, num_samples: int = 16,
               seed=(0, 0)) -> tuple[np.ndarray, np.ndarray]:
        """Draws hypotheses: those that the server, or `ExportedModel.sample`, draws with that number and seed.

        Args:
            features: [B, H, W, F]; prior_mean and prior_stddev: [B, N]; all from the `trunk` signature.
            num_samples: M, any number.
            seed: two integers.
        Returns:
            segmentations [B, M, H, W] uint8 and probabilities [B, H, W, K] float32, the mean over the samples.
        Raises:
            ValueError: a shape does not fit.
        """
        mean, stddev = (self._check_prior(value, name, features)
                        for value, name in ((prior_mean, "prior_mean"), (prior_stddev, "prior_stddev")))
        if num_samples < 1:
            raise ValueError(f"num_samples must be 1 or more. Received: {num_samples}.")
        noise = standard_normal((len(mean), num_samples, self.latent_dim), seed)
        features, latents = self._check(features, mean[:, None] + stddev[:, None] * noise)
        segmentations = np.empty((*latents.shape[:2], *features.shape[1:3]), np.uint8)
        sums = np.zeros((*features.shape[:3], self.num_classes))
        for image, rows, columns, samples, part in self._parts(features, latents):
            segmentations[image, samples, rows, columns] = part.argmax(-1)
            sums[image, rows, columns] += _softmax(part).sum(0, dtype=np.float64)
        return segmentations, (sums / num_samples).astype(np.float32)

    def _parts(self, features, latents):
        """Runs every image's tiles for every group of samples: (image, rows, columns, samples, logits [m, h, w, K])."""
        height, width = self.size
        for image, (maps, points) in enumerate(zip(features, latents, strict=True)):
            groups = []
            for first in range(0, len(points), self.num_samples):
                group = points[first : first + self.num_samples]
                groups.append((slice(first, first + len(group)), _pad(group, (self.num_samples,))[:, None, None]))
            for top in range(0, maps.shape[0], height):
                for left in range(0, maps.shape[1], width):
                    tile = maps[top : top + height, left : left + width]
                    self._compiled.write(features=_pad(tile, self.size)[None])
                    rows, columns = slice(top, top + tile.shape[0]), slice(left, left + tile.shape[1])
                    for samples, group in groups:
                        self._compiled.write(latents=group)
                        logits = self._compiled.run()["logits"]
                        count = samples.stop - samples.start
                        yield image, rows, columns, samples, logits[:count, : tile.shape[0], : tile.shape[1]]

    def _check(self, features, latents):
        features, latents = np.asarray(features, np.float32), np.asarray(latents, np.float32)
        self._check_features(features)
        expected = (len(features), "M", self.latent_dim)
        if latents.ndim != 3 or (len(latents), latents.shape[2]) != expected[::2]:
            raise ValueError(f"Latents must have shape [B, M, {self.latent_dim}] with the features' B, {expected[0]}. "
                             f"Received: {list(latents.shape)}.{self._of_another_model()}")
        return features, latents

    def _check_features(self, features):
        if features.ndim != 4 or features.shape[3] != self.feature_channels or not features.size:
            raise ValueError(f"Features must have shape [B, H, W, {self.feature_channels}], as the trunk gives them. "
                             f"Received: {list(features.shape)}.{self._of_another_model()}")

    def _check_prior(self, value, name, features):
        value, features = np.asarray(value, np.float32), np.asarray(features)
        self._check_features(features)
        if value.shape != (len(features), self.latent_dim):
            raise ValueError(f"{name} must have shape [B, N], here {[len(features), self.latent_dim]}. Received: "
                             f"{list(value.shape)}.{self._of_another_model()}")
        return value

    def _of_another_model(self):
        name = self.metadata.get("model")
        return f" This file is of {name}: are trunk and combiner of one version?" if name else ""


def _check_is_combiner(file):
    if sorted(file.inputs) != ["features", "latents"] or list(file.outputs) != ["logits"]:
        raise ValueError(
            f"{file.path or 'The model'} is no combiner: it takes {_list(file.inputs)} and gives {_list(file.outputs)}; "
            "expected features and latents, and logits. Give a file combiner-*.tflite that `probunet convert` wrote."
        )


def _list(names):
    return " and ".join(names) or "nothing that has a name"


def _pad(array, sizes):
    missing = [(0, size - have) for size, have in zip(sizes, array.shape, strict=False)]
    return np.pad(array, missing + [(0, 0)] * (array.ndim - len(missing))) if any(map(sum, missing)) else array


def _softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
