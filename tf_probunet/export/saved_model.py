"""Exports a model as a SavedModel with the signatures `serving_default`, `trunk` and `combiner`.

Randomness is always an input, every input shares dimension 0, and the version appears under its number by one rename
after each signature was called and compared with Keras.
"""

import os
import shutil
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

from tf_probunet.export.manifest import write_manifest
from tf_probunet.export.version_numbers import version_numbers
from tf_probunet.models import LatentSegmenter, Segmenter
from tf_probunet.staging import disk_errors, stage_folder

TOLERANCE = 1e-4  # absolute, on probabilities, features and logits in float32
WARM_UP = Path("assets.extra", "tf_serving_warmup_requests")


def export(model: Segmenter, output: str | os.PathLike, *, facts=None, check_size=(64, 64)) -> Path:
    """Writes the next version below `output`, as TensorFlow Serving reads it.

    Args:
        model: a float32 model whose trunk runs once an image and whose combiner once a sample: a Probabilistic U-Net
            with `latent_injection="end"`, under its other ablations too.
        output: folder of the model's versions, `saved_models/NAME`; made if missing.
        facts: JSON values for the manifest (experiment, metrics, image encoding).
        check_size: height and width of the images for the comparison with Keras and the warm-up requests.
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
    output = Path(output)
    version = output / str(1 + max(version_numbers(output), default=0))
    with disk_errors(version):
        staging = stage_folder(version)
        try:
            _archive(model).write_out(staging, verbose=False)
            requests = _requests(model, check_size)
            _compare(model, tf.saved_model.load(staging), requests)
            _write_warm_up(staging, output.name, requests)
            write_manifest(staging, {
                "name": output.name,
                "version": int(version.name),
                "model": {"class": type(model).__name__, "config": _plain(model.get_config())},
                "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
                **(facts or {}),
            })
            os.rename(staging, version)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return version


class _Signatures(tf.Module):
    """The three functions that are served; none uses the posterior net, so it stays behind."""

    def __init__(self, model):
        super().__init__()
        self.model_trunk, self.combiner_layer = model.trunk, model.combiner

    def serving_default(self, images, noise):
        trunk = self.trunk(images)
        latents = trunk["prior_mean"][:, None] + trunk["prior_stddev"][:, None] * noise  # [B, M, N]
        logits = self.combiner(trunk["features"], latents)["logits"]
        return {
            "segmentations": tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int32), tf.uint8),
            "probabilities": tf.reduce_mean(tf.nn.softmax(logits), axis=1),
        }

    def trunk(self, images):
        features, mean, stddev = self.model_trunk(images)
        features = self.combiner_layer.project_features(features)
        return {"features": features, "prior_mean": mean, "prior_stddev": stddev}

    def combiner(self, features, latents):
        return {"logits": self.combiner_layer.combine(features, latents)}


def _archive(model):
    signatures = _Signatures(model)
    images = tf.TensorSpec((None, None, None, model.image_channels), tf.float32, name="images")
    features = tf.TensorSpec((None, None, None, model.combiner_channels[0]), tf.float32, name="features")
    noise, latents = (tf.TensorSpec((None, None, model.latent_dim), tf.float32, name=name)
                      for name in ("noise", "latents"))
    archive = keras.export.ExportArchive()
    # Endpoints bring the variables that they use; tracking the layers as well would store each one twice.
    # The first endpoint is TensorFlow Serving's default.
    archive.add_endpoint("serving_default", signatures.serving_default, input_signature=[images, noise])
    archive.add_endpoint("trunk", signatures.trunk, input_signature=[images])
    archive.add_endpoint("combiner", signatures.combiner, input_signature=[features, latents])
    return archive


def _requests(model, size):
    """Inputs of each signature, random but always the same: 2 images, 3 samples."""
    rng = np.random.default_rng(0)
    images = rng.random((2, *size, model.image_channels), np.float32)
    noise = rng.standard_normal((2, 3, model.latent_dim), np.float32)
    features = rng.standard_normal((2, *size, model.combiner_channels[0]), np.float32)
    return {
        "serving_default": {"images": images, "noise": noise},
        "trunk": {"images": images},
        "combiner": {"features": features, "latents": noise},
    }


def _compare(model, loaded, requests):
    """Raises unless the loaded signatures give what the Keras model gives through its own methods."""
    logits = model.sample_from_noise(*map(tf.constant, requests["serving_default"].values()))
    prior = model.prior(requests["trunk"]["images"])
    features = model.combiner.project_features(model.features(requests["trunk"]["images"]))
    expected = {
        "serving_default": {"probabilities": tf.reduce_mean(tf.nn.softmax(logits), axis=1)},
        "trunk": {"features": features, "prior_mean": prior.mean(), "prior_stddev": prior.stddev()},
        "combiner": {"logits": model.combiner.combine(*requests["combiner"].values())},
    }
    for signature, inputs in requests.items():
        outputs = loaded.signatures[signature](**{name: tf.constant(value) for name, value in inputs.items()})
        for name, value in expected[signature].items():
            error = float(tf.reduce_max(tf.abs(outputs[name] - value) / (1 + tf.abs(value))))
            if not error <= TOLERANCE:
                raise ValueError(
                    f"Signature {signature}: {name} differs from Keras by {error:.2e}, more than {TOLERANCE:.0e}. "
                    "Nothing was exported."
                )
        if signature == "serving_default":
            _compare_segmentations(outputs["segmentations"], logits)


def _compare_segmentations(segmentations, logits):
    top = tf.math.top_k(logits, 2).values
    clear = top[..., 0] - top[..., 1] > TOLERANCE  # a tie may fall either way
    wrong = clear & (tf.cast(segmentations, tf.int32) != tf.argmax(logits, axis=-1, output_type=tf.int32))
    if tf.reduce_any(wrong):
        raise ValueError("Signature serving_default: segmentations differ from Keras's. Nothing was exported.")


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
