"""`probunet serve`: starts replicas and ports on this machine, and stops them without losing a request."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

import grpc
import ray
import uvicorn
from ray import serve

from tf_probunet.serving.application import NAME, build
from tf_probunet.serving.front import Front
from tf_probunet.serving.logs import log_to
from tf_probunet.serving.server.limits import Limits
from tf_probunet.serving.tls import ServerTls
from tf_probunet.serving.versions import model_names

GRACE = 20.0  # seconds in which requests that were taken are finished before the ports close
OBJECT_STORE = 256 * 2**20  # bytes for requests and replies on their way; larger ones spill to disk


def run(saved_models: str | os.PathLike, *, host="127.0.0.1", port=8500, rest_port=8501, replicas=1, threads=None,
        limits: Limits = Limits(), tls: ServerTls | None = None, poll_seconds=2.0, ray_address=None,
        report=print) -> None:
    """Serves every model below a folder until SIGTERM or SIGINT.

    Args:
        saved_models: folder with NAME/VERSION as `probunet export` writes them.
        host: interface to listen on; loopback unless told otherwise.
        port, rest_port: of gRPC and REST; 0 for any that is free.
        replicas: processes that each hold all models.
        threads: calls of models at once in each; the cores if not given.
        limits: see `Limits`.
        tls: certificates; plain text without.
        poll_seconds: between two looks at the folder.
        ray_address: of a Ray cluster to run the replicas on; one of this machine's own if not given, for which
            `tf_probunet.serving.ray_environment.prepare` must have been called.
        report: called with lines for the user.
    Raises:
        OSError: no such folder, no model in it, or a port is taken.
    """
    model_names(saved_models)  # before anything is started
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(_listen(host, number)) for number in (port, rest_port)]
        ports = [bound.getsockname()[1] for bound in sockets]
        lines = stack.enter_context(_LogSocket())
        _start_ray(ray_address)
        stack.callback(ray.shutdown)
        stack.callback(serve.shutdown)
        report(f"Loading the models of {saved_models} into {replicas} replica{'s' * (replicas > 1)}.")
        application = build({
            "saved_models": str(Path(saved_models).resolve()), "poll_seconds": poll_seconds, "threads": threads,
            "replicas": replicas, "log_address": lines.address if ray_address is None else None, **_changed(limits),
        })
        handle = serve.run(application, name=NAME, route_prefix=None)
        asyncio.run(_serve(Front(handle, limits), host, sockets, ports, tls, lines, report))


async def _serve(front, host, sockets, ports, tls, lines, report):
    log_to(front.logger)
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_reader(lines.socket.fileno(), lines.print_waiting)
    size = front.limits.message_bytes
    server = grpc.aio.server(options=[
        ("grpc.max_receive_message_length", size), ("grpc.max_send_message_length", size), ("grpc.so_reuseport", 0),
    ])
    front.add_to(server)
    sockets[0].close()  # gRPC opens its port itself
    address = f"[{host}]:{ports[0]}" if ":" in host else f"{host}:{ports[0]}"
    if tls:
        server.add_secure_port(address, tls.grpc_credentials())
    else:
        server.add_insecure_port(address)
    await server.start()
    rest = _Rest(uvicorn.Config(
        front, log_config=None, access_log=False, lifespan="off", limit_concurrency=front.limits.queued_requests * 4,
        timeout_graceful_shutdown=int(GRACE), **(tls.uvicorn_arguments() if tls else {}),
    ))
    task = loop.create_task(rest.serve(sockets=[sockets[1]]))
    while not rest.started and not task.done():
        await asyncio.sleep(0.01)
    scheme = "https" if tls else "http"
    names = await front.handle.models.remote()
    report(f"Serving {', '.join(names) or 'no model yet'}: gRPC on {address}{' (TLS)' * bool(tls)}, REST on "
           f"{scheme}://{host}:{ports[1]}/v1/models/NAME. Stop with Ctrl-C.")
    await stop.wait()
    report("Finishing what was taken.")
    rest.should_exit = True
    await asyncio.gather(server.stop(GRACE), task)


class _Rest(uvicorn.Server):
    """Uvicorn without signal handlers of its own: one handler ends both ports."""

    @contextlib.contextmanager
    def capture_signals(self):
        yield


class _LogSocket:
    """Log lines of the replicas come here, to be written where those of the requests are."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="probunet-")
        self.address = f"{self.folder.name}/log"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.address)
        self.socket.setblocking(False)
        return self

    def __exit__(self, *_):
        self.print_waiting()
        self.socket.close()
        self.folder.cleanup()

    def print_waiting(self):
        """Writes what has come."""
        with contextlib.suppress(BlockingIOError):
            while True:
                print(self.socket.recv(65536).decode(), file=sys.stderr, flush=True)


def _listen(host, port):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise OSError(error.errno, f"Port {port} of {host} cannot be opened: {error.strerror}. Choose another --port or "
                      "--rest_port, or stop what has it") from error
    return bound


def _start_ray(address):
    logging.getLogger("ray").setLevel(logging.WARNING)
    own = {"include_dashboard": False, "object_store_memory": OBJECT_STORE} if address is None else {"address": address}
    ray.init(log_to_driver=False, logging_level=logging.WARNING, **own)
    serve.start(proxy_location="Disabled", logging_config={"log_level": "WARNING", "enable_access_log": False})


def _changed(limits):
    return {name: value for name, value in vars(limits).items() if value != getattr(Limits(), name)}
