"""One exploration: a model, its combiner as a file, and the images; what the page asks for, in Python."""

import dataclasses

import numpy as np

from tf_probunet.edge.tflite_file import TfliteFile
from tf_probunet.explore.cases import Cases
from tf_probunet.explore.combiner_file import ConvertedCombiner, GivenCombiner
from tf_probunet.explore.models import ExploredModel
from tf_probunet.explore.payload import pack
from tf_probunet.serving.noise import standard_normal

MAX_SAMPLES = 256


class Session:
    """Answers what the page asks.

    Args:
        model: runs the trunk.
        combiner: gives the file that the browser runs.
        cases: the images.
        num_samples: hypotheses on the wall.
        seed: of the first wall.
    """

    def __init__(self, model: ExploredModel, combiner: ConvertedCombiner | GivenCombiner, cases: Cases, *,
                 num_samples: int = 64, seed: int = 0):
        if not 2 <= num_samples <= MAX_SAMPLES:
            raise ValueError(f"num_samples must lie between 2 and {MAX_SAMPLES}. Received: {num_samples}.")
        self.model, self.combiner, self.cases = model, combiner, cases
        self.num_samples, self.seed = num_samples, seed

    def describe(self) -> dict:
        """What the page shows before any image, JSON values."""
        classes = self.model.classes or ["background", *(f"class {k}" for k in range(1, self.model.num_classes))]
        if self.model.classes is None and self.model.num_classes == 2:
            classes = ["background", "foreground"]
        return {
            "model": self.model.title, "classes": list(classes), "trained_size": self.model.trained_size,
            "fingerprint": self.model.fingerprint, "source": self.cases.source,
            "num_images": len(self.cases), "num_samples": self.num_samples, "seed": self.seed,
        }

    def image(self, index: int) -> bytes:
        """Packs image `index` with features, prior, graders, and logits at the prior mean to compare with.

        Raises:
            IndexError: there is no such image. ValueError: it does not fit the model. OSError: it cannot be read, or
            the model's server did not answer.
        """
        if not 0 <= index < len(self.cases):
            raise IndexError(f"There are {len(self.cases)} images. Received: {index}.")
        case = self.cases[index]
        pixels = case.network_input
        trunk = self.model.trunk(pixels[None])
        reference = self.model.combine(trunk, trunk.prior_mean[:, None])
        facts = {
            "index": index, "name": case.name, "whole_size": case.whole_size, "spacing_mm": case.spacing_mm,
            "encoding": None if case.encoding is None else dataclasses.asdict(case.encoding),
        }
        arrays = {
            "image": case.stored, "segmentations": case.segmentations,
            "features": trunk.features[0].astype(np.float32), "prior_mean": trunk.prior_mean[0],
            "prior_stddev": trunk.prior_stddev[0], "reference": reference[0, 0],
        }
        return pack(facts, arrays)

    def noise(self, latent_dim: int, seed: int) -> bytes:
        """Packs the wall's noise [M, N], which `ExportedModel.sample` draws for an image and (seed, 0)."""
        if not 1 <= latent_dim <= 1024:
            raise ValueError(f"latent_dim must lie between 1 and 1024. Received: {latent_dim}.")
        if not 0 <= seed < 2**31:
            raise ValueError(f"A seed is a whole number from 0 to {2**31 - 1}. Received: {seed}.")
        return pack({"seed": seed}, {"noise": standard_normal((1, self.num_samples, latent_dim), (seed, 0))[0]})

    def combiner_file(self, height: int, width: int) -> TfliteFile:
        """The combiner for images of that size."""
        if not (1 <= height <= 4096 and 1 <= width <= 4096):
            raise ValueError(f"Height and width must lie between 1 and 4096. Received: {height}x{width}.")
        return self.combiner.of_size((height, width))
