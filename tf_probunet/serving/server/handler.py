"""Answers requests of TensorFlow Serving's protocol from the models of a catalogue."""

import asyncio
import os
import re
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2, predict_pb2

from tf_probunet.models.segmenter import check_size
from tf_probunet.serving.server.batching import Batcher
from tf_probunet.serving.server.catalogue import Catalogue
from tf_probunet.serving.server.limits import Limits
from tf_probunet.serving.server.loaded_version import LoadedVersion
from tf_probunet.serving.server.refusal import Refusal
from tf_probunet.serving.server.tensors import shape_text, to_numpy, to_proto, type_name

DEFAULT_SIGNATURE = "serving_default"
SIGNATURE_DEF = "signature_def"
MOST_IMAGES = 4096  # of one request
WAIT = 0.1  # seconds between two looks whether a version has come
PNG_START = b"\x89PNG\r\n\x1a\n"


class Handler:
    """Predict, GetModelMetadata and GetModelStatus.

    Args:
        catalogue: of the models.
        limits: bounds of one request.
        threads: calls of models at once; the cores if not given.
    """

    def __init__(self, catalogue: Catalogue, limits: Limits = Limits(), threads: int | None = None):
        self.catalogue, self.limits = catalogue, limits
        threads = threads or max(2, len(os.sched_getaffinity(0)))
        self.batcher = Batcher(ThreadPoolExecutor(threads, "model"), threads)

    async def predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        """Runs a signature.

        Raises:
            Refusal: with the codes of TensorFlow Serving.
        """
        version = await self.find(request.model_spec)
        signature = request.model_spec.signature_name or DEFAULT_SIGNATURE
        specs = self.inputs_of(version, signature)
        check_names(request.inputs, specs)
        inputs = {name: to_numpy(name, request.inputs[name], spec.dtype, spec.shape, self.max_elements(spec))
                  for name, spec in specs.items()}
        wanted = list(request.output_filter) or list(version.outputs[signature])
        for name in wanted:
            if name not in version.outputs[signature]:
                raise Refusal("INVALID_ARGUMENT", f"output tensor alias not found in signature: {name}. Outputs "
                              f"expected to be in the set {{{','.join(version.outputs[signature])}}}.")
        outputs = await self.run(version, signature, inputs)
        response = predict_pb2.PredictResponse()
        response.model_spec.CopyFrom(spec_of(version, signature))
        for name in wanted:
            response.outputs[name].CopyFrom(to_proto(outputs[name]))
        if response.ByteSize() > self.limits.message_bytes:
            raise Refusal("INVALID_ARGUMENT", f"The reply would be {response.ByteSize():,} bytes; this server sends "
                          f"{self.limits.message_bytes:,} at most. Ask for fewer images or samples at once.")
        return response

    async def run(self, version: LoadedVersion, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs of a signature for inputs of the right names, types and ranks.

        Raises:
            Refusal: INVALID_ARGUMENT, where the inputs do not fit each other or a limit.
        """
        of_a_row = self._check_together(version, inputs)
        rows = max(1, min(self.limits.batch_rows, int(1 / of_a_row)))
        key = (id(version), signature, *((name, value.shape[1:]) for name, value in sorted(inputs.items())))
        try:
            return await self.batcher.run(key, lambda merged: version.run(signature, merged), inputs, rows)
        except tf.errors.OpError as error:
            code = "INVALID_ARGUMENT" if isinstance(error, tf.errors.InvalidArgumentError) else "INTERNAL"
            raise Refusal(code, f"Signature {signature}: {reason(error.message)}.") from error

    async def metadata(self, request) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Signatures of a version."""
        if not request.metadata_field:
            raise Refusal("INVALID_ARGUMENT", "GetModelMetadataRequest must specify at least one metadata_field.")
        for field in request.metadata_field:
            if field != SIGNATURE_DEF:
                raise Refusal("INVALID_ARGUMENT", f"Metadata field {field} is not supported. Expected: "
                              f"{SIGNATURE_DEF}.")
        version = await self.find(request.model_spec)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.CopyFrom(spec_of(version))
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, definition in version.signature_defs.items():
            signatures.signature_def[name].CopyFrom(definition)
        response.metadata[SIGNATURE_DEF].Pack(signatures)
        return response

    async def status(self, request) -> get_model_status_pb2.GetModelStatusResponse:
        """States of a model's versions."""
        response = get_model_status_pb2.GetModelStatusResponse()
        for number, state in self.catalogue.status(**chosen(request.model_spec)).items():
            found = response.model_version_status.add(version=number, state=state.state)
            if state.error:
                found.status.error_code, found.status.error_message = 2, state.error  # UNKNOWN
        return response

    async def find(self, spec: model_pb2.ModelSpec) -> LoadedVersion:
        """The version that a request names; waits for one that another replica may have announced already.

        Raises:
            Refusal: see `Catalogue.find`.
        """
        wanted = chosen(spec)
        while True:
            try:
                return self.catalogue.find(**wanted)
            except Refusal as refusal:
                if refusal.code != "NOT_FOUND" or not self.catalogue.is_coming(**wanted):
                    raise
            await asyncio.sleep(WAIT)

    def inputs_of(self, version: LoadedVersion, signature: str):
        """What a signature takes, by name.

        Raises:
            Refusal: FAILED_PRECONDITION, there is no such signature.
        """
        if signature not in version.inputs:
            raise Refusal("FAILED_PRECONDITION", f'Serving signature key "{signature}" not found. Version '
                          f"{version.number} of model {version.model} has: {', '.join(version.inputs)}.")
        return version.inputs[signature]

    def max_elements(self, spec) -> int:
        """What an input may hold: pixels times channels of an image, samples times dimensions of latents."""
        last = max(spec.shape[-1], 1) if spec.shape else 1
        return last * {4: self.limits.pixels, 3: self.limits.samples * MOST_IMAGES}.get(len(spec.shape), MOST_IMAGES)

    def _check_together(self, version, inputs) -> float:
        """Which share of what one request may ask for each of its rows takes."""
        rows = {name: len(value) for name, value in inputs.items()}
        if len(set(rows.values())) > 1:
            told = ", ".join(f"{name} {shape_text(value.shape)}" for name, value in inputs.items())
            raise Refusal("INVALID_ARGUMENT", f"All inputs must have the same dimension 0. Received: {told}.")
        maps = next((value for value in inputs.values() if value.ndim == 4), None)
        draws = next((value for value in inputs.values() if value.ndim == 3), None)
        if maps is not None:
            try:
                check_size(*maps.shape[1:3], version.size_multiple)
            except ValueError as error:
                raise Refusal("INVALID_ARGUMENT", str(error)) from error
        num_samples = 1 if draws is None else draws.shape[1]
        if num_samples > self.limits.samples:
            raise Refusal("INVALID_ARGUMENT", f"This server draws {self.limits.samples:,} samples a request at most. "
                          f"Received: {num_samples:,}. Ask again with other noise for more.")
        pixels = 0 if maps is None else int(np.prod(maps.shape[:3]))
        for name, value in inputs.items():
            if value.dtype == object:
                pixels += sum(png_pixels(name, data) for data in value)
        if pixels > self.limits.pixels:
            raise Refusal("INVALID_ARGUMENT", f"This server takes {self.limits.pixels:,} pixels a request at most. "
                          f"Received: {pixels:,}. Send fewer images at once.")
        if pixels * num_samples > self.limits.sample_pixels:
            raise Refusal("INVALID_ARGUMENT", f"{num_samples:,} samples of {pixels:,} pixels are "
                          f"{pixels * num_samples:,}; this server draws {self.limits.sample_pixels:,} a request at "
                          "most. Ask for fewer samples or images at once.")
        for name, value in inputs.items():
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                wrong = np.count_nonzero(~np.isfinite(value))
                raise Refusal("INVALID_ARGUMENT", f"Input {name} holds {wrong:,} values that are NaN or infinite.")
        share = max(pixels / self.limits.pixels, pixels * num_samples / self.limits.sample_pixels)
        return max(share, 1e-9) / next(iter(rows.values()))


def reason(message: str) -> str:
    """What TensorFlow says went wrong in a graph, without where in the graph.

    Example:
        >>> reason("Graph execution error:\\n\\nDetected at x\\n\\nassertion failed: [too small] [Condition x >= 0]")
        'too small'
    """
    found = re.search(r"assertion failed: \[([^\]]*)\]", message)
    if found:
        return found[1]
    lines = [line.strip() for line in message.splitlines()]
    lines = [line for line in lines if line and not line.startswith(("Graph execution error", "Detected at", "[["))]
    return lines[-1].rstrip(".") if lines else "failed"


def png_pixels(name: str, data: bytes) -> int:
    """How many pixels a PNG says that it has: to be known before it is decoded.

    Raises:
        Refusal: INVALID_ARGUMENT, it is none.
    """
    if data[:8] != PNG_START or data[12:16] != b"IHDR" or len(data) < 24:
        raise Refusal("INVALID_ARGUMENT", f"Input {name} must hold PNG images. Received something else, of "
                      f"{len(data):,} bytes.")
    width, height = struct.unpack(">II", data[16:24])
    return width * height


def chosen(spec: model_pb2.ModelSpec) -> dict:
    """Which version a request names, as arguments of `Catalogue.find`."""
    which = spec.WhichOneof("version_choice")
    return {"model": spec.name, "number": spec.version.value if which == "version" else None,
            "label": spec.version_label if which == "version_label" else None}


def spec_of(version: LoadedVersion, signature: str = "") -> model_pb2.ModelSpec:
    """Who answered, for a reply."""
    spec = model_pb2.ModelSpec(name=version.model, signature_name=signature)
    spec.version.value = version.number
    return spec


def check_names(found, specs) -> None:
    """Raises a `Refusal` unless exactly the inputs of a signature are there."""
    extra, missing = sorted(set(found) - set(specs)), sorted(set(specs) - set(found))
    if extra or missing:
        described = ", ".join(f"{name} {type_name(spec.dtype)} {shape_text(spec.shape)}"
                              for name, spec in specs.items())
        raise Refusal("INVALID_ARGUMENT", f"input size does not match signature: {len(found)} received, {len(specs)} "
                      f"expected. Sent extra: {{{','.join(extra)}}}. Missing but required: {{{','.join(missing)}}}. "
                      f"Expected: {described}.")


def parse(message_type, serialized: bytes):
    """A message out of its bytes.

    Raises:
        Refusal: INVALID_ARGUMENT, they are none.
    """
    try:
        return message_type.FromString(serialized)
    except DecodeError as error:
        raise Refusal("INVALID_ARGUMENT", f"The request is no {message_type.DESCRIPTOR.full_name}: {error}.") from error


METHODS = {
    "Predict": (predict_pb2.PredictRequest, Handler.predict),
    "GetModelMetadata": (get_model_metadata_pb2.GetModelMetadataRequest, Handler.metadata),
    "GetModelStatus": (get_model_status_pb2.GetModelStatusRequest, Handler.status),
}


async def answer(handler: Handler, method: str, serialized: bytes) -> tuple[bytes, dict]:
    """The serialized reply to a serialized request of one of `METHODS`, and what logs and metrics say of it.

    Raises:
        Refusal: the request cannot be answered.
    """
    message_type, function = METHODS[method]
    response = await function(handler, parse(message_type, serialized))
    spec = getattr(response, "model_spec", model_pb2.ModelSpec())
    return response.SerializeToString(), facts_of(spec.name, spec.version.value, spec.signature_name)


def facts_of(model="", version=0, signature="") -> dict:
    """What logs and metrics say of a request that was answered; names out of requests that were not stay out."""
    found = {"model": model, "version": str(version or ""), "signature": signature}
    return {name: value for name, value in found.items() if value}
