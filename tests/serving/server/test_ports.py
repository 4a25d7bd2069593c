"""The two ports in this process: limits of time, size and number, and callers that mean no good or are slow."""

import asyncio
import http.client
import json
import logging
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from tf_probunet.serving.application import shared_socket
from tf_probunet.serving.server.catalogue import Catalogue
from tf_probunet.serving.server.handler import Handler
from tf_probunet.serving.server.limits import Limits
from tf_probunet.serving.server.metrics import Metrics
from tf_probunet.serving.server.ports import Ports

PREDICT = "/tensorflow.serving.PredictionService/Predict"


class Opened:
    """Ports over a handler, in a loop of their own thread."""

    def __init__(self, folder, **limits):
        self.catalogue = Catalogue(folder)
        self.catalogue.refresh()
        self.handler = Handler(self.catalogue, Limits(**limits), threads=1)
        self.ports = Ports(self.handler, logging.getLogger("tests"), Metrics())
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        rest = shared_socket("127.0.0.1", 0)
        self.rest_port = rest.getsockname()[1]
        self.wait(self.ports.open("127.0.0.1", self.port, rest))
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.port}")

    def wait(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    def predict(self, request, timeout=30):
        """"OK", or the code and details of the refusal."""
        try:
            self.channel.unary_unary(PREDICT)(request, timeout=timeout)
        except grpc.RpcError as error:
            return error.code().name, error.details()
        return "OK", ""

    def post(self, body, path="/v1/models/tiny:predict", method="POST"):
        connection = http.client.HTTPConnection("127.0.0.1", self.rest_port, timeout=30)
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.read()

    def close(self):
        self.wait(self.ports.close())
        self.channel.close()
        self.loop.call_soon_threadsafe(self.loop.stop)


@pytest.fixture(scope="module")
def opened(two_versions):
    ports = Opened(two_versions[0])
    yield ports
    ports.close()


@pytest.fixture
def narrow(two_versions):
    """One request at work and one waiting, a second of time, messages of 32 KiB."""
    ports = Opened(two_versions[0], concurrent_requests=1, queued_requests=1, seconds=1.0, message_bytes=2**15,
                   json_bytes=2**15)
    yield ports
    ports.close()


def request(size=32, batch=1):
    message = predict_pb2.PredictRequest()
    message.model_spec.name, message.model_spec.signature_name = "tiny", "trunk"
    message.inputs["images"].CopyFrom(tf.make_tensor_proto(np.ones((batch, size, size, 1), np.float32)))
    message.output_filter.append("prior_mean")
    return message.SerializeToString()


def hold_up(opened, seconds):
    """Makes the model slow."""
    version = opened.catalogue.find("tiny")
    run = version.run
    version.run = lambda *args: (time.sleep(seconds), run(*args))[1]


def test_more_than_may_wait_are_told_to_come_again(narrow):
    hold_up(narrow, 0.3)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: narrow.predict(request()), range(8)))
    codes = [code for code, _ in found]
    assert codes.count("OK") == 2 and codes.count("RESOURCE_EXHAUSTED") == 6
    assert "2 requests are at work or wait already" in dict(found)["RESOURCE_EXHAUSTED"]
    assert narrow.predict(request())[0] == "OK", "afterwards there is room again"


def test_the_servers_own_time_limit_holds_where_the_caller_sets_none(narrow):
    hold_up(narrow, 2.0)
    begin = time.monotonic()
    assert narrow.predict(request(), timeout=None) == ("DEADLINE_EXCEEDED", "No reply within 1 seconds.")
    assert time.monotonic() - begin < 1.8
    assert narrow.post(json.dumps({"signature_name": "trunk", "instances": [[[[0.0]] * 2] * 2]}))[0] == 504


def test_who_comes_while_it_stops_is_told_so_and_what_was_taken_is_answered(two_versions):
    stopping = Opened(two_versions[0])
    hold_up(stopping, 2.5)  # longer than gRPC itself would wait
    with ThreadPoolExecutor(2) as pool:
        taken = pool.submit(stopping.predict, request())
        while not stopping.ports.in_flight:
            time.sleep(0.01)
        closed = pool.submit(stopping.close)
        while not stopping.ports.closing:
            time.sleep(0.01)
        with grpc.insecure_channel(f"127.0.0.1:{stopping.port}") as channel, pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(PREDICT)(request(), timeout=10)
        assert caught.value.code().name == "UNAVAILABLE" and "This server stops" in caught.value.details()
        answered = taken.result()
        closed.result()
    assert answered[0] == "OK"


def test_messages_beyond_the_limit_are_refused(narrow):
    assert narrow.predict(request(128)) [0] == "RESOURCE_EXHAUSTED"  # gRPC's own word for it
    status, body = narrow.post(b" " * (2**15 + 1))
    assert status == 413 and "takes 32,768 of JSON" in json.loads(body)["error"]


def test_a_body_that_does_not_come_in_time_is_given_up(narrow):
    with socket.create_connection(("127.0.0.1", narrow.rest_port), 10) as connection:
        connection.sendall(b"POST /v1/models/tiny:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        begin = time.monotonic()
        assert connection.recv(100).startswith(b"HTTP/1.1 408")
        assert 0.8 < time.monotonic() - begin < 5
    assert narrow.post(b"{}")[0] == 400, "others are served"


def test_a_failure_in_the_server_is_internal_and_tells_nothing_of_it(opened, caplog):
    version = opened.catalogue.find("tiny")
    version.run, run = lambda *args: 1 / 0, version.run
    try:
        assert opened.predict(request()) == ("INTERNAL", "The request failed in the server, whose log says more.")
    finally:
        version.run = run
    assert "ZeroDivisionError" in caplog.text


def mutated(rng, data):
    """Bytes with a few of them changed, cut out, repeated or put in."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 2)):
        place = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0 and data:
            data[min(place, len(data) - 1)] = rng.randrange(256)
        elif kind == 1:
            del data[place: place + rng.randint(1, 64)]
        elif kind == 2:
            data[place:place] = rng.randbytes(rng.randint(1, 16))
        elif kind == 3:
            data = data[:place]
        else:
            data[place:place] = data[place: place + rng.randint(1, 64)]
    return bytes(data)


ALLOWED = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION"}


def test_no_bytes_break_grpc(opened):
    rng, whole = random.Random(0), request(4)
    found = {}
    for _ in range(1500):
        code, details = opened.predict(mutated(rng, whole))
        found[code] = found.get(code, 0) + 1
        assert code in ALLOWED, details
    assert min(found.get(code, 0) for code in ("OK", "INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND")) > 3, found
    assert opened.predict(request(4))[0] == "OK"


def test_no_bytes_break_rest(opened):
    rng = random.Random(0)
    whole = json.dumps({"signature_name": "trunk", "instances": [[[[0.5]] * 4] * 4]}).encode()
    found = {}
    for _ in range(1000):
        status, body = opened.post(mutated(rng, whole))
        found[status] = found.get(status, 0) + 1
        assert status in (200, 400, 404), body
        assert status == 200 or json.loads(body)["error"]
    assert found[400] > 100, found
    for path in ("/v1/models/%00", "/v1/models/tiny:predict?x=1", "//", "/v1/models/..%2F..%2F..%2Fetc%2Fpasswd",
                 "/v1/models/tiny/versions/99999999999999999999", "/v1/models/" + "a" * 5000, "/%ff%fe"):
        assert opened.post(b"", path, "GET")[0] in (200, 400, 404)
    assert opened.post(whole)[0] == 200


def test_broken_http_closes_that_connection_and_no_other(opened):
    for sent in (b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/9.9\r\n\r\n", b"\x00" * 5000, b"POST x\r\n" * 1000):
        with socket.create_connection(("127.0.0.1", opened.rest_port), 10) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(10)
            while connection.recv(4096):
                pass
    with socket.create_connection(("127.0.0.1", opened.port), 10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        connection.settimeout(10)
        try:
            while connection.recv(4096):
                pass
        except ConnectionResetError:
            pass
    assert opened.predict(request())[0] == "OK" and opened.post(b"", "/v1/models/tiny", "GET")[0] == 200
