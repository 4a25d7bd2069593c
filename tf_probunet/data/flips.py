"""Label flips: ambiguity of known probability, made by renaming a class of a segmentation to its twin.

Kohl et al. 2018, section 4.2, make Cityscapes ambiguous so: "sidewalk" becomes "sidewalk 2" with probability 8/17, and
four more classes likewise, each independently for each image. The stored segmentations hold the unflipped classes;
flips are drawn anew whenever an image is read for training, and all of them are constructed for evaluation.
"""

import dataclasses

import numpy as np
import tensorflow as tf

NUM_LABELS = 256  # what an 8 bit class map can hold


@dataclasses.dataclass(frozen=True)
class Flip:
    """In a share `probability` of readings, all pixels of class `source` become class `target`."""

    source: int
    target: int
    probability: float


# Over the 19 training ids of Cityscapes; twins are appended in this order as classes 19 to 23.
CITYSCAPES_FLIPS = (
    Flip(1, 19, 8 / 17),  # sidewalk
    Flip(11, 20, 7 / 17),  # person
    Flip(13, 21, 6 / 17),  # car
    Flip(8, 22, 5 / 17),  # vegetation
    Flip(0, 23, 4 / 17),  # road
)


def flips_to_json(flips, classes) -> list[dict]:
    """The entries of `dataset.json` for a table of flips, which names the classes.

    Example:
        >>> flips_to_json([Flip(0, 2, 0.5)], ("road", "car", "road 2"))
        [{'from': 'road', 'to': 'road 2', 'probability': 0.5}]
    """
    for flip in flips:
        for name in ("source", "target"):
            label = getattr(flip, name)
            if isinstance(label, bool) or not isinstance(label, (int, np.integer)) or not 0 <= label < len(classes):
                raise ValueError(
                    f"The {name} of a flip must be a class, 0 to {len(classes) - 1}. Received: {flip}. List twin "
                    "classes among the classes of the dataset."
                )
    return [{"from": classes[flip.source], "to": classes[flip.target], "probability": flip.probability}
            for flip in flips]


def flips_from_json(entries, classes) -> tuple[Flip, ...]:
    """The table of flips of `dataset.json`, whose entries `check_flips` of `format_checks` has found good."""
    label = {name: number for number, name in enumerate(classes)}
    return tuple(Flip(label[entry["from"]], label[entry["to"]], float(entry["probability"])) for entry in entries)


def scored_classes(flips) -> tuple[int, ...] | None:
    """The classes under test with these flips: every source and target; None where there are no flips."""
    return tuple(sorted({label for flip in flips for label in (flip.source, flip.target)})) or None


def draw_flips(flips, seed) -> tf.Tensor:
    """Which flips happen in one reading of an image.

    Args:
        flips: table of F flips.
        seed: [2] integers; the same ones draw the same flips.
    Returns:
        [F] bool, independent, each true with its flip's probability.
    """
    uniform = tf.random.stateless_uniform([len(flips)], seed)
    return uniform < tf.constant([flip.probability for flip in flips], tf.float32)


def apply_flips(segmentation: tf.Tensor, flips, flipped: tf.Tensor) -> tf.Tensor:
    """Renames the classes of a segmentation.

    Args:
        segmentation: [...] integer class map, ignored pixels included.
        flips: table of F flips.
        flipped: [F] or [M, F] bool, which of them happen.
    Returns:
        [...] or [M, ...] of the same type; pixels of all other classes, and ignored ones, stay what they are.
    """
    flipped = tf.convert_to_tensor(flipped)
    lookup = tf.broadcast_to(tf.range(NUM_LABELS), [*flipped.shape[:-1], NUM_LABELS])  # shape: [256] or [M, 256]
    labels = tf.range(NUM_LABELS)
    for number, flip in enumerate(flips):
        happens = flipped[..., number, None] & (labels == flip.source)
        lookup = tf.where(happens, flip.target, lookup)
    return tf.gather(tf.cast(lookup, segmentation.dtype), tf.cast(segmentation, tf.int32), axis=-1)


def mode_flips(flips) -> np.ndarray:
    """All modes: [2^F, F] bool. Mode m has flip f where bit f of m is set, so mode 0 is the unflipped one.

    Example:
        >>> mode_flips([Flip(0, 2, 0.5), Flip(1, 3, 0.25)]).astype(int).tolist()
        [[0, 0], [1, 0], [0, 1], [1, 1]]
    """
    return (np.arange(2 ** len(flips))[:, None] >> np.arange(len(flips)) & 1).astype(bool)


def mode_probabilities(flips) -> np.ndarray:
    """Probability of each mode, [2^F] float64, in the order of `mode_flips`; flips are independent.

    Example:
        >>> mode_probabilities([Flip(0, 2, 0.5), Flip(1, 3, 0.25)]).tolist()
        [0.375, 0.375, 0.125, 0.125]
    """
    probabilities = np.array([flip.probability for flip in flips])
    return np.where(mode_flips(flips), probabilities, 1 - probabilities).prod(axis=1)


def all_modes(segmentations: tf.Tensor, grader_weights: tf.Tensor, flips) -> tuple[tf.Tensor, tf.Tensor]:
    """Every mode of every grader's segmentation, with its probability.

    Args:
        segmentations: [R, H, W] integer class maps.
        grader_weights: [R] float32.
        flips: table of F flips.
    Returns:
        segmentations [R * 2^F, H, W] and weights [R * 2^F]: all modes of the first grader, then of the second, each
        time in the order of `mode_flips`.
    """
    modes = apply_flips(segmentations, flips, mode_flips(flips))  # shape: [2^F, R, H, W]
    modes = tf.reshape(tf.transpose(modes, (1, 0, 2, 3)), tf.concat([[-1], tf.shape(segmentations)[1:]], 0))
    weights = grader_weights[:, None] * tf.constant(mode_probabilities(flips), tf.float32)
    return modes, tf.reshape(weights, [-1])
