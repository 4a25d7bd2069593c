"""`probunet serve` measured from outside, by callers that know gRPC alone: `python benchmarks/serving.py`.

    overhead  one caller: the trunk in process, served, and an echo that moves the same bytes and computes nothing
    load      1, 4 and 16 callers, requests merged and not
    modes     whole samples; features once, then latents; features to the edge, which combines: bytes and time
    swap      8 callers while version 1 goes to 2, to a broken 3, and back; errors and latencies, quiet and meanwhile
    memory    of the replica over many requests
    fuzz      mutated requests on both ports: outcomes, and whether the server is as it was

Contestants run in turn within one run. Each part may be named alone: --only=overhead,modes.
"""

import asyncio
import collections
import contextlib
import http.client
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import grpc
import numpy as np
from absl import app, flags
from report import report
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import predict_pb2

FLAGS = flags.FLAGS
flags.DEFINE_string("saved_model", "saved_models/lidc", "saved_models/NAME, its first version is measured")
flags.DEFINE_list("only", [], "parts; all if empty")
flags.DEFINE_integer("repeats", 60, "timed calls of each contestant", 3)
flags.DEFINE_integer("seconds", 15, "of each load", 1)
flags.DEFINE_integer("swap_seconds", 600, "of the load during swaps", 20)
flags.DEFINE_integer("memory_requests", 100_000, "over which memory is watched", 10)
flags.DEFINE_integer("fuzz_cases", 100_000, "mutated requests, half of them on each port", 2)
flags.DEFINE_string("output", None, "JSON file for the figures")
PREDICT = "/tensorflow.serving.PredictionService/Predict"
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
           ("grpc.use_local_subchannel_pool", 1)]
LATENTS = 6


class Server:
    """`probunet serve` on free ports."""

    def __init__(self, folder, *arguments):
        self.log = tempfile.NamedTemporaryFile("w+", suffix=".log")
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from tf_probunet.cli.main import run; run()", "serve", "--saved_models", folder,
             "--port", "0", "--rest_port", "0", "--poll_seconds", "0.5", *arguments],
            stdout=self.log, stderr=subprocess.STDOUT,
        )
        found = None
        while not found:
            time.sleep(0.2)
            text = Path(self.log.name).read_text()
            assert self.process.poll() is None, text
            found = re.search(r"gRPC on \S+:(\d+).*REST on \S+?:(\d+)/v1", text)
        self.port, self.rest_port = int(found[1]), int(found[2])
        self.address = f"127.0.0.1:{self.port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def memory(self):
        """Bytes that the replica holds."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if b"ray::ServeReplica" in path.read_bytes() and self._descends(int(path.parent.name)):
                    return int((path.parent / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        raise RuntimeError("no replica")

    def _descends(self, pid):
        while pid > 1:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
            if pid == self.process.pid:
                return True
        return False


def tensor(array):
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_content=array.tobytes())
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def request(model, signature, outputs=(), **inputs):
    message = predict_pb2.PredictRequest()
    message.model_spec.name, message.model_spec.signature_name = model, signature
    message.output_filter.extend(outputs)
    for name, value in inputs.items():
        message.inputs[name].CopyFrom(tensor(value.astype(np.float32)))
    return message.SerializeToString()


def image(size, batch=1):
    return np.random.default_rng(0).random((batch, size, size, 1), np.float32)


def milliseconds(call, repeats):
    """Median of so many calls, after a few."""
    for _ in range(3):
        call()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return 1e3 * float(np.median(times))


def _echo(pipe):
    """A process whose gRPC server answers with as many bytes as the request's first eight say."""
    async def main():
        async def method(sent, context):
            return bytes(int.from_bytes(sent[:8], "little"))

        server = grpc.aio.server(options=OPTIONS[:2])
        handlers = {"Predict": grpc.unary_unary_rpc_method_handler(method)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("echo", handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        pipe.send(port)
        await server.wait_for_termination()

    asyncio.run(main())


def overhead(folder, model):
    from tf_probunet.serving.server.loaded_version import LoadedVersion

    version = LoadedVersion(model, 1, Path(folder) / model / "1")
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    echo = multiprocessing.get_context("spawn").Process(target=_echo, args=(theirs,), daemon=True)
    echo.start()
    found = {}
    with Server(folder) as server, grpc.insecure_channel(server.address, options=OPTIONS) as channel, \
            grpc.insecure_channel(f"127.0.0.1:{ours.recv()}", options=OPTIONS) as echo_channel:
        served, echoed = channel.unary_unary(PREDICT), echo_channel.unary_unary("/echo/Predict")
        for size in (64, 128, 256):
            pixels = image(size)
            sent = request(model, "trunk", images=pixels)
            length = len(served(sent))
            moved = length.to_bytes(8, "little") + bytes(len(sent) - 8)
            rounds = [[milliseconds(call, FLAGS.repeats // 3) for call in (
                lambda: version.run("trunk", {"images": pixels}), lambda: served(sent), lambda: echoed(moved),
            )] for _ in range(3)]
            inside, outside, copy = np.median(rounds, axis=0)
            found[f"{size}x{size}"] = {
                "in_process_ms": inside, "served_ms": outside, "same_bytes_echoed_ms": copy, "reply_bytes": length,
                "overhead_without_the_bytes_copy": (outside - copy) / inside - 1,
            }
    echo.kill()
    return found


class Callers:
    """So many callers in a loop, each with a connection of its own; `latencies` of (end, seconds, version)."""

    def __init__(self, address, callers, sent):
        self.latencies, self.errors, self._stop = [], [], threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(address, sent)) for _ in range(callers)]

    def _run(self, address, sent):
        with grpc.insecure_channel(address, options=OPTIONS) as channel:
            call = channel.unary_unary(PREDICT, response_deserializer=predict_pb2.PredictResponse.FromString)
            while not self._stop.is_set():
                begin = time.perf_counter()
                try:
                    reply = call(sent, timeout=60)
                except grpc.RpcError as error:
                    self.errors.append(error.code().name)
                else:
                    end = time.perf_counter()
                    self.latencies.append((end, end - begin, reply.model_spec.version.value))

    def __enter__(self):
        self.begin = time.perf_counter()
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self.threads:
            thread.join()
        self.seconds = time.perf_counter() - self.begin


def percentiles(seconds):
    return {f"p{share}_ms": 1e3 * float(np.percentile(seconds, share)) for share in (50, 95, 99)}


def load(folder, model):
    found = {}
    for name, rows in (("merged", 16), ("each alone", 1)):
        with Server(folder, "--max_batch_rows", str(rows)) as server:
            for callers in (1, 4, 16):
                with Callers(server.address, callers, request(model, "trunk", images=image(128))) as running:
                    time.sleep(FLAGS.seconds)
                assert not running.errors, running.errors
                seconds = [latency for _, latency, _ in running.latencies]
                found[f"{callers} callers, {name}"] = {"requests_a_second": len(seconds) / running.seconds,
                                                       **percentiles(seconds)}
    return found


def modes(folder, model):
    """Of one 128x128 image; the edge combines with the same two convolutions, here in TensorFlow."""
    import tensorflow as tf

    combine = tf.saved_model.load(f"{folder}/{model}/1").signatures["combiner"]
    found = {}
    with Server(folder) as server, grpc.insecure_channel(server.address, options=OPTIONS) as channel:
        call = channel.unary_unary(PREDICT, response_deserializer=predict_pb2.PredictResponse.FromString)
        for num_samples in (1, 16, 64, 256):
            noise = np.random.default_rng(1).standard_normal((1, num_samples, LATENTS), np.float32)
            moved = collections.Counter()

            def ask(mode, sent):
                reply = call(sent)
                moved[mode] += len(sent) + reply.ByteSize()
                return reply

            def whole():
                return ask("whole samples", request(model, "serving_default", ["segmentations"], images=image(128),
                                                    noise=noise))

            def features():
                reply = ask("features once, then latents", request(model, "trunk", images=image(128)))
                values = {name: tf.make_ndarray(proto) for name, proto in reply.outputs.items()}
                return values["features"], values["prior_mean"] + values["prior_stddev"] * noise

            def latents():
                maps, points = features()
                return ask("features once, then latents", request(model, "combiner", features=maps, latents=points))

            def edge():
                reply = ask("features to the edge", request(model, "trunk", images=image(128)))
                values = {name: tf.make_ndarray(proto) for name, proto in reply.outputs.items()}
                points = values["prior_mean"] + values["prior_stddev"] * noise
                return combine(features=tf.constant(values["features"]), latents=tf.constant(points))["logits"].numpy()

            row = {}
            for mode, function in (("whole samples", whole), ("features once, then latents", latents),
                                   ("features to the edge", edge)):
                function()
                size = moved[mode]
                row[mode] = {"bytes": size, "ms": milliseconds(function, max(3, FLAGS.repeats // 6))}
            found[f"{num_samples} samples"] = row
    return found


def swap(folder, model):
    """Four parts of the time: version 1; then 2 has come; then a broken 3 too; then 2 and 3 are gone, and 1 is back."""
    versions = Path(folder) / model
    with Server(folder) as server, Callers(server.address, 8, request(model, "trunk", images=image(64))) as running:
        part, marks = FLAGS.swap_seconds / 4, []

        def change(action):
            time.sleep(part)
            marks.append(time.perf_counter())
            action()

        def put(number, broken=False):
            staging = versions / f".{number}.copy"
            shutil.copytree(versions / "1", staging)
            if broken:
                (staging / "saved_model.pb").write_bytes(b"broken")
            staging.rename(versions / str(number))

        change(lambda: put(2))
        change(lambda: put(3, broken=True))
        change(lambda: [(versions / str(number)).rename(versions / f".{number}.gone") for number in (3, 2)])
        time.sleep(part)
    around = 5.0  # seconds from a change on that count as the swap; loading takes about two
    swapping = [seconds for end, seconds, _ in running.latencies if any(0 <= end - mark < around for mark in marks)]
    quiet = [seconds for end, seconds, _ in running.latencies if not any(-1 <= end - mark < around for mark in marks)]
    order = [version for _, _, version in sorted(running.latencies)]
    changes = [int(now) for before, now in zip([0, *order], order) if now != before]
    for number in (2, 3):
        shutil.rmtree(versions / f".{number}.gone")
    return {
        "seconds": running.seconds, "replies": len(running.latencies),
        "errors": dict(collections.Counter(running.errors)),
        "versions_in_order": sorted(set(changes), key=changes.index), "last_version": int(order[-1]),
        "quiet": percentiles(quiet), "while_a_version_comes": percentiles(swapping),
        "p99_ratio": np.percentile(swapping, 99) / np.percentile(quiet, 99),
    }


def memory(folder, model):
    sent = request(model, "trunk", ["prior_mean"], images=image(16))
    with Server(folder) as server:
        seen = []
        with Callers(server.address, 8, sent) as running:
            for share in (0.02, 0.1, 0.25, 0.5, 0.75, 1.0):
                while len(running.latencies) < share * FLAGS.memory_requests:
                    time.sleep(0.05)
                seen.append({"requests": len(running.latencies), "mib": server.memory() / 2**20})
    assert not running.errors, running.errors
    return {"seen": seen, "growth_from_10_percent_on_mib": seen[-1]["mib"] - seen[1]["mib"]}


def mutated(rng, data):
    data = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        place, kind = rng.randrange(len(data) + 1), rng.randrange(4)
        if kind == 0 and data:
            data[min(place, len(data) - 1)] = rng.randrange(256)
        elif kind == 1:
            del data[place: place + rng.randint(1, 64)]
        elif kind == 2:
            data[place:place] = rng.randbytes(rng.randint(1, 16))
        else:
            data = data[:place] if rng.random() < 0.2 else data[:place] + data[place // 2:]
    return bytes(data)


def fuzz(folder, model):
    rng, outcomes = random.Random(0), collections.Counter()
    size = 16
    whole = request(model, "trunk", ["prior_mean"], images=image(size))
    text = json.dumps({"signature_name": "trunk", "instances": [[[[0.5]] * size] * size]}).encode()
    slowest = 0.0
    with Server(folder) as server, grpc.insecure_channel(server.address, options=OPTIONS) as channel:
        call = channel.unary_unary(PREDICT)
        call(whole)
        before, connection = None, http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=60)
        for case in range(FLAGS.fuzz_cases):
            begin = time.perf_counter()
            if case % 2:
                try:
                    call(mutated(rng, whole), timeout=60)
                    outcomes["grpc OK"] += 1
                except grpc.RpcError as error:
                    outcomes[f"grpc {error.code().name}"] += 1
            else:
                connection.request("POST", f"/v1/models/{model}:predict", mutated(rng, text))
                response = connection.getresponse()
                response.read()
                outcomes[f"rest {response.status}"] += 1
            slowest = max(slowest, time.perf_counter() - begin)
            if case == FLAGS.fuzz_cases // 10:
                before = server.memory()
        call(whole)  # as if nothing had been
        return {"cases": FLAGS.fuzz_cases, "outcomes": dict(outcomes), "slowest_ms": 1e3 * slowest,
                "replica_growth_mib": (server.memory() - before) / 2**20,
                "failures_in_the_servers_log": Path(server.log.name).read_text().count('"level": "error"')}


PARTS = {"overhead": overhead, "load": load, "modes": modes, "swap": swap, "memory": memory, "fuzz": fuzz}


def main(_):
    source = Path(FLAGS.saved_model)
    figures = {"cores": len(os.sched_getaffinity(0)), "model": str(source)}
    for name, part in PARTS.items():
        if FLAGS.only and name not in FLAGS.only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(source / "1", Path(folder) / source.name / "1")
            figures[name] = part(folder, source.name)
            print(name, json.dumps(figures[name], indent=1), flush=True)
    if FLAGS.output and Path(FLAGS.output).is_file():  # parts that were measured before stay
        figures = {**json.loads(Path(FLAGS.output).read_text(encoding="utf-8")), **figures}
    report(figures, FLAGS.output)


if __name__ == "__main__":
    app.run(main)
