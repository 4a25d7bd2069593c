"""What a file for devices must pass before it is kept, and what is measured of it on the way."""

import time

import numpy as np
import tensorflow as tf

from tf_probunet.edge.combiner import Combiner
from tf_probunet.edge.gpu_check import check_on_gpu
from tf_probunet.edge.runtime import NO_DRIVER, CompiledFile
from tf_probunet.edge.tflite_file import TfliteFile
from tf_probunet.export.edge_examples import Examples
from tf_probunet.export.exported import ExportedModel
from tf_probunet.metrics.energy_distance import energy_distance

COMBINER_OPERATIONS = {
    "float32": {"ADD", "CONV_2D"},
    "float16": {"ADD", "CONV_2D", "DEQUANTIZE"},  # of weights, once when the file is loaded
    "int8": {"ADD", "CONV_2D", "QUANTIZE", "DEQUANTIZE"},
}
TRUNK_OPERATIONS = {"ADD", "AVERAGE_POOL_2D", "CONCATENATION", "CONV_2D", "DEQUANTIZE", "EXP", "MAXIMUM", "MEAN",
                    "MINIMUM", "MUL", "RESHAPE", "RESIZE_BILINEAR", "RSQRT", "SPLIT", "SQUARE", "SQUARED_DIFFERENCE",
                    "SUB"}
# Largest error of a logit, absolute where it is small, else relative.
BOUNDS = {"float32": 1e-5, "float16": 1e-2}
TRUNK_BOUNDS = {"float32": 1e-4, "float16": 3e-2}  # twenty convolutions deep
HALF_FEATURES_BOUND = 1e-3  # to an exported trunk that rounds its features to the 11 bits of float16
INT8_SAME_PIXELS = 0.95  # share of pixels whose class int8 must not change
INT8_ENERGY_DISTANCE = 0.05  # between int8 and float32 samples of the same latents, on average over images


def check_operations(file: TfliteFile, name: str, allowed: set[str]) -> None:
    """Raises a `ValueError` for an operation outside the list, a free dimension, or a tensor of five dimensions."""
    strange = sorted(set(file.operations) - allowed)
    if strange:
        raise ValueError(f"{name} holds {', '.join(strange)}; expected {', '.join(sorted(allowed))} alone. Nothing was "
                         "kept. Please report this, with the versions of tensorflow and keras.")
    for tensor, shape in file.tensors():
        if len(shape) > 4 or min(shape, default=1) < 1:
            raise ValueError(f"{name}: tensor {tensor} has shape {list(shape)}; a GPU takes at most four dimensions, "
                             "all fixed. Nothing was kept.")


def combiner_error(exported: ExportedModel, combiner: Combiner, examples: Examples, seed) -> float:
    """Largest error of the file's logits against the exported signature's, which equal Keras's."""
    latents = examples.latents(combiner.num_samples, seed)
    signature, largest = exported.signatures["combiner"], 0.0
    feature_dtype = signature.structured_input_signature[1]["features"].dtype
    for features, points in zip(examples.features, latents, strict=True):
        expected = signature(features=tf.cast(features[None], feature_dtype),
                             latents=tf.constant(points[None]))["logits"].numpy()
        largest = max(largest, _error(combiner(features[None], points[None]), expected))
    return largest


def trunk_error(file: CompiledFile, examples: Examples) -> float:
    """Largest error of features and prior against the exported signature's."""
    largest = 0.0
    for index, image in enumerate(examples.images):
        file.write(images=image[None])
        for name, found in file.run().items():
            largest = max(largest, _error(found, getattr(examples, name)[index : index + 1]))
    return largest


def check_bound(name: str, error: float, bound: float) -> None:
    """Raises a `ValueError` where an error is larger than its bound, or not a number."""
    if not error <= bound:
        raise ValueError(f"{name} differs from Keras by {error:.2e}, more than {bound:.0e}. Nothing was kept.")


def compare_int8(name: str, whole: Combiner, small: Combiner, examples: Examples, num_samples: int, seed, *,
                 num_classes: int, classes, ignore_label) -> dict:
    """What 8 bits do to samples of the same latents.

    Returns:
        same_pixels, the share of pixels with the same class; energy_distance between int8 and float32 samples; and of
        either to the graders, where there are graders. All are means over the images.
    Raises:
        ValueError: more is changed than `INT8_SAME_PIXELS` and `INT8_ENERGY_DISTANCE` allow.
    """
    prior = (examples.features, examples.prior_mean, examples.prior_stddev)
    expected, _ = whole.sample(*prior, num_samples, seed)
    found, _ = small.sample(*prior, num_samples, seed)
    options = dict(num_classes=num_classes, classes=classes, ignore_label=ignore_label)
    facts = {
        "same_pixels": float(np.mean(expected == found)),
        "energy_distance": float(np.nanmean(energy_distance(found, expected, **options).energy_distance)),
    }
    for key, samples in (("to_graders", found), ("float32_to_graders", expected)):
        facts[key] = float(np.nanmean(energy_distance(
            samples, examples.segmentations, grader_weights=examples.grader_weights, **options
        ).energy_distance))
    if facts["same_pixels"] < INT8_SAME_PIXELS or not facts["energy_distance"] <= INT8_ENERGY_DISTANCE:
        raise ValueError(
            f"{name}: 8 bits leave {facts['same_pixels']:.2%} of the pixels their class and move samples by an energy "
            f"distance of {facts['energy_distance']:.3f}; expected at least {INT8_SAME_PIXELS:.0%} and at most "
            f"{INT8_ENERGY_DISTANCE}. Nothing was kept. Calibrate with more images (--num_images), or take float16."
        )
    return facts


def clipped_share(file: TfliteFile, examples: Examples, seed, draws: int = 1000) -> float:
    """Share of drawn latents that hold a number beyond what the file's 8 bits can carry, for which it is cut off."""
    low, high = file.quantized_range("latents")
    latents = examples.latents(draws, seed)
    return float(np.mean(np.any((latents < low) | (latents > high), axis=-1)))


def check_gpu(path, name: str, bound: float, required: bool) -> dict:
    """Compiles a file for the GPU alone; raises a `ValueError` where there is a GPU and it cannot run the file."""
    verdict = check_on_gpu(path)
    if "why_not" in verdict and (required or verdict["why_not"] != NO_DRIVER):
        raise ValueError(f"{name} cannot run on the GPU: {verdict['why_not']}. Nothing was kept.")
    if not verdict.get("difference", 0.0) <= bound:
        raise ValueError(f"{name} gives other numbers on the GPU: they differ from the CPU's by "
                         f"{verdict['difference']:.2e}, more than {bound:.0e}. Nothing was kept.")
    return verdict


def milliseconds(file: CompiledFile, repeats: int = 11) -> float:
    """Median milliseconds of a run on inputs that are there; the first two are not counted."""
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        file.run()
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times[2:]))


def _error(found, expected):
    return float(np.max(np.abs(found - expected) / (1 + np.abs(expected))))
