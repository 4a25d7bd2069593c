"""Models behind a server of the tests: versions and labels, and orders to fail, to wait or to swap versions."""

import threading
import time
from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tf_probunet.serving.errors import ServingError


class Model:
    """A SavedModel; `change` may alter the outputs of any signature: (signature name, outputs) -> outputs."""

    def __init__(self, folder, change=None):
        self.loaded = tf.saved_model.load(folder)
        content = saved_model_pb2.SavedModel.FromString((Path(folder) / "saved_model.pb").read_bytes())
        self.signature_defs = content.meta_graphs[0].signature_def
        self.change = change

    def __call__(self, signature_name, read):
        if signature_name not in self.loaded.signatures:
            raise ServingError(f'Serving signature key "{signature_name}" not found.', "FAILED_PRECONDITION")
        inputs = read(self.signature_defs[signature_name])
        try:
            outputs = self.loaded.signatures[signature_name](**inputs)
        except (tf.errors.InvalidArgumentError, TypeError) as error:
            raise ServingError(str(error), "INVALID_ARGUMENT") from error
        outputs = {name: value.numpy() for name, value in outputs.items()}
        return self.change(signature_name, outputs) if self.change else outputs


class Servables:
    """The versions of one model.

    Attributes:
        versions, labels: may be changed while a server runs.
        calls: (kind, signature name, version or None) of each request, in order.
        faults: codes with which the next predictions fail, first to last.
        delay: seconds before a prediction.
        after: called with a signature's name once its prediction is made.
    """

    def __init__(self, name, versions, labels=None):
        self.name, self.versions, self.labels = name, dict(versions), labels or {}
        self.calls, self.faults, self.delay = [], [], 0.0
        self.after = lambda signature_name: None
        self._lock = threading.Lock()

    def find(self, name, version=None, label=None):
        """(number, model) that is meant, with TensorFlow Serving's words where there is none."""
        if label:
            if label not in self.labels:
                raise ServingError(f"Unrecognized servable version label: {label}", "INVALID_ARGUMENT")
            version = self.labels[label]
        number = max(self.versions, default=None) if version is None else version
        if name != self.name or number not in self.versions:
            raise ServingError(f"Servable not found for request: {'Latest' if version is None else 'Specific'}({name})",
                               "NOT_FOUND")
        return number, self.versions[number]

    def predict(self, name, version, label, signature_name, read):
        """(number, outputs); `read` makes the inputs from the signature's definition."""
        with self._lock:
            self.calls.append(("predict", signature_name, version))
            fault = self.faults.pop(0) if self.faults else None
        time.sleep(self.delay)
        if fault:
            raise ServingError("as the test wants it", fault)
        number, model = self.find(name, version, label)
        outputs = model(signature_name, read)
        self.after(signature_name)
        return number, outputs

    def predictions(self):
        """Signatures of the predictions so far, with the version that was asked for."""
        return [call[1:] for call in self.calls if call[0] == "predict"]
