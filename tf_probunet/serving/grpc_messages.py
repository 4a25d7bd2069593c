"""Steps of a conversation as messages of TensorFlow Serving's gRPC services, and back."""

from tf_probunet.serving.errors import failure
from tf_probunet.serving.model_metadata import metadata_from
from tf_probunet.serving.steps import GetMetadata, GetStatus, Predict, Prediction


def channel_options(max_message_bytes: int) -> list[tuple[str, int]]:
    """Options of a channel on which large messages pass and a server that came back is found at once."""
    return [
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.max_receive_message_length", max_message_bytes),  # 4 MB otherwise: 16 samples of 512x512 are as much
        # Tries are counted by `tf_probunet.serving.retries`, the same for REST; gRPC's own stop at 256 KB requests.
        ("grpc.enable_retries", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),  # 120 s otherwise
    ]


def methods(channel) -> dict:
    """By step, the method of a channel, blocking or of `grpc.aio`, that takes its request."""
    from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc  # late: TensorFlow, seconds

    prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    return {
        Predict: prediction.Predict,
        GetMetadata: prediction.GetModelMetadata,
        GetStatus: model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus,
    }


def request(step):
    """The message that asks for a step."""
    from tensorflow import make_tensor_proto
    from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, predict_pb2

    if isinstance(step, Predict):
        message = predict_pb2.PredictRequest()
        message.model_spec.signature_name = step.signature_name
        for name, value in step.inputs.items():
            message.inputs[name].CopyFrom(make_tensor_proto(value))
    elif isinstance(step, GetMetadata):
        message = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    else:
        message = get_model_status_pb2.GetModelStatusRequest()
        message.model_spec.name = step.spec.name  # of all versions
        return message
    message.model_spec.name = step.spec.name
    if step.spec.version is not None:
        message.model_spec.version.value = step.spec.version
    elif step.spec.label is not None:
        message.model_spec.version_label = step.spec.label
    return message


def answer(step, reply):
    """What a step is answered with, out of the server's message.

    Raises:
        ServingError: the message is not what TensorFlow Serving sends.
    """
    from tensorflow import make_ndarray
    from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

    if isinstance(step, Predict):
        named = reply.model_spec.HasField("version")
        outputs = {name: make_ndarray(value) for name, value in reply.outputs.items()}
        missing = set(step.signature.outputs) - set(outputs)
        if missing:
            raise failure("INTERNAL", f"the reply lacks the outputs {', '.join(sorted(missing))}", str(step.spec))
        return Prediction(outputs, reply.model_spec.version.value if named else None)
    if isinstance(step, GetMetadata):
        signatures = get_model_metadata_pb2.SignatureDefMap()
        if not reply.metadata["signature_def"].Unpack(signatures):
            raise failure("INTERNAL", "the reply holds no signatures", str(step.spec))
        return metadata_from(reply.model_spec.version.value, signatures.signature_def)
    name_of = get_model_status_pb2.ModelVersionStatus.State.Name
    return {status.version: name_of(status.state) for status in reply.model_version_status}
