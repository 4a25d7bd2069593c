"""The combiner and the trunk of an exported version as LiteRT models of fixed shapes.

The exported combiner takes any number of samples of any number of images, in tensors of five dimensions. A GPU takes
neither: here the samples stand in dimension 0, and features and latents meet in one addition,

    relu(features [1, H, W, F] + conv1x1(latents [M, 1, 1, N]))  ->  1x1 convolutions  ->  logits [M, H, W, K]

so that three CONV_2D and one ADD are all there is (for one hidden layer more than the first).
"""

import os
import tempfile
from collections.abc import Callable, Iterator

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from tf_probunet.checksums import sha256_of
from tf_probunet.edge.tflite_file import TfliteFile
from tf_probunet.export.exported import ExportedModel
from tf_probunet.export.manifest import NAME as MANIFEST
from tf_probunet.export.rebuilt import rebuilt_model
from tf_probunet.models import LatentSegmenter
from tf_probunet.quiet import native_stderr

PRECISIONS = ("float32", "float16", "int8")


def convert_combiner(exported: ExportedModel, size: tuple[int, int], num_samples: int, precision: str = "float32",
                     calibration: Callable[[], Iterator[dict]] | None = None) -> bytes:
    """The combiner for features of one size and one number of samples.

    Args:
        exported: the version.
        size: (height, width) of the features.
        num_samples: M.
        precision: "float32"; "float16": weights in half the bytes, computed in float32 on a CPU; "int8": weights and
            computation in 8 bits, with float32 inputs and outputs.
        calibration: for int8, a function that gives examples {"features": [1, H, W, F], "latents": [M, 1, 1, N]}; their
            ranges become those of the 8 bits.
    Returns:
        the content of a `.tflite` file with the signature `combiner` and our metadata.
    """
    function, specification = combiner_function(rebuilt_model(exported), size, num_samples)
    content = convert_function("combiner", function, specification, precision, calibration)
    return _described(content, exported, "combiner", precision, size=size, num_samples=num_samples)


def combiner_function(model: LatentSegmenter, size: tuple[int, int], num_samples: int) -> tuple[Callable, dict]:
    """The combiner as `convert_function` takes it: a function of features and latents, and what these are."""
    layer, latent_dim = model.combiner, model.latent_dim

    def combiner(features, latents):
        kernel = layer.hidden[0].kernel[:, :, -latent_dim:]  # its other half and its bias are in the features already
        hidden = tf.nn.relu(features + tf.nn.conv2d(latents, kernel, 1, "SAME"))  # [M, H, W, F]
        for conv in layer.hidden[1:]:
            hidden = tf.nn.relu(conv(hidden))
        return {"logits": layer.logits(hidden)}

    return combiner, {
        "features": tf.TensorSpec((1, *size, layer.hidden[0].filters), tf.float32, name="features"),
        "latents": tf.TensorSpec((num_samples, 1, 1, latent_dim), tf.float32, name="latents"),
    }


def convert_trunk(exported: ExportedModel, size: tuple[int, int], precision: str = "float32") -> bytes:
    """The trunk for one image of one size: features, prior_mean and prior_stddev.

    Args:
        exported: the version.
        size: (height, width) of the image.
        precision: "float32" or "float16".
    Returns:
        the content of a `.tflite` file with the signature `trunk` and our metadata.
    """
    model = rebuilt_model(exported)

    def trunk(images):
        features, mean, stddev = model.trunk(images)
        return {"features": model.combiner.project_features(features), "prior_mean": mean, "prior_stddev": stddev}

    images = tf.TensorSpec((1, *size, exported.config["image_channels"]), tf.float32, name="images")
    content = convert_function("trunk", trunk, {"images": images}, precision)
    return _described(content, exported, "trunk", precision, size=size)


def fingerprint(exported: ExportedModel) -> str:
    """What identifies a version: the sha256 of its manifest, which holds that of every other file."""
    return sha256_of(exported.folder / MANIFEST)


def convert_function(name: str, function: Callable, specification: dict, precision: str = "float32",
                     calibration: Callable[[], Iterator[dict]] | None = None) -> bytes:
    """A function of tensors of fixed shapes as a LiteRT model with one signature.

    Args:
        name: of the signature.
        function: takes the specification's tensors by name and returns tensors by name; its variables become constants.
        specification: a `tf.TensorSpec` for each input, by name.
        precision, calibration: see `convert_combiner`.
    Returns:
        the content of a `.tflite` file.
    """
    concrete = tf.function(function).get_concrete_function(**specification)
    frozen = convert_variables_to_constants_v2(concrete)  # LiteRT would take a Keras model's variables for state
    arguments = list(specification.values())

    @tf.function(input_signature=arguments)
    def constant(*inputs):
        return tf.nest.pack_sequence_as(concrete.structured_outputs, frozen(*inputs), expand_composites=True)

    module = tf.Module()
    with tempfile.TemporaryDirectory() as folder, native_stderr():
        folder = os.path.join(folder, "static")
        tf.saved_model.save(module, folder, signatures={name: constant})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[name])
        if precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if precision == "int8":
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.representative_dataset = calibration
        return converter.convert()


def _described(content, exported, part, precision, **facts):
    return TfliteFile(content).with_metadata({
        "part": part,
        "precision": precision,
        **facts,
        "model": exported.title,
        "source": exported.source,
        "num_classes": exported.num_classes,
        "saved_model_sha256": fingerprint(exported),
    })
