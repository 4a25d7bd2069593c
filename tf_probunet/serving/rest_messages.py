"""Steps of a conversation as requests of TensorFlow Serving's REST interface, in its column format, and back."""

import json
from urllib.parse import quote

import numpy as np

from tf_probunet.serving.errors import ServingError, failure
from tf_probunet.serving.model_metadata import metadata_from
from tf_probunet.serving.status_codes import code_of_http
from tf_probunet.serving.steps import GetMetadata, GetStatus, Predict, Prediction


def request(step) -> tuple[str, str, bytes | None]:
    """Method, path and body that ask for a step."""
    path = f"/v1/models/{quote(step.spec.name, safe='')}"
    if isinstance(step, GetStatus):
        return "GET", path, None
    if step.spec.version is not None:
        path += f"/versions/{step.spec.version}"
    elif step.spec.label is not None:
        path += f"/labels/{quote(step.spec.label, safe='')}"
    if isinstance(step, GetMetadata):
        return "GET", f"{path}/metadata", None
    # float16 and float32 go through Python's float unharmed: each is written in full.
    inputs = {name: value.tolist() for name, value in step.inputs.items()}
    return "POST", f"{path}:predict", json.dumps({"signature_name": step.signature_name, "inputs": inputs}).encode()


def answer(step, status: int, body: bytes, address: str):
    """What a step is answered with, out of an HTTP reply.

    Raises:
        ServingError: the server refused, or the reply is not what TensorFlow Serving sends.
    """
    where = f"{step.spec} at {address}"
    if status != 200:
        raise failure(code_of_http(status), _reason(status, body), where)
    try:
        content = json.loads(body)
        if isinstance(step, Predict):
            return Prediction(_outputs(content["outputs"], step.signature.outputs), None)
        if isinstance(step, GetMetadata):
            return _metadata(content)
        return {int(entry["version"]): entry["state"] for entry in content["model_version_status"]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise failure("INTERNAL", f"the reply is not one of TensorFlow Serving ({error!r}): {body[:200]!r}",
                      where) from error


def too_large(step, address: str, max_message_bytes: int) -> ServingError:
    """The error for a reply that would not end within what is allowed."""
    return failure("RESOURCE_EXHAUSTED", f"the reply is larger than max_message_bytes={max_message_bytes}",
                   f"{step.spec} at {address}")


def _reason(status, body):
    try:
        return f"{json.loads(body)['error']}"
    except (ValueError, KeyError, TypeError):  # a proxy's page, or nothing
        return f"HTTP {status} {body[:200].decode(errors='replace')}"


def _outputs(content, signature):
    if len(signature) == 1 and not isinstance(content, dict):  # a single output stands without its name
        content = {next(iter(signature)): content}
    return {name: np.asarray(content[name], info.dtype) for name, info in signature.items()}


def _metadata(content):
    from google.protobuf import json_format
    from tensorflow_serving.apis.get_model_metadata_pb2 import SignatureDefMap

    signatures = json_format.ParseDict(content["metadata"]["signature_def"], SignatureDefMap(),
                                       ignore_unknown_fields=True)
    return metadata_from(int(content["model_spec"]["version"]), signatures.signature_def)
