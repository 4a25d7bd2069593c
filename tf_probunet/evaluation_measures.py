"""Every measure of one batch: what the samples of a model are worth against all graders of the images."""

import numpy as np
import tensorflow as tf

from tf_probunet.data.flips import mode_flips
from tf_probunet.metrics import (
    energy_distance_from_distances,
    flip_pixels,
    flip_recovery_counts,
    ignore_unlabelled,
    joint_distances,
    matched_iou_from_iou,
    mode_counts,
    pixel_mode_counts,
    presence,
    reconstruction_iou,
    reliability_bins,
    variance_error_correlation_from_means,
)
from tf_probunet.metrics.variance_error import EPSILON

NUM_RECONSTRUCTED = 4  # of the 2^F modes of each grader, where there are F flips
LOGITS_AT_ONCE = 2**23  # in float32 32 MiB, of which three copies are held


def measure_batch(model, batch, logits, counts, flips, seed) -> dict:
    """Figures of the images of one batch, an array [B, ...] for each.

    Args:
        model: the segmenter; if it has a `posterior`, its reconstructions are measured too.
        batch: as `tf_probunet.data.reading.evaluation_dataset` gives it.
        logits: [B, M, H, W, K] of its samples.
        counts: numbers of samples n for which figures are wanted, each at most M.
        flips: table of label flips, which decides the classes under test; empty for the whole foreground.
        seed: of the choice of modes that are reconstructed.
    Returns:
        dict of the fields of `tf_probunet.evaluation.Evaluation` with this batch's rows.
    """
    graders = batch["segmentations"].numpy().astype(np.uint8 if model.num_classes <= 256 else np.int32)
    weights = batch["grader_weights"].numpy().astype(np.float64)
    weights /= weights.sum(axis=1, keepdims=True)
    classes = sorted({label for flip in flips for label in (flip.source, flip.target)}) or None
    options = dict(num_classes=model.num_classes, classes=classes, ignore_label=model.ignore_label)
    samples, means, logarithms = summarize(logits)

    distances = sample_grader, sample_sample, grader_grader = joint_distances(samples, graders, **options)
    by_count, matched = {}, {}
    for count in counts:
        used = num_used(count, samples.shape[1], model.num_hypotheses)
        by_count[count] = energy_distance_from_distances(
            sample_grader[:, :used], sample_sample[:, :used, :used], grader_grader, num_samples=count,
            grader_weights=weights).energy_distance
        matched[count] = matched_iou_from_iou(1 - sample_grader[:, :used], num_samples=count, grader_weights=weights)
    whole = energy_distance_from_distances(*distances, grader_weights=weights)
    weighted = dict(ignore_label=model.ignore_label, grader_weights=weights)
    result = {
        "energy_distance": by_count,
        "cross": whole.cross,
        "sample_diversity": whole.sample_diversity,
        "grader_diversity": whole.grader_diversity,
        "matched_iou": matched,
        "variance_error_correlation": variance_error_correlation_from_means(means, logarithms, graders, **weighted),
        # Of two classes the foreground's probability says it all; of more, the likeliest class is asked.
        "calibration": reliability_bins(means, graders, (1,) if model.num_classes == 2 else None, **weighted),
        # Rounded, because weights that sum to 1 but for the last bit are no disagreement.
        "grader_presence": (presence(graders, **options) * weights).sum(axis=1).round(12),
        "sample_presence": presence(samples, **options).mean(axis=1),
        "groups": np.array([name.decode() for name in batch["group"].numpy()]),
        "source_ids": np.array([name.decode() for name in batch["source_id"].numpy()]),
    }
    result |= measure_reconstructions(model, batch["image"], graders, weights, classes, flips, seed)
    if flips:
        result |= measure_modes(samples, graders, weights, sample_grader, grader_grader, flips)
    return result


def num_used(count, num_samples, num_hypotheses) -> int:
    """Of how many of the first samples, `count` are to be taken in all ways, so that it is as if `count` were drawn.

    Args:
        count: at most `num_samples`.
        num_samples: M, drawn.
        num_hypotheses: of a model of which no hypothesis comes twice before all were there; None without limit.

    Example: of 8 hypotheses 16 samples hold each twice; 4 samples hold none twice, 12 samples four of them.
        >>> [num_used(count, 16, 8) for count in (4, 8, 12, 16)], num_used(4, 16, None)
        ([8, 8, 12, 16], 16)
    """
    different = min(num_hypotheses or num_samples, num_samples)
    return max(different, count)


def summarize(logits) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Class maps of samples, and the two means over them that calibration and correlation need.

    Args:
        logits: [B, M, H, W, K].
    Returns:
        samples [B, M, H, W] uint8 (int32 with more than 256 classes), mean over M of the probabilities and mean over
        M of their logarithms, both [B, H, W, K] float32.
    """
    logits = tf.convert_to_tensor(logits)
    num_images = max(1, LOGITS_AT_ONCE // int(np.prod(logits.shape[1:])))
    parts = [_summarize(logits[start : start + num_images]) for start in range(0, len(logits), num_images)]
    samples, means, logarithms = (tf.concat(column, axis=0).numpy() for column in zip(*parts, strict=True))
    return samples.astype(np.uint8 if logits.shape[-1] <= 256 else np.int32), means, logarithms


@tf.function(reduce_retracing=True)
def _summarize(logits):
    probabilities = tf.nn.softmax(tf.cast(logits, tf.float32))
    samples = tf.argmax(logits, axis=-1, output_type=tf.int32)
    return samples, tf.reduce_mean(probabilities, axis=1), tf.reduce_mean(tf.math.log(probabilities + EPSILON), axis=1)


def measure_reconstructions(model, images, graders, weights, classes, flips, seed,
                            num_drawn=NUM_RECONSTRUCTED) -> dict:
    """What a model makes of graders' segmentations by way of the posterior's mean.

    Args:
        model, images: segmenter and [B, H, W, C].
        graders, weights: [B, R, H, W] and [B, R]; R times 2^F with F flips.
        classes: under test.
        flips: table of F flips; without any, every grader is reconstructed.
        seed: of the draw of modes.
        num_drawn: with flips, so many modes an image are reconstructed, drawn by weight; the plain mean over them has
            the same expectation as that over all.
    Returns:
        dict: reconstruction_iou [B], NaN for a model without posterior; with a posterior and flips, flip_recovery
        [B, F, 2, 2].
    """
    if not hasattr(model, "posterior"):
        return {"reconstruction_iou": np.full(len(graders), np.nan)}
    chosen, given = None, graders
    if flips:
        chosen = draw_graders(weights, num_drawn, seed)
        given = np.take_along_axis(graders, chosen[:, :, None, None], axis=1)
        weights = np.full(chosen.shape, 1 / num_drawn)
    latents = [model.posterior(images, tf.cast(given[:, grader], tf.int32)).mean() for grader in range(given.shape[1])]
    # What `model.reconstruct` does for one grader, with the features computed once for all of them.
    logits = model.decode(model.features(images), tf.stack(latents, axis=1))  # [B, R, H, W, K]
    maps = tf.argmax(logits, axis=-1, output_type=tf.int32).numpy()
    known = ignore_unlabelled(maps, given, model.ignore_label)
    result = {"reconstruction_iou": reconstruction_iou(known, given, model.num_classes, classes, model.ignore_label,
                                                       weights)}
    if flips:
        modes = mode_flips(flips)  # [2^F, F]
        unflipped = np.take_along_axis(graders, (chosen - chosen % len(modes))[:, :, None, None], axis=1)
        pairs = ([flip.source for flip in flips], [flip.target for flip in flips])
        result["flip_recovery"] = flip_recovery_counts(maps, unflipped, modes[chosen % len(modes)], *pairs)
    return result


def draw_graders(weights, num_drawn, seed) -> np.ndarray:
    """[B, num_drawn] places of graders, drawn by their weights [B, R], with repetition; none of weight 0."""
    # Systematic draw: one random start, then equal steps along the cumulative weights. Each is drawn as often, on
    # average, as it is probable, and no draw is spent on the same one twice without need.
    starts = np.random.default_rng(seed).random((len(weights), 1))
    points = (starts + np.arange(num_drawn)) / num_drawn
    chosen = (points[:, :, None] > np.cumsum(weights, axis=1)[:, None]).sum(axis=2)
    return np.minimum(chosen, (weights > 0).sum(axis=1, keepdims=True) - 1)  # cumulated weights end below 1


def measure_modes(samples, graders, weights, sample_grader, grader_grader, flips) -> dict:
    """Mode frequencies and flipped pixels of the images of a batch with label flips.

    Args:
        samples: [B, M, H, W] class maps.
        graders: [B, R 2^F, H, W], in the order of `tf_probunet.data.flips.all_modes`; weights [B, R 2^F].
        sample_grader, grader_grader: distances [B, M, R 2^F] and [B, R 2^F, R 2^F].
        flips: table of F flips.
    Returns:
        dict of arrays [B, ...]; see `tf_probunet.evaluation.Evaluation`.
    """
    num_modes = 2 ** len(flips)
    result = {}
    for ties, suffix in (("first", ""), ("split", "_split")):
        result[f"mode_counts{suffix}"] = mode_counts(sample_grader, num_modes, ties)
        result[f"mode_truth{suffix}"] = mode_counts(grader_grader, num_modes, ties, sample_weights=weights)
    pairs = ([flip.source for flip in flips], [flip.target for flip in flips])
    truth = graders[:, ::num_modes]  # mode 0 of each grader: unflipped
    of_graders = weights.reshape(len(weights), -1, num_modes).sum(axis=2)
    return result | {
        "pixel_mode_counts": pixel_mode_counts(samples, truth, *pairs, truth_weights=of_graders),
        "pixel_mode_truth": pixel_mode_counts(graders, truth, *pairs, sample_weights=weights,
                                              truth_weights=of_graders),
        "flip_pixels": flip_pixels(samples, truth, *pairs, truth_weights=of_graders),
    }
