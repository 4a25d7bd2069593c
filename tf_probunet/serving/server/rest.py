"""TensorFlow Serving's REST protocol: paths and JSON to requests of the handler, replies to JSON."""

import asyncio
import base64
import binascii
import json
import re

import numpy as np
from google.protobuf import json_format
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2

from tf_probunet.serving.server.handler import DEFAULT_SIGNATURE, SIGNATURE_DEF, Handler, check_names, facts_of
from tf_probunet.serving.server.limits import Limits
from tf_probunet.serving.server.refusal import Refusal
from tf_probunet.serving.server.tensors import TYPES, check_shape, shape_text, type_name

PATH = re.compile(
    r"/v1/models/(?P<model>[^/:]+)"
    r"(?:/versions/(?P<version>[0-9]{1,18})|/labels/(?P<label>[^/:]+))?"
    r"(?::(?P<verb>[a-z]+)|/(?P<metadata>metadata))?"
)


async def respond(handler: Handler, method: str, path: str, body: bytes) -> tuple[bytes, dict]:
    """The JSON that answers a request, and what logs and metrics say of it.

    Args:
        handler: of the models.
        method: "GET" or "POST".
        path: unquoted, without query.
        body: of a POST.
    Raises:
        Refusal: the request cannot be answered.
    """
    match = PATH.fullmatch(path)
    if not match:
        raise Refusal("NOT_FOUND", "There is no such resource. Expected /v1/models/NAME[/versions/V|/labels/L], with "
                      ":predict or /metadata behind it, as TensorFlow Serving has them.")
    spec = model_pb2.ModelSpec(name=match["model"])
    if match["version"]:
        spec.version.value = int(match["version"])
    elif match["label"]:
        spec.version_label = match["label"]
    verb = match["verb"]
    if verb in ("classify", "regress"):
        raise Refusal("UNIMPLEMENTED", f"These models segment; they do not {verb}. Use :predict.")
    if verb is not None and verb != "predict":
        raise Refusal("NOT_FOUND", f"There is no :{verb}. Expected :predict.")
    expected = "POST" if verb else "GET"
    if method != expected:
        raise Refusal("INVALID_ARGUMENT", f"This resource is for {expected}. Received: {method}.")
    if verb:
        return await predict(handler, spec, body)
    if match["metadata"]:
        response = await handler.metadata(get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=spec, metadata_field=[SIGNATURE_DEF]))
        return _metadata(response), facts_of(response.model_spec.name, response.model_spec.version.value)
    return _status(await handler.status(get_model_status_pb2.GetModelStatusRequest(model_spec=spec))), {}


async def predict(handler: Handler, spec: model_pb2.ModelSpec, body: bytes) -> tuple[bytes, dict]:
    """Runs a signature on JSON in row format ("instances") or column format ("inputs")."""
    # In threads: JSON of megabytes takes long enough for others to notice.
    content = await asyncio.to_thread(_parse, body)
    signature, version = content.get("signature_name", DEFAULT_SIGNATURE), await handler.find(spec)
    if not isinstance(signature, str):
        raise Refusal("INVALID_ARGUMENT", "'signature_name' key must be a string value.")
    signature = signature or DEFAULT_SIGNATURE
    specs = handler.inputs_of(version, signature)
    inputs = await asyncio.to_thread(_inputs, content, specs, handler)
    outputs = await handler.run(version, signature, inputs)
    reply = await asyncio.to_thread(_reply, outputs, "instances" in content)
    return reply, facts_of(version.model, version.number, signature)


def too_large(size: int, limits: Limits) -> str:
    """What is told to who sends a body beyond the limit."""
    return (f"The body has {size:,} bytes or more; this server takes {limits.json_bytes:,} of JSON. Send fewer images "
            "at once, or use gRPC, whose messages are a fraction of it.")


def error_body(message: str) -> bytes:
    """The JSON of an error."""
    return json.dumps({"error": message}).encode()


def _parse(body):
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:  # of JSON, of UTF-8, of too deep a nesting
        raise Refusal("INVALID_ARGUMENT", f"JSON Parse error: {str(error) or type(error).__name__}.") from error
    if not isinstance(content, dict):
        raise Refusal("INVALID_ARGUMENT", f"The body must be a JSON object. Received: {_kind(content)}.")
    return content


def _inputs(content, specs, handler):
    if ("instances" in content) == ("inputs" in content):
        raise Refusal("INVALID_ARGUMENT", "Expected one of 'instances' (row format) and 'inputs' (column format).")
    columns = _columns_of_rows if "instances" in content else _columns
    found = columns(content.get("instances", content.get("inputs")), specs)
    check_names(found, specs)
    return {name: _array(name, found[name], spec, handler.max_elements(spec)) for name, spec in specs.items()}


def _reply(outputs, rows):
    values = {name: _plain(name, value) for name, value in outputs.items()}
    if not rows:
        content = {"outputs": next(iter(values.values())) if len(values) == 1 else values}
    elif len(values) == 1:
        content = {"predictions": next(iter(values.values()))}
    else:
        content = {"predictions": [dict(zip(values, row)) for row in zip(*values.values())]}
    return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


def _columns(inputs, specs):
    """Of column format: an object by name, or the value itself where there is one input."""
    if isinstance(inputs, dict) and not _is_bytes(inputs):
        return inputs
    if len(specs) != 1:
        raise Refusal("INVALID_ARGUMENT", f"'inputs' must be an object with the keys {', '.join(specs)}. Received: "
                      f"{_kind(inputs)}.")
    return {next(iter(specs)): inputs}


def _columns_of_rows(instances, specs):
    """Of row format: a list of objects by name, or of the values themselves where there is one input."""
    if not isinstance(instances, list) or not instances:
        raise Refusal("INVALID_ARGUMENT", f"'instances' must be a list of at least one. Received: {_kind(instances)}.")
    if not (isinstance(instances[0], dict) and not _is_bytes(instances[0])):
        if len(specs) != 1:
            raise Refusal("INVALID_ARGUMENT", f"Each of 'instances' must be an object with the keys "
                          f"{', '.join(specs)}. Received: {_kind(instances[0])}.")
        return {next(iter(specs)): instances}
    for place, row in enumerate(instances):
        if not isinstance(row, dict) or row.keys() != instances[0].keys():
            raise Refusal("INVALID_ARGUMENT", f"All 'instances' must have the same keys; number {place} differs from "
                          "the first.")
    return {name: [row[name] for row in instances] for name in instances[0]}


def _array(name, value, spec, max_elements):
    """A nested list as an array of the input's type."""
    found = _shape(value)
    check_shape(name, found, spec.shape, max_elements)
    if spec.dtype == types_pb2.DT_STRING:
        array = np.empty(found, object)
        array[...] = _decoded(name, value)
        return array
    try:
        array = np.array(value, TYPES[spec.dtype][0])
    except (ValueError, TypeError, OverflowError) as error:
        raise Refusal("INVALID_ARGUMENT", f"Input {name} must be a nested list of numbers of shape "
                      f"{shape_text(spec.shape)}, all rows of the same length ({type_name(spec.dtype)}). "
                      f"{error}.") from error
    if array.shape != found or not _only_numbers(value):
        raise Refusal("INVALID_ARGUMENT", f"Input {name} must hold numbers only.")
    return array


def _shape(value):
    """Of a nested list, along its first elements; that the others agree is for numpy to find out."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value or len(shape) > 8:
            break
        value = value[0]
    return tuple(shape)


def _only_numbers(value):
    """False where a text or a truth value would silently become a number."""
    while isinstance(value, list) and value and isinstance(value[0], list):
        value = [inner for outer in value for inner in outer]
    return all(type(number) in (int, float) for number in value)


def _decoded(name, value):
    """Texts, or {"b64": ...}, of a list."""
    found = []
    for entry in value:
        if _is_bytes(entry):
            try:
                found.append(base64.b64decode(entry["b64"], validate=True))
            except (binascii.Error, ValueError, TypeError) as error:
                raise Refusal("INVALID_ARGUMENT", f"Input {name}: 'b64' must be base64. {error}.") from error
        elif isinstance(entry, str):
            found.append(entry.encode())
        else:
            raise Refusal("INVALID_ARGUMENT", f"Input {name} must hold texts or {{\"b64\": TEXT}}. Received: "
                          f"{_kind(entry)}.")
    return found


def _plain(name, value):
    if value.dtype == object:
        return [{"b64": base64.b64encode(entry).decode()} if name.endswith("_bytes") else entry.decode()
                for entry in value.ravel()]
    if value.dtype.kind == "f":  # the shortest decimals that give the same float back, as TensorFlow Serving writes
        return _shortest(value)
    return value.tolist()


def _shortest(value):
    """Nested lists of doubles that print as the shortest decimal of the float32 or float16 that they were."""
    texts = value.ravel().astype(str)
    return texts.astype(np.float64).reshape(value.shape).tolist()


def _is_bytes(value):
    return isinstance(value, dict) and value.keys() == {"b64"}


def _kind(value):
    names = {dict: "an object", list: "a list", str: "a text", type(None): "null", bool: "a truth value"}
    return names.get(type(value), "a number")


def _metadata(response):
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata[SIGNATURE_DEF].Unpack(signatures)
    spec = {"name": response.model_spec.name, "signature_name": "", "version": str(response.model_spec.version.value)}
    # No Any here: its type would have to be known to whoever parses it.
    plain = json_format.MessageToDict(signatures, preserving_proto_field_name=True,
                                      always_print_fields_with_no_presence=True)
    return json.dumps({"model_spec": spec, "metadata": {SIGNATURE_DEF: plain}}, indent=1).encode()


def _status(response):
    found = [{
        "version": str(entry.version),
        "state": get_model_status_pb2.ModelVersionStatus.State.Name(entry.state),
        "status": {"error_code": "OK" if not entry.status.error_code else "UNKNOWN",
                   "error_message": entry.status.error_message},
    } for entry in response.model_version_status]
    return json.dumps({"model_version_status": found}, indent=1).encode()
