"""What listens: TensorFlow Serving's gRPC and REST ports in front of the replicas of one machine or cluster."""

import asyncio
import json
import logging
import time

import grpc
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RequestCancelledError

from tf_probunet.serving.application import too_large
from tf_probunet.serving.metrics import Metrics
from tf_probunet.serving.server.limits import Limits
from tf_probunet.serving.status_codes import HTTP_STATUS

SERVICES = {  # methods that are answered, and those of which these models are no subject
    "tensorflow.serving.PredictionService": (("Predict", "GetModelMetadata"), ("Classify", "Regress", "MultiInference")),
    "tensorflow.serving.ModelService": (("GetModelStatus",), ("HandleReloadConfigRequest",)),
}
METRICS_PATH, HEALTH_PATH = "/monitoring/prometheus/metrics", "/healthz"
TEXT, JSON = b"text/plain; version=0.0.4; charset=utf-8", b"application/json"


class Front:
    """Hands requests of both protocols to replicas, with deadlines, limits, metrics and a log line for each.

    Args:
        handle: of the deployment `ModelServer`.
        limits: of messages and time; the replicas know the others.
        logger: of requests.
    """

    def __init__(self, handle, limits: Limits = Limits(), logger=logging.getLogger("tf_probunet.requests")):
        self.handle, self.limits, self.logger, self.metrics = handle, limits, logger, Metrics()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Registers both services; messages pass as bytes, which only the replicas take apart."""
        for service, (answered, not_here) in SERVICES.items():
            methods = {name: grpc.unary_unary_rpc_method_handler(self._grpc_method(name)) for name in answered}
            methods |= {name: grpc.unary_unary_rpc_method_handler(_not_implemented(name)) for name in not_here}
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))

    def _grpc_method(self, name):
        async def method(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            remaining = context.time_remaining()
            seconds = self.limits.seconds if remaining is None else min(remaining, self.limits.seconds)
            code, reply = await self._ask("grpc", name, seconds, len(request), "call", name, request)
            if code != "OK":
                await context.abort(grpc.StatusCode[code], reply)
            return reply

        return method

    async def __call__(self, scope, receive, send):
        """The REST port, as an ASGI application."""
        if scope["type"] != "http":
            return
        method, path = scope["method"], scope["path"]
        if path == METRICS_PATH and method == "GET":
            return await _send(send, 200, self.metrics.text(), TEXT)
        if path == HEALTH_PATH and method == "GET":
            code, reply = await self._ask("rest", "health", 5.0, 0, "models")
            return await _send(send, HTTP_STATUS[code], reply if code == "OK" else _error(reply))
        body, problem = await self._read(scope, receive)
        if problem:
            return await _send(send, *problem)
        verb = "Predict" if path.endswith(":predict") else "GetModelMetadata" if path.endswith("/metadata") else \
            "GetModelStatus"
        code, reply = await self._ask("rest", verb, self.limits.seconds, len(body), "rest", method, path, body)
        await _send(send, HTTP_STATUS[code], reply if code == "OK" else _error(reply))

    async def _read(self, scope, receive):
        """The body; or status and error where it is too large or does not come in time."""
        parts, size = [], 0
        try:
            async with asyncio.timeout(self.limits.seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None, (499, _error("The connection was closed before the body was whole."))
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > self.limits.json_bytes:
                        return None, (413, _error(too_large(size, self.limits)))
                    if not message.get("more_body"):
                        return b"".join(parts), None
        except TimeoutError:
            return None, (408, _error(f"The body was not whole after {self.limits.seconds:g} seconds."))

    async def _ask(self, protocol, name, seconds, request_bytes, method, *args):
        """Status code, and the reply or what is told to the caller."""
        begin, facts = time.perf_counter(), {}
        code, reply = "CANCELLED", "The caller has gone."  # unless something comes of it
        self.metrics.in_flight.inc()
        try:
            code, reply, facts = await self._from_replica(seconds, method, args)
        finally:
            self.metrics.in_flight.dec()
            passed = time.perf_counter() - begin
            size = len(reply) if code == "OK" else 0
            self.metrics.observe(protocol, name, code, passed, request_bytes, size, facts)
            self.logger.log(
                logging.INFO if code == "OK" else logging.WARNING, "request",
                extra={"protocol": protocol, "method": name, "code": code, "milliseconds": round(1e3 * passed, 2),
                       "request_bytes": request_bytes, "reply_bytes": size, **facts},
            )
        return code, reply

    async def _from_replica(self, seconds, method, args):
        try:
            async with asyncio.timeout(seconds):
                found = await getattr(self.handle, method).remote(*args)
        except TimeoutError:
            return "DEADLINE_EXCEEDED", f"No reply within {seconds:.3g} seconds.", {}
        except BackPressureError:
            return "RESOURCE_EXHAUSTED", (f"More than {self.limits.queued_requests} requests wait already. Try again "
                                          "a little later."), {}
        except (RayActorError, DeploymentUnavailableError, RequestCancelledError):
            return "UNAVAILABLE", "The replica that held this request has died. Send it again.", {}
        except RayTaskError:
            self.logger.exception("a replica failed")
            return "INTERNAL", "The request failed in the server, whose log says more.", {}
        if method == "models":
            return ("OK", json.dumps({"models": found}).encode(), {}) if found else \
                ("UNAVAILABLE", "No model answers yet.", {})
        return found


def _not_implemented(name):
    async def method(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{name} is not offered: these models have the signatures "
                            "of Predict only, and models.config is followed as the file changes.")

    return method


def _error(message):
    return json.dumps({"error": message}).encode()


async def _send(send, status, body, kind=JSON):
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
