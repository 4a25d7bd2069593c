"""Measures a model's samples against all graders of a split, and keeps every image's figures."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np

from tf_probunet.data.dataset import DatasetInfo
from tf_probunet.data.flips import flips_to_json, mode_probabilities
from tf_probunet.data.reading import evaluation_dataset, explain_damage
from tf_probunet.evaluation_cases import class_probability, example_cases
from tf_probunet.evaluation_measures import measure_batch
from tf_probunet.evaluation_summary import summarize_images
from tf_probunet.evaluation_text import table
from tf_probunet.models import Segmenter
from tf_probunet.staging import replace_file

__all__ = ["Evaluation", "class_probability", "evaluate", "example_cases", "table"]
SAMPLE_COUNTS = (1, 4, 8, 16)
FILE_NAME = "evaluation.npz"


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What was measured, an entry an image; `summary` says it in a few figures.

    All arrays are float64, and NaN where a figure is not defined for an image.

    Args:
        energy_distance: [B] by number of samples: the mean over all subsets of so many of the samples drawn, of which
            none are of one hypothesis where there are enough hypotheses.
        cross, sample_diversity, grader_diversity: [B], E d(S,Y), E d(S,S') and E d(Y,Y') of all samples drawn.
        matched_iou: [B] by number of samples: Hungarian-matched IoU, the mean over groups of so many samples.
        reconstruction_iou: [B], mean over graders (with flips: over 4 modes drawn by probability) of the IoU of their
            segmentation and its reconstruction from the posterior's mean; NaN for models without posterior.
        variance_error_correlation: [B], correlation over pixels of the samples' spread with their error.
        calibration: [B, bins, 3] pixels, summed confidence, summed accuracy of the mean probability: of the
            foreground with two classes, else of the likeliest class. Bins add up over images.
        grader_presence: [B] share of graders who drew something.
        sample_presence: [B] share of samples that hold something.
        groups, source_ids: [B] of the images.
        settings: what was evaluated, and how.
        mode_weights: [2^F] probabilities of the modes. This and all following only for data with F flips, else None.
        mode_counts, mode_truth: [B, 2^F] samples nearest to each mode, the first of those at equal distance (as
            published); and the share of each mode that a perfect sampler has under this rule.
        mode_counts_split, mode_truth_split: the same, split evenly over modes at equal distance.
        pixel_mode_counts, pixel_mode_truth: the same by a vote of pixels on each flip, unflipped where there are none.
        flip_pixels: [B, F, 3] pixels of each class that flips, times samples; those sampled as it; as its twin.
        flip_recovery: [B, F, 2, 2] votes of reconstructions on each flip, as
            `tf_probunet.metrics.flip_recovery_counts` gives them; None for models without posterior.
    """

    energy_distance: dict[int, np.ndarray]
    cross: np.ndarray
    sample_diversity: np.ndarray
    grader_diversity: np.ndarray
    matched_iou: dict[int, np.ndarray]
    reconstruction_iou: np.ndarray
    variance_error_correlation: np.ndarray
    calibration: np.ndarray
    grader_presence: np.ndarray
    sample_presence: np.ndarray
    groups: np.ndarray
    source_ids: np.ndarray
    settings: dict
    mode_weights: np.ndarray | None = None
    mode_counts: np.ndarray | None = None
    mode_truth: np.ndarray | None = None
    mode_counts_split: np.ndarray | None = None
    mode_truth_split: np.ndarray | None = None
    pixel_mode_counts: np.ndarray | None = None
    pixel_mode_truth: np.ndarray | None = None
    flip_pixels: np.ndarray | None = None
    flip_recovery: np.ndarray | None = None

    @property
    def disagreed(self) -> np.ndarray:
        """[B] whether some graders drew something and some nothing."""
        return (self.grader_presence > 0) & (self.grader_presence < 1)

    @property
    def pixel_flip_rates(self) -> np.ndarray | None:
        """[B, F] share of the twin in the pixels given to a class or its twin; NaN without any; None without flips."""
        if self.flip_pixels is None:
            return None
        kept, flipped = self.flip_pixels[..., 1], self.flip_pixels[..., 2]
        return flipped / np.where(kept + flipped > 0, kept + flipped, np.nan)

    def summary(self) -> dict:
        """Figures for all images and for those whose graders disagree on presence, ready for JSON."""
        everything = np.ones(len(self.groups), bool)
        return {
            **self.settings,
            "images": {
                name: summarize_images(self, chosen)
                for name, chosen in (("all", everything), ("presence_disagreed", self.disagreed))
                if chosen.any()
            },
        }

    def save(self, path) -> Path:
        """Writes everything into one .npz file.

        Args:
            path: the file, or a folder, in which it is named evaluation.npz.
        Returns:
            The file.
        """
        path = _file(path)
        arrays = {"settings": np.array(json.dumps(self.settings))}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "settings" or value is None:
                continue
            if isinstance(value, dict):
                arrays |= {f"{field.name}/{count}": array for count, array in value.items()}
            else:
                arrays[field.name] = value
        with replace_file(path, "wb") as file:
            np.savez_compressed(file, **arrays)
        return path

    @classmethod
    def load(cls, path) -> "Evaluation":
        """Reads what `save` wrote.

        Args:
            path: the file, or its folder.
        Raises:
            FileNotFoundError: there is none.
            ValueError: the file holds something else.
        """
        path = _file(path)
        if not path.is_file():
            raise FileNotFoundError(f"No evaluation: {path} is not there. `Evaluation.save` writes it.")
        with np.load(path, allow_pickle=False) as stored:
            values = {}
            for key in stored.files:
                name, _, count = key.partition("/")
                if count:
                    values.setdefault(name, {})[int(count)] = stored[key]
                else:
                    values[name] = stored[key]
        known = {field.name: field for field in dataclasses.fields(cls)}
        needed = {name for name, field in known.items() if field.default is dataclasses.MISSING}
        if not needed <= set(values) <= set(known):
            raise ValueError(
                f"{path} is no evaluation of this version. "
                f"Missing: {', '.join(sorted(needed - set(values))) or 'nothing'}; "
                f"unknown: {', '.join(sorted(set(values) - set(known))) or 'nothing'}. Evaluate again."
            )
        return cls(**values | {"settings": json.loads(str(values["settings"]))})


def _file(path) -> Path:
    path = Path(path)
    return path if path.suffix == ".npz" else path / FILE_NAME


def evaluate(model: Segmenter, data: DatasetInfo, split="val", *, num_samples=16, seed=0, batch_size=16,
             crop_size=None, limit=None, progress=lambda done, total: None) -> Evaluation:
    """Draws samples for every image of a split and compares them with its graders.

    For n below `num_samples` the figure is the mean over all subsets of n of the drawn samples, which is what n
    samples give on average, with less noise than the first n. Of a model of H hypotheses, such as an ensemble, n
    samples are of different ones as long as there are enough: the mean is over all subsets of n of the H. Beyond H the
    first n samples are taken.

    Args:
        model: any segmenter.
        data: dataset folder.
        split: name of the split.
        num_samples: M, samples an image; figures are given at those of 1, 4, 8, 16 that do not exceed it, and at M.
        seed: of samples and of the bootstrap. Samples follow from seed, batch_size and the image's place.
        batch_size: images at once.
        crop_size: (height, width) of the central crop; None for whole images.
        limit: evaluate this many images, spread evenly; None for all.
        progress: called with (images done, images in all).
    Raises:
        ValueError: model and data do not fit; `num_samples` is below 1.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1. Received: {num_samples}.")
    if model.num_classes != data.num_classes:
        raise ValueError(f"The model has {model.num_classes} classes, the dataset {data.folder} {data.num_classes}.")
    counts = sorted({count for count in (*SAMPLE_COUNTS, num_samples) if count <= num_samples})
    dataset = evaluation_dataset(data, split, batch_size, crop_size=crop_size, limit=limit)
    total = min(data.num_images(split), limit or math.inf)
    columns: dict[str, list] = {}
    done = 0
    with explain_damage(data):
        for index, batch in enumerate(dataset):
            logits = model.sample(batch["image"], num_samples, seed=(seed, index))
            measured = measure_batch(model, batch, logits, counts, data.flips, seed=(seed, index))
            for name, values in measured.items():
                columns.setdefault(name, []).append(values)
            done += len(measured["groups"])
            progress(done, total)
    return Evaluation(
        **{name: _join(parts) for name, parts in columns.items()},
        mode_weights=mode_probabilities(data.flips) if data.flips else None,
        settings={
            "data": data.source,
            "split": split,
            "image_size": list(logits.shape[2:4]),
            "num_samples": num_samples,
            "seed": seed,
            "batch_size": batch_size,
            **({"scored_classes": [data.classes[label] for label in data.scored_classes],
                "flips": flips_to_json(data.flips, data.classes)} if data.flips else {}),
        },
    )


def _join(parts):
    if isinstance(parts[0], dict):
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return np.concatenate(parts)
