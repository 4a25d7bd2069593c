"""probunet serve"""

import dataclasses

from absl import flags

from tf_probunet.cli import common
from tf_probunet.serving.server.limits import Limits

USAGE = "--saved_models DIR [--port 8500] [--rest_port 8501] [--host 127.0.0.1] [--tls_certificate FILE --tls_key FILE]"
USES_TENSORFLOW = False  # replicas do
FLAGS = common.make_flags()
flags.DEFINE_string("saved_models", None, "folder with NAME/VERSION as probunet export writes them; every NAME is a "
                    "model", flag_values=FLAGS)
flags.DEFINE_string("host", "127.0.0.1", "interface to listen on; 0.0.0.0 for all", flag_values=FLAGS)
flags.DEFINE_integer("port", 8500, "of gRPC; 0 for any that is free", 0, 65535, flag_values=FLAGS)
flags.DEFINE_integer("rest_port", 8501, "of REST, health and metrics; 0 for any that is free", 0, 65535,
                     flag_values=FLAGS)
flags.DEFINE_integer("replicas", 1, "processes, each with all models", 1, flag_values=FLAGS)
flags.DEFINE_integer("threads", None, "calls of models at once in a replica; the cores if not given", 1,
                     flag_values=FLAGS)
flags.DEFINE_float("poll_seconds", 2.0, "between two looks at the folder", 0.1, flag_values=FLAGS)
flags.DEFINE_string("tls_certificate", None, "PEM file with the server's certificate and its chain", flag_values=FLAGS)
flags.DEFINE_string("tls_key", None, "PEM file with its key", flag_values=FLAGS)
flags.DEFINE_string("tls_client_ca", None, "PEM file: clients must show a certificate that it has signed",
                    flag_values=FLAGS)
for _name, _help in {
    "message_bytes": "of one gRPC message", "json_bytes": "of one JSON body", "pixels": "images x height x width of one "
    "request", "samples": "an image in one request", "sample_pixels": "pixels x samples of one request",
    "batch_rows": "images that waiting requests are merged to", "concurrent_requests": "at work in a replica",
    "queued_requests": "waiting for a replica", "seconds": "for one request",
}.items():
    _define = flags.DEFINE_float if _name == "seconds" else flags.DEFINE_integer
    _define(f"max_{_name}", getattr(Limits(), _name), f"limit: {_help}", flag_values=FLAGS)
REQUIRED = ("saved_models",)


def main(values, _):
    from tf_probunet.serving import ray_environment
    from tf_probunet.serving.model_config import read_config
    from tf_probunet.serving.versions import model_names

    model_names(values.saved_models)  # before the seconds that Ray takes
    read_config(values.saved_models)
    ray_environment.prepare()  # before the imports below bring Ray
    from tf_probunet.serving.run import run
    from tf_probunet.serving.server.tls import ServerTls

    limits = Limits(**{field.name: values[f"max_{field.name}"].value for field in dataclasses.fields(Limits)})
    tls = None
    if values.tls_certificate or values.tls_key or values.tls_client_ca:
        tls = ServerTls(values.tls_certificate, values.tls_key, values.tls_client_ca)
    run(values.saved_models, host=values.host, port=values.port, rest_port=values.rest_port, replicas=values.replicas,
        threads=values.threads, limits=limits, tls=tls, poll_seconds=values.poll_seconds,
        report=common.report)
