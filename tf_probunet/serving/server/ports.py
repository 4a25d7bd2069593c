"""TensorFlow Serving's two ports in the process that holds the models: nothing stands between a caller and them."""

import asyncio
import contextlib
import json
import logging
import time

import grpc
import uvicorn

from tf_probunet.serving.server.handler import Handler, answer
from tf_probunet.serving.server.limits import Limits
from tf_probunet.serving.server.metrics import Metrics
from tf_probunet.serving.server.refusal import Refusal
from tf_probunet.serving.server.rest import error_body, respond, too_large
from tf_probunet.serving.server.tls import ServerTls
from tf_probunet.serving.status_codes import HTTP_STATUS

SERVICES = {  # methods that are answered, and those of which these models are no subject
    "tensorflow.serving.PredictionService": (("Predict", "GetModelMetadata"),
                                             ("Classify", "Regress", "MultiInference")),
    "tensorflow.serving.ModelService": (("GetModelStatus",), ("HandleReloadConfigRequest",)),
}
METRICS_PATH, HEALTH_PATH = "/monitoring/prometheus/metrics", "/healthz"
TEXT, JSON = b"text/plain; version=0.0.4; charset=utf-8", b"application/json"
GRACE = 20.0  # seconds in which requests that were taken are finished before the ports close


class Ports:
    """Takes requests of both protocols, with deadlines, limits, metrics and a log line for each.

    Several processes may share the ports: each connection then goes to one of them.

    Args:
        handler: that answers.
        logger: of requests.
        metrics: that count them.
    """

    def __init__(self, handler: Handler, logger: logging.Logger, metrics: Metrics):
        self.handler, self.logger, self.metrics = handler, logger, metrics
        self.limits: Limits = handler.limits
        self.in_flight, self.closing = 0, False
        self._grpc = self._rest = self._rest_task = None

    async def open(self, host: str, port: int, rest_socket, tls: ServerTls | None = None) -> None:
        """Opens both ports in the running loop.

        Args:
            host, port: of gRPC.
            rest_socket: bound, for REST.
            tls: certificates; plain text without.
        """
        size = self.limits.message_bytes
        self._grpc = grpc.aio.server(options=[("grpc.max_receive_message_length", size),
                                              ("grpc.max_send_message_length", size), ("grpc.so_reuseport", 1)])
        for service, (answered, not_here) in SERVICES.items():
            methods = {name: grpc.unary_unary_rpc_method_handler(self._grpc_method(name)) for name in answered}
            methods |= {name: grpc.unary_unary_rpc_method_handler(_not_implemented(name)) for name in not_here}
            self._grpc.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if tls:
            self._grpc.add_secure_port(address, tls.grpc_credentials())
        else:
            self._grpc.add_insecure_port(address)
        self._rest = _Uvicorn(uvicorn.Config(
            self.rest, interface="asgi3", log_config=None, access_log=False, lifespan="off", proxy_headers=False,
            timeout_graceful_shutdown=int(GRACE),
            limit_concurrency=2 * (self.limits.concurrent_requests + self.limits.queued_requests),
            **(tls.uvicorn_arguments() if tls else {}),
        ))
        await self._grpc.start()
        self._rest_task = asyncio.get_running_loop().create_task(self._rest.serve(sockets=[rest_socket]))
        while not self._rest.started and not self._rest_task.done():
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        """Takes no more requests, and returns when those that were taken are answered.

        Callers are told UNAVAILABLE first, and only then the port is closed: gRPC itself would cancel whoever comes at
        that very moment.
        """
        self.closing, self._rest.should_exit = True, True
        end = time.monotonic() + GRACE
        while self.in_flight and time.monotonic() < end:
            await asyncio.sleep(0.02)
        # What is answered may not be sent yet: it has the rest of the time. Without it gRPC stops at once.
        await asyncio.gather(self._grpc.stop(max(end - time.monotonic(), 1.0)), self._rest_task)

    def _grpc_method(self, name):
        async def method(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            remaining = context.time_remaining()
            seconds = self.limits.seconds if remaining is None else min(remaining, self.limits.seconds)
            code, reply = await self._answer("grpc", name, seconds, len(request), answer(self.handler, name, request))
            if code != "OK":
                await context.abort(grpc.StatusCode[code], reply)
            return reply

        return method

    async def rest(self, scope, receive, send):
        """The REST port, as an ASGI application."""
        if scope["type"] != "http":
            return
        method, path = scope["method"], scope["path"]
        if path == METRICS_PATH and method == "GET":
            return await _send(send, 200, self.metrics.text(), TEXT)
        if path == HEALTH_PATH and method == "GET":
            names = self.handler.catalogue.models()
            return await _send(send, 200 if names else 503, json.dumps({"models": names}).encode())
        body, problem = await self._read(receive)
        if problem:
            return await _send(send, *problem)
        name = {"predict": "Predict", "metadata": "GetModelMetadata"}.get(path.replace(":", "/").rsplit("/", 1)[-1],
                                                                         "GetModelStatus")
        code, reply = await self._answer("rest", name, self.limits.seconds, len(body),
                                         respond(self.handler, method, path, body))
        await _send(send, HTTP_STATUS[code], reply if code == "OK" else error_body(reply))

    async def _read(self, receive):
        """The body; or status and error where it is too large or does not come in time."""
        parts, size = [], 0
        try:
            async with asyncio.timeout(self.limits.seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None, (499, error_body("The connection was closed before the body was whole."))
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > self.limits.json_bytes:
                        return None, (413, error_body(too_large(size, self.limits)))
                    if not message.get("more_body"):
                        return b"".join(parts), None
        except TimeoutError:
            return None, (408, error_body(f"The body was not whole after {self.limits.seconds:g} seconds."))

    async def _answer(self, protocol, name, seconds, request_bytes, answering):
        """Status code, and the reply or what is told to the caller; counted, timed and logged."""
        begin, facts = time.perf_counter(), {}
        code, reply = "CANCELLED", "The caller has gone."  # unless something comes of it
        self.in_flight += 1
        self.metrics.in_flight.inc()
        try:
            code, reply, facts = await self._outcome(answering, seconds)
        finally:
            self.in_flight -= 1
            self.metrics.in_flight.dec()
            passed = time.perf_counter() - begin
            size = len(reply) if code == "OK" else 0
            self.metrics.observe(protocol, name, code, passed, request_bytes, size, facts)
            level = logging.INFO if code == "OK" else logging.WARNING
            self.logger.log(level, "request", extra={
                "protocol": protocol, "method": name, "code": code, "milliseconds": round(1e3 * passed, 2),
                "request_bytes": request_bytes, "reply_bytes": size, **facts,
            })
        return code, reply

    async def _outcome(self, answering, seconds):
        if self.closing:
            answering.close()
            return "UNAVAILABLE", "This server stops. Send the request to another, or when it is back.", {}
        most = self.limits.concurrent_requests + self.limits.queued_requests
        if self.in_flight > most:
            answering.close()
            return "RESOURCE_EXHAUSTED", f"{most} requests are at work or wait already. Try again a little later.", {}
        try:
            async with asyncio.timeout(seconds):
                reply, facts = await answering
        except Refusal as refusal:
            return refusal.code, refusal.message, {}
        except TimeoutError:
            return "DEADLINE_EXCEEDED", f"No reply within {seconds:.3g} seconds.", {}
        except MemoryError:
            return "RESOURCE_EXHAUSTED", "This server has no memory for the request now. Ask for less at once.", {}
        except Exception:  # noqa: BLE001  the caller learns no more than that; the log does
            self.logger.exception("a request failed")
            return "INTERNAL", "The request failed in the server, whose log says more.", {}
        return "OK", reply, facts


class _Uvicorn(uvicorn.Server):
    """Without signal handlers of its own: who holds the process ends both ports."""

    @contextlib.contextmanager
    def capture_signals(self):
        yield


def _not_implemented(name):
    async def method(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{name} is not offered: these models have the signatures "
                            "of Predict only, and models.config is followed as the file changes.")

    return method


async def _send(send, status, body, kind=JSON):
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
