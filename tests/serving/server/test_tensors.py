"""Tensors as they travel: what comes back is what was sent, and what lies about itself is refused before it costs."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow.core.framework import tensor_pb2, types_pb2

from tf_probunet.serving.server.refusal import Refusal
from tf_probunet.serving.server.tensors import BY_NUMPY, to_numpy, to_proto

KINDS = st.sampled_from([np.float32, np.float16, np.uint8])
SHAPES = hnp.array_shapes(min_dims=1, max_dims=5, max_side=4)


def read(proto, shape=None, most=10_000):
    free = (-1,) * len(proto.tensor_shape.dim) if shape is None else shape
    return to_numpy("images", proto, proto.dtype, free, most)


@given(KINDS.flatmap(lambda kind: hnp.arrays(kind, SHAPES)))
def test_what_is_written_is_what_tensorflow_reads_and_what_tensorflow_writes_is_read(array):
    np.testing.assert_array_equal(tf.make_ndarray(to_proto(array)), array)
    np.testing.assert_array_equal(read(tf.make_tensor_proto(array)), array)
    np.testing.assert_array_equal(read(to_proto(array)), array)


@given(KINDS.flatmap(lambda kind: hnp.arrays(kind, SHAPES, elements={"allow_nan": False} if kind != np.uint8 else {})))
def test_values_one_by_one_are_read_as_tensorflow_reads_them(array):
    proto = tensor_pb2.TensorProto(dtype=BY_NUMPY[array.dtype])
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if array.dtype == np.float16:
        proto.half_val.extend(array.ravel().view(np.uint16).tolist())
    else:
        getattr(proto, "int_val" if array.dtype == np.uint8 else "float_val").extend(array.ravel().tolist())
    np.testing.assert_array_equal(read(proto), array)
    np.testing.assert_array_equal(read(proto), tf.make_ndarray(proto))


def test_one_value_stands_for_all_as_in_tensorflow():
    proto = tf.make_tensor_proto(0.5, shape=(2, 3))
    assert len(proto.float_val) == 1
    np.testing.assert_array_equal(read(proto), np.full((2, 3), 0.5))


def test_texts_travel_too():
    found = to_numpy("image_bytes", tf.make_tensor_proto([b"a", b"\xff\x00"]), types_pb2.DT_STRING, (-1,), 10)
    assert found.tolist() == [b"a", b"\xff\x00"]
    assert tf.make_ndarray(to_proto(found)).tolist() == [b"a", b"\xff\x00"]


def proto_of(shape, content=b"", dtype=types_pb2.DT_FLOAT, **fields):
    proto = tensor_pb2.TensorProto(dtype=dtype, tensor_content=content, **fields)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


@pytest.mark.parametrize("proto, words", [
    (proto_of((2,), b"1234567"), "must hold 8 bytes. Received: 7"),
    (proto_of((2,)), "must hold 2 values. Received: 0"),
    (proto_of((3,), float_val=[1, 2]), "must hold 3 values. Received: 2"),
    (proto_of((-1,), b"1234"), "every dimension 1 or more. Received: [?]"),
    (proto_of((0,)), "Received: [0]"),
    (proto_of((2, 2), b"0" * 16), "must have shape [?]"),
    (proto_of((2**62,), float_val=[1]), "holds 4,611,686,018,427,387,904 values; this server takes 100 at most"),
    (proto_of((101,), float_val=[1]), "this server takes 100 at most"),
    (proto_of((1,), b"12345678", types_pb2.DT_DOUBLE), "must be of type float. Received: double"),
    (proto_of((1,), b"1234", 9999), "Received: type 9999"),
    (tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_shape={"unknown_rank": True}), "has no shape"),
])
def test_what_lies_about_itself_is_refused(proto, words):
    with pytest.raises(Refusal) as caught:
        to_numpy("images", proto, types_pb2.DT_FLOAT, (-1,), 100)
    assert caught.value.code == "INVALID_ARGUMENT" and words in caught.value.message, caught.value.message


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(serialized):
    try:
        proto = tensor_pb2.TensorProto.FromString(serialized)
    except Exception:
        return
    try:
        found = to_numpy("images", proto, types_pb2.DT_FLOAT, (-1, -1), 1000)
    except Refusal:
        return
    assert found.dtype == np.float32 and found.ndim == 2 and 0 < found.size <= 1000
