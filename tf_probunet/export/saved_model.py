"""Exports a model as a SavedModel with the signatures of `tf_probunet.export.signatures`.

The version appears under its number by one rename, after each signature was called and compared with Keras.
"""

import os
import shutil
from pathlib import Path

import keras
import tensorflow as tf
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

from tf_probunet.data.dataset import ImageEncoding
from tf_probunet.export.manifest import write_manifest
from tf_probunet.export.signatures import Signatures
from tf_probunet.export.version_numbers import version_numbers
from tf_probunet.models import LatentSegmenter, Segmenter
from tf_probunet.serving.model_config import labels_of, read_config
from tf_probunet.staging import disk_errors, stage_folder

TOLERANCE = 1e-4  # on probabilities, features and logits in float32, absolute where they are small, else relative
HALF_TOLERANCE = 1e-3  # float16 has 11 bits
WARM_UP = Path("assets.extra", "tf_serving_warmup_requests")


def export(model: Segmenter, output: str | os.PathLike, *, facts=None, check_size=(64, 64), half_features=False,
           encoding: ImageEncoding | None = None) -> Path:
    """Writes the next version below `output`, as TensorFlow Serving reads it.

    Args:
        model: a float32 model whose trunk runs once an image and whose combiner once a sample: a Probabilistic U-Net
            with `latent_injection="end"`, under its other ablations too.
        output: folder of the model's versions, `saved_models/NAME`; made if missing.
        facts: JSON values for the manifest (experiment, metrics, image encoding).
        check_size: height and width of the images for the comparison with Keras and the warm-up requests, and of what
            `encoded` cuts out of the middle of larger images.
        half_features: features travel as float16, half the bytes; samples then differ a little from Keras's where they
            are drawn from features.
        encoding: how the integers of PNGs become 0..1; given, there is a fourth signature `encoded`, for clients that
            hold PNGs.
    Returns:
        the new version's folder, `output/VERSION`.
    Raises:
        ValueError: the exported numbers differ from Keras's, or the model is of another kind or not float32.
        OSError: the disk is full.
    """
    if not isinstance(model, LatentSegmenter) or model.latent_injection != "end":
        kind = type(model).__name__
        if isinstance(model, LatentSegmenter):
            kind += ", whose latents come in at the start of the U-Net"
        raise ValueError(
            f"Only models with a trunk that runs once an image and a combiner that runs once a sample are exported: "
            f"ProbabilisticUNet with latent_injection='end'. Received: {kind}. Use it in Keras: sample() draws from "
            "every model."
        )
    if model.dtype_policy.name != "float32":
        raise ValueError(
            f"Only float32 models are exported. Received a model of dtype policy {model.dtype_policy.name}. Build it "
            "anew with dtype='float32' and load the weights: variables are float32 in both."
        )
    model.build()
    signatures = Signatures(model, check_size, half_features=half_features, encoding=encoding)
    output = Path(output)
    version = output / str(_next_number(output))
    with disk_errors(version):
        staging = stage_folder(version)
        try:
            _archive(signatures).write_out(staging, verbose=False)
            _compare(model, tf.saved_model.load(staging), signatures)
            _write_warm_up(staging, output.name, signatures.examples())
            write_manifest(staging, {
                "name": output.name,
                "version": int(version.name),
                "half_features": half_features,
                "model": {"class": type(model).__name__, "config": _plain(model.get_config())},
                "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
                **(facts or {}),
            })
            os.rename(staging, version)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return version


def _next_number(output):
    """One above all that are there, and above those that labels name: a label is given by hand, not by an export."""
    labels = labels_of(read_config(output.parent), output.name)
    return 1 + max([*version_numbers(output), *labels.values()], default=0)


def _archive(signatures):
    archive = keras.export.ExportArchive()
    # Endpoints bring the variables that they use; tracking the layers as well would store each one twice.
    for name, (function, specification) in signatures.endpoints().items():
        archive.add_endpoint(name, function, input_signature=specification)
    return archive


def _compare(model, loaded, signatures):
    """Raises unless the loaded signatures give what the Keras model gives through its own methods."""
    examples = signatures.examples()
    images = examples["trunk"]["images"]
    prior = model.prior(images)
    features, latents = map(tf.constant, examples["combiner"].values())
    expected = {
        "trunk": {"features": model.combiner.project_features(model.features(images)), "prior_mean": prior.mean(),
                  "prior_stddev": prior.stddev()},
        "combiner": {"logits": model.combiner.combine(tf.cast(features, tf.float32), latents)},
    }
    for signature, inputs in examples.items():
        outputs = loaded.signatures[signature](**{name: tf.constant(value) for name, value in inputs.items()})
        if signature in expected:
            _compare_outputs(signature, outputs, expected[signature])
            continue
        shown = inputs["images"] if "images" in inputs else signatures.decoded(inputs["image_bytes"])
        logits = model.sample_from_noise(tf.constant(shown), tf.constant(inputs["noise"]))
        _compare_outputs(signature, outputs, {"probabilities": tf.reduce_mean(tf.nn.softmax(logits), axis=1)})
        _compare_segmentations(signature, outputs["segmentations"], logits)


def _compare_outputs(signature, outputs, expected):
    for name, value in expected.items():
        tolerance = HALF_TOLERANCE if outputs[name].dtype == tf.float16 else TOLERANCE
        error = float(tf.reduce_max(tf.abs(tf.cast(outputs[name], tf.float32) - value) / (1 + tf.abs(value))))
        if not error <= tolerance:
            raise ValueError(
                f"Signature {signature}: {name} differs from Keras by {error:.2e}, more than {tolerance:.0e}. "
                "Nothing was exported."
            )


def _compare_segmentations(signature, segmentations, logits):
    top = tf.math.top_k(logits, 2).values
    clear = top[..., 0] - top[..., 1] > TOLERANCE  # a tie may fall either way
    wrong = clear & (tf.cast(segmentations, tf.int32) != tf.argmax(logits, axis=-1, output_type=tf.int32))
    if tf.reduce_any(wrong):
        raise ValueError(f"Signature {signature}: segmentations differ from Keras's. Nothing was exported.")


def _write_warm_up(folder, name, requests):
    """One request a signature, which TensorFlow Serving replays before a version takes traffic."""
    path = folder / WARM_UP
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests.items():
            request = predict_pb2.PredictRequest(
                model_spec=model_pb2.ModelSpec(name=name, signature_name=signature),
                inputs={key: tf.make_tensor_proto(value[:1]) for key, value in inputs.items()},
            )
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())


def _plain(config):
    return {key: value for key, value in config.items() if key != "dtype"}
