"""Tensors as they travel: `TensorProto` to numpy and back, checked against what a signature takes before any use."""

import math

import numpy as np
from tensorflow.core.framework import tensor_pb2, types_pb2

from tf_probunet.serving.server.refusal import Refusal

# For each type that signatures use, numpy's and the field in which a TensorProto holds values one by one.
TYPES = {
    types_pb2.DT_FLOAT: (np.dtype(np.float32), "float_val"),
    types_pb2.DT_HALF: (np.dtype(np.float16), "half_val"),
    types_pb2.DT_UINT8: (np.dtype(np.uint8), "int_val"),
    types_pb2.DT_STRING: (np.dtype(object), "string_val"),
}
BY_NUMPY = {dtype: number for number, (dtype, _) in TYPES.items()}


def type_name(number: int) -> str:
    """As TensorFlow writes it: "float", "half", "string"."""
    known = types_pb2.DataType.values()
    return types_pb2.DataType.Name(number).removeprefix("DT_").lower() if number in known else f"type {number}"


def shape_text(shape) -> str:
    """A shape with free dimensions as "?", such as "[?,?,?,1]"."""
    return "[" + ",".join("?" if size in (None, -1) else str(size) for size in shape) + "]"


def to_numpy(name: str, proto, dtype: int, shape: tuple, max_elements: int) -> np.ndarray:
    """The values of a tensor, which share the memory of the message where that can be.

    Args:
        name: of the input, for errors.
        proto: `TensorProto`.
        dtype: number of the type that the signature takes.
        shape: that it takes, -1 where free.
        max_elements: what the tensor may hold; huge declared shapes are refused before anything is made of them.
    Raises:
        Refusal: INVALID_ARGUMENT, with what was received and what is expected.
    """
    if proto.dtype != dtype:
        raise Refusal("INVALID_ARGUMENT", f"Input {name} must be of type {type_name(dtype)}. Received: "
                      f"{type_name(proto.dtype)}.")
    if proto.tensor_shape.unknown_rank:
        raise Refusal("INVALID_ARGUMENT", f"Input {name} has no shape. Expected: {shape_text(shape)}.")
    found = tuple(dimension.size for dimension in proto.tensor_shape.dim)
    check_shape(name, found, shape, max_elements)
    count = math.prod(found)
    if dtype == types_pb2.DT_STRING:
        if len(proto.string_val) != count:
            raise Refusal("INVALID_ARGUMENT", f"Input {name} of shape {shape_text(found)} must hold {count} texts. "
                          f"Received: {len(proto.string_val)}.")
        values = np.empty(count, object)
        values[:] = list(proto.string_val)
        return values.reshape(found)
    return _numbers(name, proto, *TYPES[dtype], found, count)


def _numbers(name, proto, kind, field, shape, count):
    if proto.tensor_content:
        if len(proto.tensor_content) != count * kind.itemsize:
            raise Refusal("INVALID_ARGUMENT", f"Input {name} of shape {shape_text(shape)} must hold "
                          f"{count * kind.itemsize} bytes. Received: {len(proto.tensor_content)}.")
        return np.frombuffer(proto.tensor_content, kind).reshape(shape)
    values = getattr(proto, field)
    if len(values) != count and not (len(values) == 1 and count > 0):  # one value stands for all, as in TensorFlow
        raise Refusal("INVALID_ARGUMENT", f"Input {name} of shape {shape_text(shape)} must hold {count} values. "
                      f"Received: {len(values)}.")
    if field == "half_val":  # float16 travels as its bits
        found = np.array(values, np.int64).astype(np.uint16).view(np.float16)
    else:
        found = np.array(values, kind)
    return np.full(shape, found[0], kind) if len(values) == 1 else found.reshape(shape)


def check_shape(name: str, found: tuple, shape: tuple, max_elements: int) -> None:
    """Raises a `Refusal` unless a tensor's shape is one that the signature takes, of at least one element.

    Args:
        name: of the input.
        found: shape received.
        shape: that the signature takes, -1 where free.
        max_elements: what the tensor may hold.
    """
    fits = len(found) == len(shape) and all(size in (-1, given) for given, size in zip(found, shape))
    if not fits or any(size < 1 for size in found):
        raise Refusal("INVALID_ARGUMENT", f"Input {name} must have shape {shape_text(shape)}, every dimension 1 or "
                      f"more. Received: {shape_text(found)}.")
    if math.prod(found) > max_elements:
        raise Refusal("INVALID_ARGUMENT", f"Input {name} of shape {shape_text(found)} holds {math.prod(found):,} "
                      f"values; this server takes {max_elements:,} at most. Send fewer images at once.")


def to_proto(values: np.ndarray) -> tensor_pb2.TensorProto:
    """A numpy array as a `TensorProto`, its bytes in one piece."""
    proto = tensor_pb2.TensorProto(dtype=BY_NUMPY[values.dtype])
    for size in values.shape:
        proto.tensor_shape.dim.add(size=size)
    if values.dtype == object:
        proto.string_val.extend(values.ravel())
    else:
        proto.tensor_content = values.tobytes()
    return proto
