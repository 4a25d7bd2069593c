"""Speed of this machine on the parts that users wait for, side by side in one run: `make benchmark`.

Prints and, with --output, writes as JSON:
  - images a second of a training step and the share of a step that waits for data, augmentation on, and how a step
    of mixed bfloat16 compares;
  - milliseconds of the trunk, and of each further sample by the split combiner, against the same network with its
    first 1x1 convolution on concatenated features and latents;
  - images a second of the input pipeline alone, with the preset's augmentation and with elastic deformation added.
Every time is a median; ratios come from interleaved runs of the two sides.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from absl import app, flags  # noqa: E402
from report import report

from tf_probunet.build import build_model, build_optimizer  # noqa: E402
from tf_probunet.data.dataset import load_info  # noqa: E402
from tf_probunet.data.phantom import prepare_phantom  # noqa: E402
from tf_probunet.data.reading import training_dataset  # noqa: E402
from tf_probunet.precision import resolve_precision  # noqa: E402
from tf_probunet.presets import preset  # noqa: E402

flags.DEFINE_string("data", None, "dataset folder; a small phantom is made if not given")
flags.DEFINE_string("preset", "lidc_small", "preset to measure")
flags.DEFINE_integer("steps", 20, "training steps timed")
flags.DEFINE_string("output", None, "JSON file for the figures")
FLAGS = flags.FLAGS


def median_ms(*functions, repeats=15):
    """Median milliseconds of each function, called in turn; the first two rounds are not counted."""
    times = [[] for _ in functions]
    for index in range(repeats + 2):
        for function, kept in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            if index >= 2:
                kept.append(1e3 * (time.perf_counter() - start))
    return [float(np.median(kept)) for kept in times]


def training(experiment, data):
    """Seconds a step with real data, and with one batch that is always there; the difference is waiting."""
    models = {}
    for precision in ("float32", "mixed_bfloat16"):
        models[precision] = build_model(experiment.replace(precision=precision))
        models[precision].compile(build_optimizer(experiment))
    stream = iter(training_dataset(data, "train", experiment.batch_size, crop_size=experiment.crop_size,
                                   augmentation=experiment.augmentation))
    for _ in range(2):
        for model in models.values():
            model.train_on_batch(*next(stream))
    waiting, steps = ({precision: [] for precision in models} for _ in range(2))
    for _ in range(FLAGS.steps):
        for precision, model in models.items():
            start = time.perf_counter()
            batch = next(stream)
            waited = time.perf_counter()
            model.train_on_batch(*batch)
            waiting[precision].append(waited - start)
            steps[precision].append(time.perf_counter() - start)
    median = {precision: float(np.median(seconds)) for precision, seconds in steps.items()}
    own = experiment.precision
    return {
        "step_ms": {precision: 1e3 * seconds for precision, seconds in median.items()},
        "float32_step_over_mixed_bfloat16": median["float32"] / median["mixed_bfloat16"],
        "training_images_per_second": experiment.batch_size / median[own],
        "share_of_step_waiting_for_data": float(np.sum(waiting[own]) / np.sum(steps[own])),
    }


def pipeline(experiment, data):
    """Images a second of the input alone."""
    elastic = experiment.replace(elastic=4.0, elastic_sigma=15.0)
    return {
        "pipeline_images_per_second": images_per_second(experiment, data),
        "pipeline_images_per_second_elastic": images_per_second(elastic, data),
    }


def images_per_second(experiment, data):
    stream = iter(training_dataset(data, "train", experiment.batch_size, crop_size=experiment.crop_size,
                                   augmentation=experiment.augmentation))
    next(stream)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < 5:
        next(stream)
        count += experiment.batch_size
    return count / (time.perf_counter() - start)


def sampling(experiment, size=128, few=1, many=17):
    """One image of size x size: the trunk once, and the slope between few and many samples."""
    model = build_model(experiment)
    images = tf.random.stateless_uniform((1, size, size, experiment.image_channels), (0, 0))
    features = model.features(images)
    projected = model.combiner.project_features(features)

    @tf.function
    def trunk(images):
        return model.combiner.project_features(model.unet(images)), model.prior_net(images)

    @tf.function
    def split(projected, latents):
        return model.combiner.combine(projected, latents)

    @tf.function
    def concatenated(features, latents):
        count = tf.shape(latents)[1]
        tiled = tf.repeat(features, count, axis=0)  # [M, H, W, F]
        grid = tf.broadcast_to(latents[0][:, None, None], [count, size, size, experiment.latent_dim])
        hidden = tf.concat([tiled, grid], axis=-1)
        for layer in model.combiner.hidden:
            hidden = tf.nn.relu(layer(hidden))
        return model.combiner.logits(hidden)

    latents = {count: tf.random.stateless_normal((1, count, experiment.latent_dim), (0, 1)) for count in (few, many)}
    difference = tf.reduce_max(tf.abs(split(projected, latents[many])[0] - concatenated(features, latents[many])))
    if difference > 1e-3:
        raise AssertionError(f"the two forms of the combiner differ by {difference}")
    trunk_ms, split_few, split_many, concat_few, concat_many = median_ms(
        lambda: trunk(images),
        lambda: split(projected, latents[few]), lambda: split(projected, latents[many]),
        lambda: concatenated(features, latents[few]), lambda: concatenated(features, latents[many]),
    )
    per_split, per_concat = ((b - a) / (many - few) for a, b in ((split_few, split_many), (concat_few, concat_many)))
    return {
        f"trunk_ms_{size}x{size}": trunk_ms,
        "further_sample_ms": per_split,
        "further_sample_ms_concatenated": per_concat,
        "concatenated_over_split": per_concat / per_split,
        "trunk_in_further_samples": trunk_ms / per_split,
    }


def main(_):
    experiment = preset(FLAGS.preset)
    experiment = experiment.replace(precision=resolve_precision(experiment.precision))
    with tempfile.TemporaryDirectory() as folder:
        if FLAGS.data is None:
            prepare_phantom(Path(folder) / "phantom", num_train=200, num_val=20)
        data = load_info(FLAGS.data or Path(folder) / "phantom")
        figures = {
            "preset": experiment.name,
            "channels": list(experiment.channels),
            "batch": [experiment.batch_size, *experiment.crop_size],
            "precision": experiment.precision,
            "cores": len(os.sched_getaffinity(0)),
            "versions": {"python": sys.version.split()[0], "tensorflow": tf.__version__, "keras": keras.__version__},
            **training(experiment, data),
            **pipeline(experiment, data),
            **sampling(experiment),
        }
    for suffix in ("", "_elastic"):
        figures[f"pipeline_over_training{suffix}"] = (
            figures[f"pipeline_images_per_second{suffix}"] / figures["training_images_per_second"]
        )
    report(figures, FLAGS.output)


if __name__ == "__main__":
    app.run(main)
