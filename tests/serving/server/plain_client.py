"""A client as others write it: grpc and tensorflow-serving-api, and nothing of ours.

    plain_client.py HOST:PORT MODEL REQUESTS.npz REPLIES.npz

REQUESTS holds arrays named SIGNATURE/INPUT; all signatures are called, and their outputs stored alike.
"""

import sys

import grpc
import numpy as np
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

TYPES = {types_pb2.DT_FLOAT: np.float32, types_pb2.DT_UINT8: np.uint8}


def to_proto(array):
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_content=array.astype(np.float32).tobytes())
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def main(address, model, requests, replies):
    stored = np.load(requests)
    found = {}
    with grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)]) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for signature in sorted({name.split("/")[0] for name in stored.files}):
            request = predict_pb2.PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = model, signature
            for name in stored.files:
                if name.startswith(f"{signature}/"):
                    request.inputs[name.split("/")[1]].CopyFrom(to_proto(stored[name]))
            for name, proto in stub.Predict(request, timeout=60).outputs.items():
                shape = [dimension.size for dimension in proto.tensor_shape.dim]
                found[f"{signature}/{name}"] = np.frombuffer(proto.tensor_content, TYPES[proto.dtype]).reshape(shape)
    assert not any(name.split(".")[0] == "tf_probunet" for name in sys.modules)
    np.savez(replies, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
