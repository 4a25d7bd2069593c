"""The Ray Serve application: replicas that answer TensorFlow Serving's protocols, on one machine or on a cluster.

On a cluster Ray's own proxies take requests: name `tf_probunet.serving.application:build` as import path, and
TensorFlow Serving's servicers in `grpc_options` (deploy/kubernetes/ray). On one machine `probunet serve` lets the
replicas listen themselves (`Listen`): Ray's gRPC proxy has no TLS and listens on every interface, and what passes
through a proxy is copied several times.
"""

import dataclasses
import logging
import socket

from ray import serve
from ray.serve.grpc_util import RayServegRPCContext
from starlette.requests import Request
from starlette.responses import Response

from tf_probunet.serving.logs import log_to
from tf_probunet.serving.server.limits import Limits
from tf_probunet.serving.server.refusal import Refusal
from tf_probunet.serving.server.tls import ServerTls
from tf_probunet.serving.status_codes import HTTP_STATUS

NAME = "tf_probunet"
DEPLOYMENT = "ModelServer"


@dataclasses.dataclass(frozen=True)
class Listen:
    """Ports that replicas open themselves, all the same ones.

    Args:
        host: interface.
        port, rest_port: of gRPC and REST.
        tls: certificates; plain text without.
        log_address: Unix datagram socket that takes log lines; standard error if not given.
    """

    host: str
    port: int
    rest_port: int
    tls: ServerTls | None = None
    log_address: str | None = None


@serve.deployment(name=DEPLOYMENT, logging_config={"enable_access_log": False})
class ModelServer:
    """A replica: all models of a folder, in one process.

    Args:
        saved_models: folder of all models.
        limits: bounds of requests.
        poll_seconds: between two looks at the folder.
        threads: calls of models at once; the cores if not given.
        listen: ports to open; none where Ray's proxies take the requests.
    """

    async def __init__(self, saved_models: str, limits: Limits = Limits(), poll_seconds=2.0, threads=None,
                       listen: Listen | None = None):
        from tf_probunet.serving.server.catalogue import Catalogue  # here: TensorFlow loads in the replica only
        from tf_probunet.serving.server.handler import Handler

        models, requests = (logging.getLogger(f"tf_probunet.{name}") for name in ("models", "requests"))
        for logger in (models, requests):
            log_to(logger, listen and listen.log_address)
        self.limits, self.ports = limits, None
        self.catalogue = Catalogue(saved_models, logger=models)
        self.catalogue.refresh()  # a replica takes traffic when its models are there
        self.catalogue.watch(poll_seconds)
        self.handler = Handler(self.catalogue, limits, threads)
        if listen:
            from tf_probunet.serving.server.metrics import Metrics
            from tf_probunet.serving.server.ports import Ports

            self.ports = Ports(self.handler, requests, Metrics())
            await self.ports.open(listen.host, listen.port, shared_socket(listen.host, listen.rest_port), listen.tls)

    async def __del__(self):
        """Finishes what was taken; Ray waits for it."""
        self.catalogue.stop()
        if self.ports:
            await self.ports.close()

    async def models(self) -> list[str]:
        """Names of the models that answer."""
        return self.catalogue.models()

    async def Predict(self, request, grpc_context: RayServegRPCContext):  # noqa: N802  for Ray's gRPC proxy
        return await _through_proxy(self.handler.predict(request), grpc_context)

    async def GetModelMetadata(self, request, grpc_context: RayServegRPCContext):  # noqa: N802
        return await _through_proxy(self.handler.metadata(request), grpc_context)

    async def GetModelStatus(self, request, grpc_context: RayServegRPCContext):  # noqa: N802
        return await _through_proxy(self.handler.status(request), grpc_context)

    async def __call__(self, request: Request) -> Response:  # for Ray's HTTP proxy
        from tf_probunet.serving.server.rest import error_body, respond, too_large

        body = await request.body()
        if len(body) > self.limits.json_bytes:
            return Response(error_body(too_large(len(body), self.limits)), 413, media_type="application/json")
        try:
            reply, _ = await respond(self.handler, request.method, request.url.path, body)
        except Refusal as refusal:
            return Response(error_body(refusal.message), HTTP_STATUS[refusal.code], media_type="application/json")
        return Response(reply, media_type="application/json")


async def _through_proxy(answering, context):
    import grpc

    try:
        return await answering
    except Refusal as refusal:
        context.set_code(grpc.StatusCode[refusal.code])
        context.set_details(refusal.message)
        raise


def shared_socket(host: str, port: int) -> socket.socket:
    """A socket bound to a port that several processes share."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind((host, port))
    return bound


def build(args: dict):
    """The application for `serve run` and for a RayService, which take builders of one argument: see `application`."""
    return application(args)


def application(args: dict, listen: Listen | None = None, environment: dict | None = None):
    """The application, not yet running.

    Args:
        args: saved_models, the folder of all models as each replica sees it; and, where they should differ from their
            defaults, replicas, fields of `Limits`, poll_seconds and threads. Numbers may be texts.
        listen: ports that replicas open themselves.
        environment: variables of the replicas' processes, on one machine that is theirs.
    Raises:
        ValueError: an argument is unknown, or makes no sense.
    """
    known = {"saved_models": str, "replicas": int, "poll_seconds": float, "threads": int}
    of_limits = {field.name: type(field.default) for field in dataclasses.fields(Limits)}
    unknown = sorted(set(args) - set(known) - set(of_limits))
    if unknown or "saved_models" not in args:
        raise ValueError(f"The application takes saved_models and perhaps {', '.join([*known, *of_limits][1:])}. "
                         f"Received: {', '.join(sorted(args)) or 'nothing'}.")
    values = {name: {**known, **of_limits}[name](value) for name, value in args.items() if value is not None}
    limits = Limits(**{name: values.pop(name) for name in list(values) if name in of_limits})
    options = {"max_ongoing_requests": limits.concurrent_requests, "max_queued_requests": limits.queued_requests}
    if "replicas" in values:
        options["num_replicas"] = values.pop("replicas")
    if environment:
        # Of this machine's cores Ray would give each replica one, and wait for ever where there are fewer.
        options["ray_actor_options"] = {"num_cpus": 0, "runtime_env": {"env_vars": environment}}
    return ModelServer.options(**options).bind(limits=limits, listen=listen, **values)
