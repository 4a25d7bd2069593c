"""TensorFlow Serving's configuration messages that the wheel tensorflow-serving-api does not hold.

Written down from the definitions published at github.com/tensorflow/serving: BatchingParameters from
tensorflow_serving/servables/tensorflow/session_bundle_config.proto, MonitoringConfig from
tensorflow_serving/config/monitoring_config.proto, SSLConfig from tensorflow_serving/config/ssl_config.proto.
ModelServerConfig is in the wheel.
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

assert wrappers_pb2  # whose messages are among the fields' types

MESSAGES = {
    "BatchingParameters": [
        ("max_batch_size", ".google.protobuf.Int64Value"),
        ("batch_timeout_micros", ".google.protobuf.Int64Value"),
        ("max_enqueued_batches", ".google.protobuf.Int64Value"),
        ("num_batch_threads", ".google.protobuf.Int64Value"),
        ("thread_pool_name", ".google.protobuf.StringValue"),
        ("allowed_batch_sizes", "repeated int64"),
        ("pad_variable_length_inputs", "bool"),
    ],
    "PrometheusConfig": [("enable", "bool"), ("path", "string")],
    "MonitoringConfig": [("prometheus_config", ".tensorflow.serving.PrometheusConfig")],
    "SSLConfig": [("server_key", "string"), ("server_cert", "string"), ("custom_ca", "string"),
                  ("client_verify", "bool")],
}


def _classes():
    file = descriptor_pb2.FileDescriptorProto(
        name="tests/deploy/serving_schemas.proto", package="tensorflow.serving", syntax="proto3",
        dependency=["google/protobuf/wrappers.proto"],
    )
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields, start=1):  # published in the order of their numbers
            added = message.field.add(name=field, number=number)
            repeated, kind = kind.startswith("repeated "), kind.removeprefix("repeated ")
            added.label = added.LABEL_REPEATED if repeated else added.LABEL_OPTIONAL
            if kind.startswith("."):
                added.type, added.type_name = added.TYPE_MESSAGE, kind
            else:
                added.type = getattr(added, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.Default()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tensorflow.serving.{name}"))
            for name in MESSAGES}


_found = _classes()
BatchingParameters = _found["BatchingParameters"]
MonitoringConfig = _found["MonitoringConfig"]
SSLConfig = _found["SSLConfig"]
