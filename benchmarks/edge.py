"""What one more hypothesis costs on a device's processor: `python benchmarks/edge.py --output FILE`.

LiteRT files of the reference model, run in turn in one process on one thread; medians, and ratios of medians:
  - the combiner as `probunet convert` writes it, in each precision;
  - its two convolutions alone, converted and run the same way: the arithmetic that no formulation can save;
  - the concatenated form: features and tiled latents concatenated, and the first convolution on all of them.
The same of a network as wide as the paper's at full size (32 features). And what a caller of
`tf_probunet.edge.Combiner` pays for each of sixteen hypotheses, by the size of the file that it was given: of small
tiles the activations stay in the processor's cache.
"""

import os
import tempfile
import time
from functools import partial

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from absl import app, flags  # noqa: E402
from report import report

from tf_probunet.edge import Combiner  # noqa: E402
from tf_probunet.edge.runtime import CompiledFile  # noqa: E402
from tf_probunet.edge.tflite_file import TfliteFile  # noqa: E402
from tf_probunet.export.edge_examples import calibration, made_up_examples  # noqa: E402
from tf_probunet.export.exported import ExportedModel  # noqa: E402
from tf_probunet.export.litert import combiner_function, convert_combiner, convert_function  # noqa: E402
from tf_probunet.export.rebuilt import rebuilt_model  # noqa: E402
from tf_probunet.models import ProbabilisticUNet  # noqa: E402

flags.DEFINE_string("saved_model", "saved_models/lidc", "version that is converted")
flags.DEFINE_integer("size", 128, "height and width")
flags.DEFINE_integer("rounds", 300, "runs of each file, in turn")
flags.DEFINE_string("output", None, "JSON file for the figures")
FLAGS = flags.FLAGS
TILES, AT_ONCE = "tiles of 32x32, 4 at once", 4


def convolutions_alone(model, size):
    """What follows the addition, on activations that are there already."""
    hidden = tf.TensorSpec((1, size, size, model.combiner.hidden[0].filters), tf.float32, name="hidden")

    def convolutions(hidden):
        for conv in model.combiner.hidden[1:]:
            hidden = tf.nn.relu(conv(hidden))
        return {"logits": model.combiner.logits(hidden)}

    return convert_function("convolutions", convolutions, {"hidden": hidden})


def concatenated(model, size):
    """The paper's form: latents at every pixel beside the features of the U-Net, three convolutions."""
    channels = model.channels[0]
    specification = {
        "features": tf.TensorSpec((1, size, size, channels), tf.float32, name="features"),
        "latents": tf.TensorSpec((1, 1, 1, model.latent_dim), tf.float32, name="latents"),
    }

    def combiner(features, latents):
        grid = tf.tile(latents, (1, size, size, 1))
        hidden = tf.concat([features, grid], axis=-1)
        for conv in model.combiner.hidden:
            hidden = tf.nn.relu(conv(hidden))
        return {"logits": model.combiner.logits(hidden)}

    return convert_function("combiner", combiner, specification)


def repeat(call, times):
    for _ in range(times):
        call()


def in_turns(calls, rounds):
    """Median milliseconds of each call, in turn; the first five rounds are not counted."""
    times = {name: [] for name in calls}
    for index in range(rounds + 5):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if index >= 5:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: float(np.median(kept)) for name, kept in times.items()}


def formulations(model, size, more=None):
    """The combiner, its two convolutions alone, and the concatenated form, for one hypothesis.

    Tiles are run as often as there are some in the image, and their time divided by the hypotheses in it.
    """
    contents = {
        "float32": convert_function("combiner", *combiner_function(model, (size, size), 1)),
        TILES: convert_function("combiner", *combiner_function(model, (32, 32), AT_ONCE)),
        **(more or {}),
        "convolutions alone": convolutions_alone(model, size), "concatenated": concatenated(model, size),
    }
    files = {name: CompiledFile(content, "cpu") for name, content in contents.items()}
    rng = np.random.default_rng(0)
    for file in files.values():
        file.write(**{name: rng.standard_normal(file.shapes[name], np.float32) for name in file.input_names})
    calls = {name: file.compute for name, file in files.items()}
    calls[TILES] = partial(repeat, calls[TILES], (size // 32) ** 2)
    median = in_turns(calls, FLAGS.rounds)
    median[TILES] /= AT_ONCE
    kernels = [conv.kernel for conv in (*model.combiner.hidden[1:], model.combiner.logits)]
    return {
        "milliseconds": median,
        "bytes": {name: len(content) for name, content in contents.items()},
        "operations": {name: TfliteFile(content).operation_counts() for name, content in contents.items()},
        "float32_over_convolutions_alone": median["float32"] / median["convolutions alone"],
        "tiles_over_convolutions_alone": median[TILES] / median["convolutions alone"],
        "concatenated_over_float32": median["concatenated"] / median["float32"],
        "concatenated_over_tiles": median["concatenated"] / median[TILES],
        "concatenated_over_convolutions_alone": median["concatenated"] / median["convolutions alone"],
        "gigaflops_of_convolutions_alone":
            2e-6 * size * size * sum(int(np.prod(kernel.shape)) for kernel in kernels) / median["convolutions alone"],
    }


def tiles(exported, size, num_samples=16):
    """Milliseconds a hypothesis through `Combiner`, by the size of its file."""
    examples = made_up_examples(exported, (size, size), num_images=1)
    latents, combiners = examples.latents(num_samples, (0, 0)), {}
    with tempfile.TemporaryDirectory() as folder:
        for tile, count in ((size, 1), (size, num_samples), (64, 1), (32, 1), (32, AT_ONCE), (32, num_samples)):
            path = os.path.join(folder, f"{tile}-{count}.tflite")
            with open(path, "wb") as file:
                file.write(convert_combiner(exported, (tile, tile), count))
            combiners[f"{tile}x{tile}, {count} at once"] = Combiner(path, "cpu")
    calls = {name: partial(combiner, examples.features, latents) for name, combiner in combiners.items()}
    return {name: value / num_samples for name, value in in_turns(calls, FLAGS.rounds // 10).items()}


def main(_):
    exported, size = ExportedModel(FLAGS.saved_model), FLAGS.size
    examples = made_up_examples(exported, (size, size))
    more = {
        precision: convert_combiner(exported, (size, size), 1, precision, lambda: calibration(examples, 1, (0, 0)))
        for precision in ("float16", "int8")
    }
    wide = ProbabilisticUNet(num_classes=2, image_channels=1, channels=(32, 8))  # what follows the U-Net counts alone
    wide.build()
    report({
        "size": [size, size],
        "reference": formulations(rebuilt_model(exported), size, more),
        "published_width": formulations(wide, size),
        "milliseconds_a_hypothesis_by_file": tiles(exported, size),
    }, FLAGS.output)


if __name__ == "__main__":
    app.run(main)
