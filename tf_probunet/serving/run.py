"""`probunet serve`: starts replicas on this machine, watches over them, and stops them without losing a request."""

import contextlib
import faulthandler
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from concurrent import futures
from pathlib import Path

import ray
from ray import serve

from tf_probunet.serving.application import NAME, Listen, application, shared_socket
from tf_probunet.serving.server.limits import Limits
from tf_probunet.serving.server.metrics import SHARED
from tf_probunet.serving.server.tls import ServerTls

OBJECT_STORE = 128 * 2**20  # bytes; requests do not pass through it
STOP_SECONDS = 45.0  # from the signal to the end at the latest: requests have 20 of them, Ray the others


def run(saved_models: str | os.PathLike, *, host="127.0.0.1", port=8500, rest_port=8501, replicas=1, threads=None,
        limits: Limits = Limits(), tls: ServerTls | None = None, poll_seconds=2.0, report=print) -> None:
    """Serves every model below a folder until SIGTERM or SIGINT.

    The process ends then, by itself or after `STOP_SECONDS`.

    `tf_probunet.serving.ray_environment.prepare` must have been called before this module was imported.

    Args:
        saved_models: folder with NAME/VERSION as `probunet export` writes them.
        host: interface to listen on; loopback unless told otherwise.
        port, rest_port: of gRPC and REST; 0 for any that is free.
        replicas: processes that each hold all models; connections are spread over them.
        threads: calls of models at once in each; the cores if not given.
        limits: see `Limits`.
        tls: certificates; plain text without.
        poll_seconds: between two looks at the folder.
        report: called with lines for the user.
    Raises:
        OSError: a port is taken, or the replicas did not start.
    """
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    stop = threading.Event()
    _stop_on_signals(stop)
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(_reserve(host, number)).getsockname()[1] for number in (port, rest_port)]
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="probunet-"))
        lines = stack.enter_context(_LogLines(f"{folder}/log"))
        stack.callback(ray.shutdown)
        ray.init(include_dashboard=False, object_store_memory=OBJECT_STORE, log_to_driver=False,
                 logging_level=logging.WARNING)
        _stop_on_signals(stop)  # Ray has put its own handlers in their place
        stack.callback(serve.shutdown)
        report(f"Loading the models of {saved_models} into {replicas} replica{'s' * (replicas > 1)}.")
        serve.start(proxy_location="Disabled", logging_config={"log_level": "WARNING", "enable_access_log": False})
        arguments = {"saved_models": str(Path(saved_models).resolve()), "poll_seconds": poll_seconds,
                     "threads": threads, "replicas": replicas, **vars(limits)}
        ready = application(arguments, Listen(host, *ports, tls, lines.address), {SHARED: folder})
        starting = _in_background(lambda: serve.run(ready, name=NAME, route_prefix=None))
        while not starting.done() and not stop.wait(0.2):  # Ray waits without end, and looks at no signal
            pass
        if stop.is_set():
            report("Stopped before the models were loaded.")
            _end_within(STOP_SECONDS, folder)
            return
        try:
            handle = starting.result()
        except RuntimeError as error:
            raise ChildProcessError(f"The replicas did not start: {error}") from error
        names = ", ".join(handle.models.remote().result()) or "no model yet"
        shown = f"[{host}]" if ":" in host else host
        report(f"Serving {names}: gRPC on {shown}:{ports[0]}{' (TLS)' * bool(tls)}, REST on "
               f"http{'s' * bool(tls)}://{shown}:{ports[1]}/v1/models/NAME. Stop with Ctrl-C.")
        # Not `stop.wait()`: where the kernel hands the signal to a thread of Ray's, Python sees it when it wakes next.
        while not stop.wait(1.0):
            pass
        report("Finishing what was taken.")
        _end_within(STOP_SECONDS, folder)


def _in_background(function) -> futures.Future:
    """Calls a function in a thread that the end of the process does not wait for."""
    outcome = futures.Future()

    def call():
        try:
            outcome.set_result(function())
        except Exception as error:  # noqa: BLE001  whoever asks for the result gets it
            outcome.set_exception(error)

    threading.Thread(target=call, name="starting", daemon=True).start()
    return outcome


def _stop_on_signals(stop):
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())


def _end_within(seconds, folder):
    """Ends this process after so long, and Ray's with it, should it still be there; what hung is told."""
    def give_up():
        print(f"probunet serve: Ray did not stop within {seconds:g} s of the signal, so its processes are killed. "
              "Requests that were taken have been answered, or have had their time. Where it hung:", file=sys.stderr,
              flush=True)
        faulthandler.dump_traceback(sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()


class _LogLines:
    """Log lines of the replicas come to a socket, and are written where the user looks: to standard error."""

    def __init__(self, address):
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)

    def __enter__(self):
        threading.Thread(target=self._print, name="log lines", daemon=True).start()
        return self

    def __exit__(self, *_):
        self.socket.close()

    def _print(self):
        with contextlib.suppress(OSError):  # closed
            while True:
                print(self.socket.recv(65536).decode(), file=sys.stderr, flush=True)


@contextlib.contextmanager
def _reserve(host, port):
    """Holds a port for the replicas, which share it; refuses one that somebody else has."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:  # does not share, so it finds out
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            number = probe.getsockname()[1]
        bound = shared_socket(host, number)
    except OSError as error:
        told = f"Port {port} of {host} cannot be opened: {error.strerror}. Choose another --port or --rest_port"
        raise OSError(error.errno, f"{told}, or stop what has it") from error
    with bound:  # bound but not listening: connections go to the replicas
        yield bound
