"""TensorFlow Serving's gRPC services over `servables.Servables`, in the process of the tests."""

import contextlib
from concurrent import futures

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (get_model_metadata_pb2, get_model_status_pb2, model_service_pb2_grpc, predict_pb2,
                                     prediction_service_pb2_grpc)

from tf_probunet.serving.errors import ServingError

UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def asked(spec):
    """(name, version, label) of a ModelSpec."""
    return spec.name, spec.version.value if spec.HasField("version") else None, spec.version_label or None


def answering(method):
    """A servicer's method whose errors become a status."""
    def call(self, request, context):
        try:
            return method(self, request)
        except ServingError as error:
            context.abort(grpc.StatusCode[error.code], str(error))

    return call


class Services(prediction_service_pb2_grpc.PredictionServiceServicer, model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, servables):
        self.servables = servables

    @answering
    def Predict(self, request):
        name, version, label = asked(request.model_spec)

        def read(_):
            return {key: tf.constant(tf.make_ndarray(value)) for key, value in request.inputs.items()}

        number, outputs = self.servables.predict(name, version, label, request.model_spec.signature_name, read)
        reply = predict_pb2.PredictResponse(outputs={key: tf.make_tensor_proto(outputs[key]) for key in outputs})
        reply.model_spec.name, reply.model_spec.version.value = name, number
        return reply

    @answering
    def GetModelMetadata(self, request):
        name, version, label = asked(request.model_spec)
        self.servables.calls.append(("metadata", None, version))
        number, model = self.servables.find(name, version, label)
        reply = get_model_metadata_pb2.GetModelMetadataResponse()
        reply.model_spec.name, reply.model_spec.version.value = name, number
        reply.metadata["signature_def"].Pack(get_model_metadata_pb2.SignatureDefMap(signature_def=model.signature_defs))
        return reply

    @answering
    def GetModelStatus(self, request):
        self.servables.calls.append(("status", None, None))
        self.servables.find(request.model_spec.name)
        state = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        return get_model_status_pb2.GetModelStatusResponse(model_version_status=[
            get_model_status_pb2.ModelVersionStatus(version=number, state=state) for number in self.servables.versions])


@contextlib.contextmanager
def serving(servables, credentials=None, port=0):
    """Serves within the block, and gives the address."""
    server = grpc.server(futures.ThreadPoolExecutor(8), options=UNLIMITED)
    services = Services(servables)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(services, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(services, server)
    where = f"localhost:{port}"
    port = server.add_secure_port(where, credentials) if credentials else server.add_insecure_port(where)
    server.start()
    try:
        yield f"localhost:{port}"
    finally:
        server.stop(grace=0).wait()
