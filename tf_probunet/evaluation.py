"""Measures a model's samples against all graders of a split: energy distance, its floor, presence."""

import dataclasses
import math

import numpy as np

from tf_probunet.data.dataset import DatasetInfo
from tf_probunet.data.reading import evaluation_dataset, explain_damage
from tf_probunet.metrics import (
    bootstrap_interval,
    energy_distance_from_distances,
    floor,
    ignore_unlabelled,
    pairwise_distance,
    presence,
)
from tf_probunet.models import Segmenter

SAMPLE_COUNTS = (1, 4, 8, 16)
NUM_MODES_SHOWN = 4  # of the 2^F of a dataset with F flips, in a figure


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What was measured, an entry an image; `summary` says it in a few figures.

    Args:
        energy_distance: [B] by number of samples.
        cross, sample_diversity, grader_diversity: [B], E d(S,Y), E d(S,S') and E d(Y,Y') of all samples drawn.
        grader_presence: [B] share of graders who drew something.
        sample_presence: [B] share of samples that hold something.
        groups, source_ids: [B] of the images.
        settings: what was evaluated, and how.
    """

    energy_distance: dict[int, np.ndarray]
    cross: np.ndarray
    sample_diversity: np.ndarray
    grader_diversity: np.ndarray
    grader_presence: np.ndarray
    sample_presence: np.ndarray
    groups: np.ndarray
    source_ids: np.ndarray
    settings: dict

    @property
    def disagreed(self) -> np.ndarray:
        """[B] whether some graders drew something and some nothing."""
        return (self.grader_presence > 0) & (self.grader_presence < 1)

    def summary(self) -> dict:
        """Figures for all images and for those whose graders disagree on presence, ready for JSON."""
        everything = np.ones(len(self.groups), bool)
        return {
            **self.settings,
            "images": {
                name: self._figures(chosen)
                for name, chosen in (("all", everything), ("presence_disagreed", self.disagreed))
                if chosen.any()
            },
        }

    def _figures(self, chosen):
        both = (self.sample_presence > 0) & (self.sample_presence < 1)
        return {
            "num_images": int(chosen.sum()),
            "num_groups": len(set(self.groups[chosen].tolist())),
            "energy_distance": {
                str(count): self._distance(values, count, chosen) for count, values in self.energy_distance.items()
            },
            "cross": float(self.cross[chosen].mean()),
            "sample_diversity": float(self.sample_diversity[chosen].mean()),
            "grader_diversity": float(self.grader_diversity[chosen].mean()),
            "both_empty_and_filled_samples": float(both[chosen].mean()),
            "sample_presence": float(self.sample_presence[chosen].mean()),
            "grader_presence": float(self.grader_presence[chosen].mean()),
        }

    def _distance(self, values, num_samples, chosen):
        groups = self.groups[chosen]
        # One group says nothing about how groups differ; no interval is then better than a wrong one.
        several = len(set(groups.tolist())) > 1
        low, high = bootstrap_interval(values[chosen], groups, seed=self.settings["seed"]) if several else (None, None)
        return {
            "mean": float(values[chosen].mean()),
            "interval_95": [low, high],
            "floor": float(floor(self.grader_diversity[chosen].mean(), num_samples)),
        }


def evaluate(model: Segmenter, data: DatasetInfo, split="val", *, num_samples=16, seed=0, batch_size=16,
             crop_size=None, limit=None, progress=lambda done, total: None) -> Evaluation:
    """Draws samples for every image of a split and compares them with its graders.

    For n below `num_samples` the figure is the mean over all subsets of n of the drawn samples, which is what n
    samples give on average, with less noise than the first n.

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
            samples = np.argmax(logits, axis=-1).astype(np.uint8)  # [B, M, H, W]
            for name, values in _measure(model, samples, batch, counts, data.scored_classes).items():
                columns.setdefault(name, []).append(values)
            done += len(samples)
            progress(done, total)
    joined = {name: np.concatenate(values) for name, values in columns.items()}
    return Evaluation(
        energy_distance={count: joined.pop(count) for count in counts},
        **joined,
        settings={
            "data": data.source,
            "split": split,
            "image_size": list(logits.shape[2:4]),
            "num_samples": num_samples,
            "seed": seed,
            "batch_size": batch_size,
            **({"scored_classes": [data.classes[label] for label in data.scored_classes]} if data.flips else {}),
        },
    )


def _measure(model, samples, batch, counts, classes) -> dict:
    graders = batch["segmentations"].numpy()
    weights = batch["grader_weights"].numpy().astype(np.float64)
    weights /= weights.sum(axis=1, keepdims=True)
    options = dict(num_classes=model.num_classes, classes=classes, ignore_label=model.ignore_label)
    labelled = ignore_unlabelled(samples, graders, ignore_label=model.ignore_label)
    distances = (
        pairwise_distance(labelled, graders, **options),
        pairwise_distance(labelled, labelled, **options),
        pairwise_distance(graders, graders, **options),
    )
    result = {
        count: energy_distance_from_distances(*distances, num_samples=count, grader_weights=weights).energy_distance
        for count in counts
    }
    whole = energy_distance_from_distances(*distances, grader_weights=weights)
    return result | {
        "cross": whole.cross,
        "sample_diversity": whole.sample_diversity,
        "grader_diversity": whole.grader_diversity,
        # Rounded, because weights that sum to 1 but for the last bit are no disagreement.
        "grader_presence": (presence(graders, **options) * weights).sum(axis=1).round(12),
        "sample_presence": presence(samples, **options).mean(axis=1),
        "groups": np.array([name.decode() for name in batch["group"].numpy()]),
        "source_ids": np.array([name.decode() for name in batch["source_id"].numpy()]),
    }


def table(summary: dict) -> str:
    """The summary as a few aligned lines of text."""
    lines = [
        f"Split {summary['split']}, {summary['image_size'][0]}x{summary['image_size'][1]} pixels, "
        f"{summary['num_samples']} samples an image, seed {summary['seed']}."
    ]
    if "scored_classes" in summary:
        lines.append(f"Scored over {', '.join(summary['scored_classes'])}; all modes of flips, by probability.")
    titles = {"all": "all images", "presence_disagreed": "graders disagree on presence"}
    for name, figures in summary["images"].items():
        lines += ["", f"{titles[name]}: {figures['num_images']} images of {figures['num_groups']} groups"]
        lines.append("  samples  energy distance   95 % interval    floor (perfect sampler)")
        for count, distance in figures["energy_distance"].items():
            low, high = distance["interval_95"]
            interval = f"{low:.3f} to {high:.3f}" if low is not None else "one group: none"
            lines.append(f"  {count:>7}  {distance['mean']:>15.4f}   {interval:<15}  {distance['floor']:.4f}")
        spread = (
            f"  E d(S,Y) {figures['cross']:.3f}, E d(S,S') {figures['sample_diversity']:.3f}, "
            f"E d(Y,Y') {figures['grader_diversity']:.3f}"
        )
        presences = (
            f"; lesion in {100 * figures['sample_presence']:.0f} % of "
            f"samples, {100 * figures['grader_presence']:.0f} % of segmentations; both empty and filled samples in "
            f"{100 * figures['both_empty_and_filled_samples']:.0f} % of images"
        )
        # With flips something is nearly always there: which class, not whether any, is what is uncertain.
        lines.append(spread if "scored_classes" in summary else spread + presences)
    return "\n".join(lines)


def example_cases(model: Segmenter, data: DatasetInfo, split, *, num_cases=6, num_samples=16, seed=0,
                  crop_size=None) -> list[dict]:
    """Cases for `tf_probunet.plots.sample_sheet`, spread evenly over the split; none is picked by how it looks.

    Of a dataset with flips, the most probable modes stand for the graders, and the probability is that of any flip.

    Args:
        model, data, split, num_samples, seed, crop_size: as `evaluate` takes them.
        num_cases: images.
    """
    cases = []
    shown = [flip.target for flip in data.flips] or range(1, model.num_classes)
    dataset = evaluation_dataset(data, split, 1, crop_size=crop_size, limit=num_cases)
    for index, batch in enumerate(dataset.take(num_cases)):
        logits = model.sample(batch["image"], num_samples, seed=(seed, index))[0].numpy()  # [M, H, W, K]
        segmentations = batch["segmentations"][0].numpy()
        if data.flips:
            by_weight = np.argsort(-batch["grader_weights"][0].numpy(), kind="stable")
            segmentations = segmentations[by_weight[:NUM_MODES_SHOWN]]
        cases.append({
            "name": batch["source_id"][0].numpy().decode(),
            "image": batch["image"][0].numpy(),
            "segmentations": segmentations,
            "samples": logits.argmax(axis=-1),
            "probability": class_probability(logits, shown),
        })
    return cases


def class_probability(logits, classes):
    """Mean over samples of the probability that a pixel is of any of the classes: logits [M, H, W, K] to [H, W]."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (shifted[..., list(classes)].sum(axis=-1) / shifted.sum(axis=-1)).mean(axis=0)
