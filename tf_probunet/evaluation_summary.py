"""From every image's figures to a few: means, intervals over groups, and figures of sums over images."""

import math

import numpy as np

from tf_probunet.metrics import (
    bootstrap_interval,
    bootstrap_interval_of_sums,
    calibration_error,
    flip_recovery,
    floor,
    maximum_calibration_error,
    mode_agreement,
    presence_disagreement_auc,
    reliability_curve,
    total_variation,
    without_flip,
)

MIN_SHARE = 0.001  # bins with fewer of the pixels say nothing about the maximum calibration error


def summarize_images(result, chosen) -> dict:
    """Figures of some of the images, ready for JSON: None stands for what is not defined.

    Args:
        result: `tf_probunet.evaluation.Evaluation`.
        chosen: [B] bool, which images.
    Returns:
        dict. Intervals are of 95 %, by a bootstrap over groups, and [None, None] where there is one group.
    """
    summary = _Summary(result, chosen)
    both = (result.sample_presence > 0) & (result.sample_presence < 1)
    figures = {
        "num_images": int(chosen.sum()),
        "num_groups": len(set(summary.groups.tolist())),
        "energy_distance": {
            str(count): summary.mean(values)
            | {"floor": float(floor(result.grader_diversity[chosen].mean(), count))}
            for count, values in result.energy_distance.items()
        },
        "cross": float(result.cross[chosen].mean()),
        "sample_diversity": float(result.sample_diversity[chosen].mean()),
        "grader_diversity": float(result.grader_diversity[chosen].mean()),
        "matched_iou": {str(count): summary.mean(values) for count, values in result.matched_iou.items()},
        "reconstruction_iou": summary.mean(result.reconstruction_iou),
        "variance_error_correlation": summary.mean(result.variance_error_correlation),
        "calibration": summary.calibration(),
        "both_empty_and_filled_samples": float(both[chosen].mean()),
        "sample_presence": float(result.sample_presence[chosen].mean()),
        "grader_presence": float(result.grader_presence[chosen].mean()),
        "presence_auc": summary.presence_auc(),
    }
    if result.mode_counts is not None:
        figures["modes"] = summary.modes()
        figures["pixel_flip_rates"] = summary.flip_rates()
    return figures


class _Summary:
    """The chosen images of a result, and how their figures are made."""

    def __init__(self, result, chosen):
        self.result, self.chosen = result, chosen
        self.groups = result.groups[chosen]
        self.seed = result.settings["seed"]

    def mean(self, values) -> dict | None:
        """Mean over the images where there is a figure, with interval; None where there is none."""
        kept = self.chosen & np.isfinite(values)
        if not kept.any():
            return None
        groups = self.result.groups[kept]
        # One group says nothing about how groups differ; no interval is then better than a wrong one.
        several = len(set(groups.tolist())) > 1
        low, high = bootstrap_interval(values[kept], groups, seed=self.seed) if several else (None, None)
        return {"mean": float(values[kept].mean()), "interval_95": [low, high], "num_images": int(kept.sum())}

    def of_sums(self, addends, statistic) -> dict:
        """A figure of sums [..., D] over the images, with interval."""
        value = float(statistic(addends.sum(axis=0)[None])[0])
        several = len(set(self.groups.tolist())) > 1
        interval = (
            bootstrap_interval_of_sums(addends, statistic, self.groups, seed=self.seed) if several else (None, None)
        )
        return {"value": _finite(value), "interval_95": [None if end is None else _finite(end) for end in interval]}

    def calibration(self) -> dict:
        bins = self.result.calibration[self.chosen]
        total = bins.sum(axis=0)
        return {
            "expected_error": self.of_sums(
                bins.reshape(len(bins), -1), lambda sums: calibration_error(sums.reshape(-1, *bins.shape[1:]))
            ),
            "maximum_error": _finite(maximum_calibration_error(total, MIN_SHARE)),
            "reliability": {name: [_finite(value) for value in values]
                            for name, values in reliability_curve(total)._asdict().items()},
        }

    def presence_auc(self) -> dict | None:
        """Of the ROC curve; None where graders agree on presence in all images, or in none."""
        presence, disagreed = self.result.sample_presence[self.chosen], self.result.disagreed[self.chosen]
        value = presence_disagreement_auc(presence, disagreed)
        if math.isnan(value):
            return None
        # The area follows from how many images of each kind have each score, so its interval is one of sums.
        scores, place = np.unique((presence * (1 - presence)).round(12), return_inverse=True)
        kinds = np.zeros((len(presence), 2, len(scores)))
        kinds[np.arange(len(presence)), disagreed.astype(int), place] = 1

        def area(sums):
            agreed, disagreed = sums.reshape(-1, 2, len(scores)).swapaxes(0, 1)
            below = np.cumsum(agreed, axis=1) - agreed / 2
            pairs = agreed.sum(axis=1) * disagreed.sum(axis=1)
            return (disagreed * below).sum(axis=1) / np.where(pairs > 0, pairs, np.nan)

        return self.of_sums(kinds.reshape(len(presence), -1), area)

    def modes(self) -> dict:
        """Frequencies under each rule, against nominal probabilities and against what a perfect sampler has."""
        nominal = self.result.mode_weights
        rules = {"first": ("mode_counts", "mode_truth"), "split": ("mode_counts_split", "mode_truth_split"),
                 "pixel_vote": ("pixel_mode_counts", "pixel_mode_truth")}
        return {"probabilities": nominal.tolist()} | {
            rule: self.one_rule(*(getattr(self.result, name)[self.chosen] for name in names), nominal)
            for rule, names in rules.items()
        }

    def one_rule(self, counts, truth, nominal) -> dict:
        shares = counts / counts.sum(axis=1, keepdims=True)

        def distance(sums):
            frequencies, truth = np.split(sums / sums.sum(axis=1, keepdims=True) * 2, 2, axis=1)
            return total_variation(frequencies, truth)

        return {
            "frequencies": shares.mean(axis=0).tolist(),
            "truth": truth.mean(axis=0).tolist(),
            "total_variation_without": [
                float(total_variation(*(without_flip(one.mean(axis=0), flip) for one in (shares, truth))))
                for flip in range(len(self.result.settings["flips"]))
            ],
            "against_probabilities": _agreement(counts, nominal)
            | {"interval_95": self.of_sums(shares, lambda sums: total_variation(
                sums / sums.sum(axis=1, keepdims=True), nominal))["interval_95"]},
            "against_truth": _agreement(counts, truth)
            | {"interval_95": self.of_sums(np.concatenate([shares, truth], axis=1), distance)["interval_95"]},
        }

    def flip_rates(self) -> list[dict]:
        """Of each flip: how often its pixels are sampled as the twin, how many are sampled as either, and whether it
        comes back from the posterior."""
        pixels = self.result.flip_pixels[self.chosen].sum(axis=0)
        recovered = np.full(len(pixels), np.nan)
        if self.result.flip_recovery is not None:
            recovered = flip_recovery(self.result.flip_recovery[self.chosen].sum(axis=0))
        return [
            dict(flip, rate=_finite(flipped / (kept + flipped)) if kept + flipped else None,
                 met=_finite((kept + flipped) / total) if total else None, recovered=_finite(back))
            for flip, (total, kept, flipped), back in zip(self.result.settings["flips"], pixels, recovered, strict=True)
        ]


def _agreement(counts, truth) -> dict:
    return {name: value if isinstance(value, int) else _finite(value)
            for name, value in mode_agreement(counts, truth)._asdict().items()}


def _finite(value) -> float | None:
    return float(value) if np.isfinite(value) else None
