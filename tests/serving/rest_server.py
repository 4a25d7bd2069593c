"""TensorFlow Serving's REST interface, column format, over `servables.Servables`, in the process of the tests."""

import contextlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis.get_model_metadata_pb2 import SignatureDefMap

from tf_probunet.serving.errors import ServingError

PATH = re.compile(r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
                  r"(?P<what>:predict|/metadata)?")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(b"")

    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers["Content-Length"])))

    def log_message(self, *_):
        pass

    def answer(self, body):
        try:
            status, content = 200, self.content(body)
        except ServingError as error:
            status, content = error.http_status, {"error": str(error)}
        content = json.dumps(content).encode()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # whoever asked may be gone
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def content(self, body):
        servables = self.server.servables
        name, version, label, what = PATH.fullmatch(self.path).group("name", "version", "label", "what")
        version = None if version is None else int(version)
        if what is None:
            servables.calls.append(("status", None, None))
            servables.find(name)
            return {"model_version_status": [
                {"version": str(number), "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
                for number in servables.versions]}
        if what == "/metadata":
            servables.calls.append(("metadata", None, version))
            number, model = servables.find(name, version, label)
            signatures = json_format.MessageToDict(SignatureDefMap(signature_def=model.signature_defs),
                                                   preserving_proto_field_name=True)
            return {"model_spec": {"name": name, "signature_name": "", "version": str(number)},
                    "metadata": {"signature_def": signatures}}
        request = json.loads(body)

        def read(definition):
            return {key: tf.constant(request["inputs"][key], info.dtype) for key, info in definition.inputs.items()}

        _, outputs = servables.predict(name, version, label, request["signature_name"], read)
        outputs = {key: value.tolist() for key, value in outputs.items()}
        return {"outputs": outputs if len(outputs) > 1 else next(iter(outputs.values()))}


@contextlib.contextmanager
def serving(servables, context=None, port=0):
    """Serves within the block, and gives the address; `context` is an `ssl.SSLContext`."""
    server = ThreadingHTTPServer(("localhost", port), Handler)
    server.servables, server.daemon_threads = servables, True
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"localhost:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
