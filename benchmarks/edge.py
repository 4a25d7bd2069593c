"""What one more hypothesis costs on a device's processor: `python benchmarks/edge.py --output FILE`.

LiteRT files of the reference model, run in turn in one process on one thread; medians, and ratios of medians:
  - the combiner as `probunet convert` writes it, in each precision;
  - its two convolutions alone, converted and run the same way: the arithmetic that no formulation can save;
  - the concatenated form: features and tiled latents concatenated, and the first convolution on all of them.
Arithmetic: floating-point operations of the two convolutions, and of the largest matrix product of that shape that
numpy's BLAS does on the same core in the same turns.
"""

import os
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from absl import app, flags  # noqa: E402
from report import report

from tf_probunet.edge.runtime import CompiledFile  # noqa: E402
from tf_probunet.edge.tflite_file import TfliteFile  # noqa: E402
from tf_probunet.export.edge_examples import calibration, made_up_examples  # noqa: E402
from tf_probunet.export.exported import ExportedModel  # noqa: E402
from tf_probunet.export.litert import convert_combiner, convert_function  # noqa: E402
from tf_probunet.export.rebuilt import rebuilt_model  # noqa: E402

flags.DEFINE_string("saved_model", "saved_models/lidc", "version that is converted")
flags.DEFINE_integer("size", 128, "height and width")
flags.DEFINE_integer("rounds", 300, "runs of each file, in turn")
flags.DEFINE_string("output", None, "JSON file for the figures")
FLAGS = flags.FLAGS


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


def products(model, size):
    """The two convolutions as matrix products of numpy's BLAS."""
    rng = np.random.default_rng(0)
    pairs, rows = [], size * size
    for conv in (*model.combiner.hidden[1:], model.combiner.logits):
        pairs.append((rng.random((rows, conv.kernel.shape[2]), np.float32), conv.kernel.numpy()[0, 0]))
    outputs = [np.empty((rows, right.shape[1]), np.float32) for _, right in pairs]

    def run():
        for (left, right), output in zip(pairs, outputs, strict=True):
            np.matmul(left, right, out=output)

    return run, sum(2 * rows * right.size for _, right in pairs)


def main(_):
    exported = ExportedModel(FLAGS.saved_model)
    model, size = rebuilt_model(exported), FLAGS.size
    examples = made_up_examples(exported, (size, size))
    contents = {
        precision: convert_combiner(exported, (size, size), 1, precision, lambda: calibration(examples, 1, (0, 0)))
        for precision in ("float32", "float16", "int8")
    }
    contents |= {"convolutions alone": convolutions_alone(model, size), "concatenated": concatenated(model, size)}
    files = {name: CompiledFile(content, "cpu") for name, content in contents.items()}
    multiply, operations = products(model, size)
    rng = np.random.default_rng(0)
    for file in files.values():
        file.write(**{name: rng.standard_normal(file.shapes[name], np.float32) for name in file.input_names})
    calls = {name: file.compute for name, file in files.items()} | {"matrix products": multiply}
    times = {name: [] for name in calls}
    for index in range(FLAGS.rounds + 5):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if index >= 5:
                times[name].append(1e3 * (time.perf_counter() - start))
    median = {name: float(np.median(kept)) for name, kept in times.items()}
    report({
        "size": [size, size],
        "milliseconds": median,
        "bytes": {name: len(content) for name, content in contents.items()},
        "operations": {name: TfliteFile(content).operation_counts() for name, content in contents.items()},
        "float32_over_convolutions_alone": median["float32"] / median["convolutions alone"],
        "concatenated_over_float32": median["concatenated"] / median["float32"],
        "gigaflops_of_convolutions_alone": operations / median["convolutions alone"] / 1e6,
        "gigaflops_of_matrix_products": operations / median["matrix products"] / 1e6,
    }, FLAGS.output)


if __name__ == "__main__":
    app.run(main)
