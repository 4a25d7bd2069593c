"""How near a training step comes to its convolutions alone, and where the rest of it goes.

    python benchmarks/step.py --output benchmarks/results/step_2_cores.json

The bound is the time that TensorFlow's own convolutions take at the shapes of the model: for each of them its forward
pass and both gradients, nothing else, measured one after the other in a graph, in turn with the whole step. Transformed
data layouts, biases, ReLU, resampling, losses and the optimizer are above it. The profile is TensorFlow's own: the time
of each kind of operation, summed over threads, so that it may exceed the time of the step.
"""

import collections
import glob
import os
import re
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from absl import app, flags  # noqa: E402
from report import report  # noqa: E402

from tf_probunet.build import build_model, build_optimizer  # noqa: E402
from tf_probunet.presets import preset  # noqa: E402

flags.DEFINE_string("preset", "lidc_small", "preset to measure")
flags.DEFINE_multi_string("model", ["probabilistic_unet", "deterministic_unet"], "models to measure")
flags.DEFINE_multi_string("precision", ["float32", "mixed_bfloat16"], "precisions to measure")
flags.DEFINE_integer("rounds", 15, "steps and bounds timed, in turn")
flags.DEFINE_bool("xla", False, "time the step as XLA compiles it too, in turn with the other")
flags.DEFINE_string("output", None, "JSON file for the figures")
FLAGS = flags.FLAGS

Conv = collections.namedtuple("Conv", "height width inputs outputs size first")
COPIES = 4  # of each convolution in a measurement, one after the other, so that starting it weighs little
KINDS = {
    "convolutions": ("Conv2D", "Conv2DBackprop"), "gradients of ReLU": ("ReluGrad",),
    "casts between precisions": ("Cast",), "sums over pixels": ("Sum",),
    "pooling and resizing": ("AvgPool", "Resize"), "concatenation and slices": ("Concat", "Slice", "Tile", "Split"),
    "products of matrices": ("MatMul", "Einsum", "Contraction"),
    "loss": ("Softmax", "Select", "OneHot", "NotEqual", "Equal"),
    "arithmetic, the optimizer's above all": (
        "Mul", "Sub", "RealDiv", "AddV2", "Square", "Sqrt", "AddN", "Assign", "L2Loss", "Neg", "Exp", "Relu", "Pow"),
}


def convolutions(model, experiment):
    """Every convolution of a training step, [Conv]; `first` ones read the image, whose gradient nobody wants."""
    found = []
    height, width = experiment.crop_size

    def block(level, inputs, first=False):
        for index in range(experiment.num_convs):
            outputs = experiment.channels[level]
            found.append(Conv(height >> level, width >> level, inputs, outputs, 3, first and index == 0))
            inputs = outputs

    def encoder(inputs):
        for level in range(len(experiment.channels)):
            block(level, experiment.channels[level - 1] if level else inputs, first=level == 0)

    encoder(experiment.image_channels)
    for level in reversed(range(len(experiment.channels) - 1)):
        block(level, experiment.channels[level] + experiment.channels[level + 1])
    inputs = experiment.channels[0]
    for outputs in (*experiment.combiner_channels, experiment.num_classes):
        found.append(Conv(height, width, inputs, outputs, 1, False))
        inputs = outputs
    if hasattr(model, "posterior_net"):
        encoder(experiment.image_channels)
        encoder(model._posterior_channels)
    kernels = sum(conv.size**2 * conv.inputs * conv.outputs for conv in found)
    small = 2 * 2 * experiment.latent_dim * experiment.channels[-1] + experiment.latent_dim * inputs
    expected = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights if weight.name == "kernel")
    if abs(expected - kernels) > small + experiment.latent_dim * experiment.combiner_channels[0]:
        raise AssertionError(f"The convolutions have {kernels} weights, the model {expected}.")
    return found


def bound_function(conv, batch, dtype):
    """A graph of the forward pass and the gradients of one convolution, `COPIES` times, one after the other."""
    images = tf.cast(tf.random.normal((batch, conv.height, conv.width, conv.inputs)), dtype)
    kernel = tf.cast(tf.random.normal((conv.size, conv.size, conv.inputs, conv.outputs)), dtype)
    upstream = tf.cast(tf.random.normal((batch, conv.height, conv.width, conv.outputs)), dtype)

    @tf.function
    def run():
        taken = []  # one number of each result: what nobody wants is never computed

        def then(compute):
            with tf.control_dependencies(taken[-1:]):
                taken.append(tf.reshape(compute(), [-1])[0])

        for _ in range(COPIES):
            then(lambda: tf.nn.conv2d(images, kernel, 1, "SAME"))
            then(lambda: tf.raw_ops.Conv2DBackpropFilter(input=images, filter_sizes=kernel.shape, out_backprop=upstream,
                                                         strides=[1] * 4, padding="SAME"))
            if not conv.first:
                then(lambda: tf.raw_ops.Conv2DBackpropInput(input_sizes=images.shape, filter=kernel,
                                                            out_backprop=upstream, strides=[1] * 4, padding="SAME"))
        return tf.stack(taken)

    return run


def measure(name, experiment, precision):
    """Step, bound and profile of one model in one precision."""
    rng = np.random.default_rng(0)
    images = tf.constant(rng.random((experiment.batch_size, *experiment.crop_size, experiment.image_channels), "f4"))
    segmentations = tf.cast(images[..., 0] > 0.8, tf.int32)

    def step_of(**options):
        model = build_model(experiment.replace(model=name, precision=precision))
        model.compile(build_optimizer(experiment), **options)
        return model, lambda: model.train_on_batch(images, segmentations)

    model, step = step_of()
    steps = {"step_ms": step} | ({"step_by_xla_ms": step_of(jit_compile=True)[1]} if FLAGS.xla else {})
    dtype = tf.bfloat16 if precision == "mixed_bfloat16" else tf.float32
    counts = collections.Counter(convolutions(model, experiment))
    bounds = {conv: bound_function(conv, experiment.batch_size, dtype) for conv in counts}
    for function in [*steps.values(), *bounds.values()] * 2:
        function()
    times = {key: [] for key in (*steps, *bounds)}
    for _ in range(FLAGS.rounds):
        for key, function in steps.items():
            times[key].append(seconds(function))
        for conv, function in bounds.items():
            times[conv].append(seconds(function) / COPIES)
    bound = sum(count * float(np.median(times[conv])) for conv, count in counts.items())
    return {
        **{key: 1e3 * float(np.median(times[key])) for key in steps},
        "images_per_second": experiment.batch_size / float(np.median(times["step_ms"])),
        "bound_ms": 1e3 * bound,
        "step_over_bound": float(np.median(times["step_ms"])) / bound,
        "profile_ms": profile(step),
    }


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def profile(step, steps=5):
    """Milliseconds a step by kind of operation, of all threads together, the longest first."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    with tempfile.TemporaryDirectory() as folder:
        options = tf.profiler.experimental.ProfilerOptions(host_tracer_level=2, python_tracer_level=0)
        with tf.profiler.experimental.Profile(folder, options):
            for _ in range(steps):
                step()
        space = xplane_pb2.XSpace()
        (path,) = glob.glob(f"{folder}/**/*.xplane.pb", recursive=True)
        with open(path, "rb") as file:
            space.ParseFromString(file.read())
    times = collections.Counter()
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                name = plane.event_metadata[event.metadata_id].name
                if re.fullmatch(r"[^:]*:_?[A-Z]\w*", name):  # an operation and its type; others are what runs them
                    times[kind_of(name.rsplit(":", 1)[1])] += event.duration_ps / 1e9 / steps
    return {kind: round(ms, 2) for kind, ms in times.most_common()}


def kind_of(operation):
    """What a type of operation is counted under."""
    operation = operation.removeprefix("_MklNative").removeprefix("_Mkl").removeprefix("Fused")
    for kind, prefixes in KINDS.items():
        if operation.startswith(prefixes):
            return kind
    return "all others"


def main(_):
    experiment = preset(FLAGS.preset)
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        processor = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "unknown")
    report({
        "preset": experiment.name, "batch": [experiment.batch_size, *experiment.crop_size], "processor": processor,
        "cores": len(os.sched_getaffinity(0)), "tensorflow": tf.__version__,
        "models": {name: {precision: measure(name, experiment, precision) for precision in FLAGS.precision}
                   for name in FLAGS.model},
    }, FLAGS.output)


if __name__ == "__main__":
    app.run(main)
