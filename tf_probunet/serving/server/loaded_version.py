"""A version of a model in memory: checked against its manifest, loaded, warmed, and what its signatures take."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from tf_probunet.export.manifest import read_manifest
from tf_probunet.export.saved_model import WARM_UP
from tf_probunet.serving.server.tensors import to_numpy

NOT_SERVED = "__saved_model_init_op"  # TensorFlow's own
MOST_WARM_UP_ELEMENTS = 2**28


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """What a signature takes or gives under one name: number of the type, and shape with -1 where free."""

    dtype: int
    shape: tuple[int, ...]


class LoadedVersion:
    """A version that is ready for requests.

    Args:
        model, number: name and version.
        folder: where `probunet export` wrote it.
    Raises:
        OSError, ValueError: a file is missing or changed, or the model does not load or answer.
    """

    def __init__(self, model: str, number: int, folder: str | os.PathLike):
        folder = Path(folder)
        self.model, self.number = model, number
        self.manifest = read_manifest(folder)
        graph = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs[0]
        self.signature_defs: dict[str, meta_graph_pb2.SignatureDef] = {
            name: value for name, value in graph.signature_def.items() if name != NOT_SERVED
        }
        self.inputs = {name: _specs(value.inputs) for name, value in self.signature_defs.items()}
        self.outputs = {name: _specs(value.outputs) for name, value in self.signature_defs.items()}
        self._loaded = tf.saved_model.load(folder)  # signatures hold their variables weakly
        self._functions = {name: self._loaded.signatures[name] for name in self.inputs}
        self.size_multiple = 2 ** (len(self.manifest["model"]["config"]["channels"]) - 1)
        self._warm_up(folder / WARM_UP)

    def run(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs of a signature for inputs that fit it."""
        outputs = self._functions[signature](**{name: tf.constant(value) for name, value in inputs.items()})
        return {name: value.numpy() for name, value in outputs.items()}

    def _warm_up(self, path):
        """Replays the warm-up requests: the first call of a function costs more, and a broken one shows here."""
        for serialized in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            request = prediction_log_pb2.PredictionLog.FromString(serialized).predict_log.request
            signature = request.model_spec.signature_name
            inputs = {
                name: to_numpy(name, request.inputs[name], spec.dtype, spec.shape, MOST_WARM_UP_ELEMENTS)
                for name, spec in self.inputs[signature].items()
            }
            for name, value in self.run(signature, inputs).items():
                if value.dtype.kind == "f" and not np.isfinite(value).all():
                    raise ValueError(f"Signature {signature} of {path.parents[1]} answers its warm-up request with "
                                     f"{name} that is not finite. Export the model again from weights that are whole.")


def _specs(tensors) -> dict[str, TensorSpec]:
    return {name: TensorSpec(info.dtype, tuple(dimension.size for dimension in info.tensor_shape.dim))
            for name, info in sorted(tensors.items())}
