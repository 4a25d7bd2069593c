"""Energy distance of many images, ours and plain double loops in turn: `python benchmarks/energy_distance.py`.

Two kinds of images: small lesions in large crops, as in LIDC-IDRI, and the worst case, masks that fill every crop with
noise. The loops run on some images of every block, their time grows with the number of images and is multiplied; all
results are compared. No package on PyPI that we found has an energy distance of segmentations (torchmetrics 1.9, monai
1.6 and lightning-uq-box 0.2 have none); medpy has the IoU of two masks, from which published code loops it together. It
is timed too where it is installed (`pip install --no-deps medpy==0.5.2`). Times are of the clock and of the processor;
all contestants use one core, so the latter says more on a machine that does other work beside it.
"""

import contextlib
import os
import sys
import time

import numpy as np
from absl import app, flags
from report import report

from tf_probunet.metrics import energy_distance

FLAGS = flags.FLAGS
flags.DEFINE_integer("num_images", 2000, "images of each kind", 1)
flags.DEFINE_integer("num_samples", 16, "samples an image", 1)
flags.DEFINE_integer("num_graders", 4, "graders an image", 1)
flags.DEFINE_integer("size", 128, "height and width", 1)
flags.DEFINE_integer("block", 100, "images at a time", 1)
flags.DEFINE_integer("looped", 5, "of them, images that the loops see", 1)
flags.DEFINE_integer("seed", 0, "of the masks")
flags.DEFINE_string("output", None, "JSON file for the figures")


def lesions(rng, num_images, num_masks, size):
    """Ellipses [n, masks, size, size] uint8 of radii 3 to 30 pixels near the middle; one in three masks is empty."""
    rows, columns = np.indices((size, size), np.float32)
    center = rng.normal(size / 2, size / 20, (num_images, 1, 2)) + rng.normal(0, 1, (num_images, num_masks, 2))
    radii = np.exp(rng.uniform(np.log(3), np.log(30), (num_images, 1, 2))) * rng.uniform(0.7, 1.3, center.shape)
    inside = sum(
        ((grid - center[..., axis, None, None]) / radii[..., axis, None, None]) ** 2
        for axis, grid in enumerate((rows, columns))
    ) <= 1
    return (inside & (rng.random((num_images, num_masks, 1, 1)) > 1 / 3)).astype(np.uint8)


def noise(rng, num_images, num_masks, size):
    """Every pixel by lot, [n, masks, size, size] uint8."""
    return rng.integers(0, 2, (num_images, num_masks, size, size), np.uint8)


def plain_distance(first, second):
    first, second = first == 1, second == 1
    union = np.logical_or(first, second).sum()
    return 1 - np.logical_and(first, second).sum() / union if union else 0.0


def double_loop(samples, graders, distance):
    """Energy distance of one image [M, H, W], [R, H, W]: three means over all ordered pairs."""
    cross = np.mean([[distance(sample, grader) for grader in graders] for sample in samples])
    among_samples = np.mean([[distance(sample, other) for other in samples] for sample in samples])
    among_graders = np.mean([[distance(grader, other) for other in graders] for grader in graders])
    return 2 * cross - among_samples - among_graders


def contestants():
    """Name of each loop, and its distance."""
    yield "double_loop", plain_distance
    try:
        from medpy.metric import jc
    except ImportError:
        return
    yield "medpy_loop", lambda first, second: 1 - jc(first, second)


class Stopwatch:
    """Seconds by the clock and of the processor that its blocks took, for each name."""

    def __init__(self, names):
        self.seconds = {name: np.zeros(2) for name in names}

    @contextlib.contextmanager
    def __call__(self, name):
        start = np.array([time.perf_counter(), time.process_time()])
        yield
        self.seconds[name] += np.array([time.perf_counter(), time.process_time()]) - start


def measure(make, loops):
    """Milliseconds an image of each, all on the same masks and in turn."""
    rng = np.random.default_rng(FLAGS.seed)
    timed = Stopwatch(["ours", *loops])
    looped, covered, difference = 0, 0.0, 0.0
    for start in range(0, FLAGS.num_images, FLAGS.block):
        count = min(FLAGS.block, FLAGS.num_images - start)
        masks = make(rng, count, FLAGS.num_samples + FLAGS.num_graders, FLAGS.size)
        samples, graders = (np.ascontiguousarray(part) for part in np.split(masks, [FLAGS.num_samples], axis=1))
        covered += masks.any(axis=1).mean(axis=(1, 2)).sum()
        with timed("ours"):
            ours = energy_distance(samples, graders, num_classes=2).energy_distance
        chosen = range(min(FLAGS.looped, count))
        looped += len(chosen)
        for name, distance in loops.items():
            with timed(name):
                theirs = [double_loop(samples[index], graders[index], distance) for index in chosen]
            difference = max(difference, np.abs(ours[: len(theirs)] - theirs).max())
    figures = {
        "pixels_in_any_mask": covered / FLAGS.num_images,
        "images_looped": looped,
        "largest_difference": float(difference),
    }
    for column, kind in enumerate(("clock", "processor")):
        milliseconds = {
            name: 1e3 * seconds[column] / (FLAGS.num_images if name == "ours" else looped)
            for name, seconds in timed.seconds.items()
        }
        figures[kind] = {
            **{f"{name}_ms_an_image": time_taken for name, time_taken in milliseconds.items()},
            **{f"{name}_seconds_in_all": time_taken * FLAGS.num_images / 1e3
               for name, time_taken in milliseconds.items()},
            **{f"{name}_over_ours": milliseconds[name] / milliseconds["ours"] for name in loops},
        }
    return figures


def main(_):
    loops = dict(contestants())
    report({
        "images": FLAGS.num_images, "samples": FLAGS.num_samples, "graders": FLAGS.num_graders,
        "size": [FLAGS.size, FLAGS.size], "lesions": measure(lesions, loops), "noise": measure(noise, loops),
        "cores": len(os.sched_getaffinity(0)),
        "versions": {"python": sys.version.split()[0], "numpy": np.__version__},
    }, FLAGS.output)


if __name__ == "__main__":
    app.run(main)
