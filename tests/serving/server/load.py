"""Callers in a loop, for tests of what happens to requests while a server changes under them."""

import threading
import time

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


class Load:
    """So many callers, each with a connection of its own, that ask for samples of one image until the block ends.

    Args:
        address: of the server.
        callers: threads.
        answer: request and stub to a reply; plain calls if not given.

    After the block, `replies` holds (seconds since the start, version, segmentations and probabilities) and `errors`
    (seconds, code).
    """

    def __init__(self, address, callers=8, answer=lambda stub, request: stub.Predict(request, timeout=60)):
        self.address, self.answer = address, answer
        self.replies, self.errors, self._stop = [], [], threading.Event()
        self.threads = [threading.Thread(target=self._run) for _ in range(callers)]
        self.request = predict_pb2.PredictRequest()
        self.request.model_spec.name = "tiny"
        rng = np.random.default_rng(0)
        self.images = rng.random((1, 32, 32, 1), np.float32)
        self.noise = rng.standard_normal((1, 2, 3), np.float32)
        for name, value in (("images", self.images), ("noise", self.noise)):
            self.request.inputs[name].CopyFrom(tf.make_tensor_proto(value))

    def __enter__(self):
        self.start = time.monotonic()
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self.threads:
            thread.join()

    def _run(self):
        # A pool of connections of its own: callers that share one would all be with the same replica.
        with grpc.insecure_channel(self.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            while not self._stop.is_set():
                try:
                    reply = self.answer(stub, self.request)
                except grpc.RpcError as error:
                    self.errors.append((time.monotonic() - self.start, error.code().name))
                    time.sleep(0.05)
                else:
                    outputs = {name: tf.make_ndarray(proto) for name, proto in reply.outputs.items()}
                    self.replies.append((time.monotonic() - self.start, reply.model_spec.version.value, outputs))

    def seen(self, seconds=0.0):
        """Versions that have answered since so many seconds after the start."""
        return {version for at, version, _ in list(self.replies) if at >= seconds}
