"""The client against TensorFlow Serving's own services in this process: numbers, retries, deadlines, mistakes."""

import contextlib
import re
import socket
import threading
import time

import grpc_server
import numpy as np
import pytest
import rest_server
from client_contract import LIDC, ROOT, ClientContract, example_images, small
from servables import Model, Servables

from tf_probunet.edge import Combiner
from tf_probunet.export.litert import convert_combiner
from tf_probunet.serving import Client, Retries, ServingError, grpc_transport, rest_transport

SERVERS = {"grpc": grpc_server.serving, "rest": rest_server.serving}
QUICK = Retries(first=0.01)


class TestInThisProcess(ClientContract):
    """The contract over the services of the tests."""


class TestRetries:
    @pytest.mark.parametrize("fault", ["UNAVAILABLE", "RESOURCE_EXHAUSTED"])
    def test_what_may_pass_is_tried_again(self, connect, servables, model, fault):
        servables.faults = [fault, fault]
        images = small()
        segmentations, _ = connect(retries=QUICK).sample(images, 2)
        np.testing.assert_array_equal(segmentations, model.sample(images, 2)[0])
        assert len(servables.predictions()) == 3

    @pytest.mark.parametrize("fault", ["INVALID_ARGUMENT", "UNIMPLEMENTED", "INTERNAL", "DEADLINE_EXCEEDED"])
    def test_what_cannot_pass_is_not(self, connect, servables, fault):
        servables.faults = [fault, fault]
        with pytest.raises(ServingError, match="as the test wants it") as raised:
            connect(retries=QUICK).sample(small(), 2)
        assert raised.value.code == fault and len(servables.predictions()) == 1

    def test_there_is_an_end(self, connect, servables):
        servables.faults = ["UNAVAILABLE"] * 9
        with pytest.raises(ServingError, match="Tried 3 times") as raised:
            connect(retries=Retries(2, first=0.01)).sample(small(), 2)
        assert raised.value.code == "UNAVAILABLE" and len(servables.predictions()) == 3

    def test_a_server_that_comes_up_late(self, servables, protocol, model):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        started = contextlib.ExitStack()
        timer = threading.Timer(1, lambda: started.enter_context(SERVERS[protocol](servables, port=port)))
        timer.start()
        images = small()
        try:
            with started, Client(f"localhost:{port}", "lidc", protocol=protocol, retries=9) as client:
                segmentations, _ = client.sample(images, 2)
                timer.join()
        finally:
            timer.join()
        np.testing.assert_array_equal(segmentations, model.sample(images, 2)[0])

    def test_nobody_there(self, protocol):
        with socket.socket() as free:
            free.bind(("localhost", 0))  # and never listens
            address = f"localhost:{free.getsockname()[1]}"
            with Client(address, "lidc", protocol=protocol, retries=Retries(1, first=0.01)) as client:
                with pytest.raises(ServingError, match=f"lidc at {address}.*See that a server runs there") as raised:
                    client.status()
        assert raised.value.code == "UNAVAILABLE"


@pytest.fixture
def allowed(monkeypatch):
    """Seconds that each call over any transport was allowed, in order."""
    found = []
    for module in (grpc_transport, rest_transport):
        for kind in (name for name in dir(module) if name.endswith("Transport")):
            perform = getattr(module, kind).perform

            def recording(self, step, timeout, perform=perform):
                found.append(timeout)
                return perform(self, step, timeout)

            monkeypatch.setattr(getattr(module, kind), "perform", recording)
    return found


class TestDeadline:
    def test_of_a_slow_answer(self, connect, servables):
        client, images = connect(timeout=0.5), small()
        client.metadata()
        servables.delay = 5
        start = time.monotonic()
        with pytest.raises(ServingError, match="Give a longer timeout") as raised:
            client.sample(images, 2)
        assert raised.value.code == "DEADLINE_EXCEEDED" and time.monotonic() - start < 4
        assert len(servables.predictions()) == 1

    def test_waits_end_before_it(self, connect, servables):
        client, images = connect(timeout=2, retries=Retries(100, first=0.5)), small()
        client.metadata()
        servables.faults = ["UNAVAILABLE"] * 100
        start = time.monotonic()
        with pytest.raises(ServingError, match="UNAVAILABLE.*Tried [1-4] times in [01]") as raised:
            client.sample(images, 2)
        assert raised.value.code == "UNAVAILABLE" and time.monotonic() - start < 2

    def test_a_second_try_has_what_the_first_one_left(self, connect, servables, allowed):
        client = connect(timeout=30, retries=QUICK)
        client.metadata()
        allowed.clear()
        servables.faults, servables.delay = ["UNAVAILABLE"], 0.3
        client.sample(small(), 2)
        first, second = allowed
        assert first <= 30 and second <= first - 0.3

    def test_the_question_for_metadata_counts(self, connect, allowed):
        connect(timeout=30).sample(small(), 2)
        metadata, sample = allowed
        assert sample < metadata <= 30

    def test_each_chunk_of_a_stream_has_its_own(self, connect, servables, allowed):
        client = connect(timeout=30)
        client.metadata()
        servables.delay = 0.2
        assert len(list(client.stream(small(), num_samples=3, chunk=1))) == 3
        assert allowed[-1] > 29.9  # 0.6 s later than the trunk


class TestCombinerOfOnesOwn:
    def test_makes_the_logits_here(self, connect, servables, model):
        shapes = []

        def combiner(features, latents):
            shapes.append((features.shape, latents.shape))
            return model.signatures["combiner"](features=features, latents=latents)["logits"].numpy()

        client, images = connect(version=1, combiner=combiner), example_images()
        chunks = list(client.stream(images, num_samples=5, chunk=3))
        np.testing.assert_array_equal(np.concatenate(chunks, axis=1), model.sample(images, 5)[0])
        assert shapes == [((2, 32, 32, 32), (2, 3, 6)), ((2, 32, 32, 32), (2, 2, 6))]
        assert servables.predictions() == [("trunk", 1)]

    def test_may_be_a_file_for_devices(self, connect, servables, model, tmp_path):
        path = tmp_path / "combiner.tflite"
        path.write_bytes(convert_combiner(model, (32, 32), 4))
        client, images = connect(version=1, combiner=Combiner(path, accelerator="cpu")), example_images()
        found = np.concatenate(list(client.stream(images, num_samples=5, chunk=3)), axis=1)
        assert np.mean(found != model.sample(images, 5)[0]) < 1e-3  # a tie may fall either way
        assert servables.predictions() == [("trunk", 1)]


class TestMistakes:
    """Nothing of these is sent as a prediction."""

    @pytest.mark.parametrize("images, options, message", [
        (np.zeros((32, 32, 1)), {}, r"shape \[B, H, W, C\].*Received: \[32, 32, 1\]"),
        (np.zeros((0, 32, 32, 1)), {}, r"Received: \[0, 32, 32, 1\]"),
        (np.zeros((1, 32, 32, 3)), {}, r"shape \[B, H, W, 1\] for version 1.*Received: \[1, 32, 32, 3\]"),
        (np.full((1, 32, 32, 1), np.nan), {}, "Images must be finite. Received: 1024 of 1024"),
        (np.zeros((1, 32, 32, 1)), {"num_samples": 0}, "num_samples must be a whole number of at least 1"),
        (np.zeros((1, 32, 32, 1)), {"seed": 3}, "seed must be two integers"),
        (np.zeros((1, 32, 32, 1)), {"seed": (0.5, 1)}, "seed must be two integers"),
    ])
    def test_in_arguments(self, connect, servables, images, options, message):
        client = connect()
        with pytest.raises(ValueError, match=message):
            client.sample(images, **options)
        with pytest.raises(ValueError, match=message):
            list(client.stream(images, **{"num_samples": 2, **options}))
        assert servables.predictions() == []

    def test_in_latents_and_chunk(self, connect):
        client = connect()
        trunk = client.trunk(small())
        for latents in (np.zeros((2, 3, 6)), np.zeros((1, 3, 5)), np.zeros((1, 6))):
            with pytest.raises(ValueError, match=r"Latents must have shape \[1, M, 6\]"):
                client.combine(trunk, latents)
        with pytest.raises(ValueError, match="Latents must be finite"):
            client.combine(trunk, np.full((1, 3, 6), np.inf))
        with pytest.raises(ValueError, match="chunk must be"):
            next(client.stream(example_images(), chunk=0))

    @pytest.mark.parametrize("arguments, options, message", [
        (("http://localhost:8501", "lidc"), {}, r"HOST:PORT.*Received: 'http://localhost:8501'"),
        (("localhost", "lidc"), {}, "8500"),
        (("localhost:99999", "lidc"), {}, "HOST:PORT"),
        (("localhost:8500", ""), {}, "model is the name"),
        (("localhost:8500", "lidc"), {"protocol": "http"}, "protocol must be 'grpc' or 'rest'"),
        (("localhost:8500", "lidc"), {"version": 1, "label": "stable"}, "not both"),
        (("localhost:8500", "lidc"), {"timeout": 0}, "above 0"),
        (("localhost:8500", "lidc"), {"retries": -1}, "retries must be 0 or more"),
        (("localhost:8500", "lidc"), {"combiner": print}, "give its version too"),
    ])
    def test_in_settings(self, arguments, options, message):
        with pytest.raises(ValueError, match=message):
            Client(*arguments, **options)


def test_a_reply_larger_than_allowed_is_refused_once(connect, servables):
    client = connect(max_message_bytes=20000, retries=QUICK)
    with pytest.raises(ServingError, match="larger than max.*Raise max_message_bytes") as raised:
        client.trunk(small())
    assert raised.value.code == "RESOURCE_EXHAUSTED" and len(servables.predictions()) == 1


def test_a_model_that_probunet_did_not_export(connect, servables, versions):
    servables.versions = {1: Model(LIDC)}
    del servables.versions[1].signature_defs["trunk"]
    with pytest.raises(ServingError, match="no signature 'trunk'. It has: combiner, serving_default") as raised:
        connect().trunk(example_images())
    assert raised.value.code == "FAILED_PRECONDITION" and servables.predictions() == []


class TestHalfFeatures:
    """Features that travel as float16."""

    @pytest.fixture
    def servables(self, half):
        return Servables("lidc", {1: Model(half)})

    def test_stay_float16_on_both_ways(self, connect, half):
        client, images = connect(), small()
        trunk = client.trunk(images)
        signatures = Model(half).loaded.signatures
        assert trunk.features.dtype == np.float16
        np.testing.assert_array_equal(trunk.features, signatures["trunk"](images=images)["features"])
        latents = np.ones((1, 2, 3), np.float32)
        expected = signatures["combiner"](features=trunk.features, latents=latents)["logits"]
        np.testing.assert_allclose(client.combine(trunk, latents), expected, rtol=0, atol=1e-6)


def test_the_guide_runs_as_it_stands(addresses, tmp_path, monkeypatch, capsys):
    code, = re.findall(r"^```py\n(.*?)^```$", (ROOT / "docs" / "serving.md").read_text(), re.M | re.S)
    np.save(tmp_path / "images.npy", example_images())
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(code.replace("localhost:8500", addresses["grpc"]).replace('"mine"', '"lidc"'), found)
    assert found["segmentations"].shape == (2, 16, 32, 32) and found["some"].shape == (2, 16, 32, 32)
    assert found["logits"].shape == (2, 1, 32, 32, 2) and capsys.readouterr().out == "{1: 'AVAILABLE'}\n"
