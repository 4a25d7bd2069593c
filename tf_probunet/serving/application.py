"""The Ray Serve application: replicas that answer TensorFlow Serving's protocols, on one machine or on a cluster.

On a cluster Ray's own proxies take requests: name `tf_probunet.serving.application:build` as import path, and
TensorFlow Serving's servicers in `grpc_options` (deploy/kubernetes/ray). On one machine `probunet serve` puts
`tf_probunet.serving.front` before the replicas, because Ray's gRPC proxy listens on every interface and has no TLS.
"""

import dataclasses
import logging

try:
    from ray import serve
    from ray.serve.grpc_util import RayServegRPCContext
    from starlette.requests import Request
    from starlette.responses import Response
except ImportError as error:
    raise ImportError("Serving needs Ray Serve: pip install 'tf_probunet[serving]'.") from error

from tf_probunet.serving.logs import log_to
from tf_probunet.serving.server.limits import Limits
from tf_probunet.serving.status_codes import HTTP_STATUS

NAME = "tf_probunet"
DEPLOYMENT = "ModelServer"


@serve.deployment(name=DEPLOYMENT, logging_config={"enable_access_log": False})
class ModelServer:
    """A replica: all models of a folder, in one process.

    Args:
        saved_models: folder of all models.
        limits: fields of `Limits` that differ from their defaults.
        poll_seconds: between two looks at the folder.
        threads: calls of models at once; the cores if not given.
        log_address: Unix datagram socket that takes log lines; standard error if not given.
    """

    def __init__(self, saved_models: str, limits=None, poll_seconds=2.0, threads=None, log_address=None):
        from tf_probunet.serving.server.catalogue import Catalogue  # here: TensorFlow loads in the replica only
        from tf_probunet.serving.server.handler import Handler

        logger = logging.getLogger("tf_probunet.models")
        log_to(logger, log_address)
        self.limits = Limits(**(limits or {}))
        self.catalogue = Catalogue(saved_models, logger=logger)
        self.catalogue.refresh()  # a replica takes traffic when its models are there
        self.handler = Handler(self.catalogue, self.limits, threads)
        self.catalogue.watch(poll_seconds)

    async def call(self, method: str, request: bytes) -> tuple[str, bytes | str, dict]:
        """For `tf_probunet.serving.front`: status code, serialized reply or message, and facts for logs."""
        from tf_probunet.serving.server.handler import answer

        return await _outcome(answer(self.handler, method, request))

    async def rest(self, method: str, path: str, body: bytes) -> tuple[str, bytes | str, dict]:
        """As `call`, for REST: the reply is JSON."""
        from tf_probunet.serving.server.rest import respond

        return await _outcome(respond(self.handler, method, path, body))

    async def models(self) -> list[str]:
        """Names of the models that answer."""
        return self.catalogue.models()

    async def Predict(self, request, grpc_context: RayServegRPCContext):  # noqa: N802  for Ray's gRPC proxy
        return await self._through_proxy(self.handler.predict(request), grpc_context)

    async def GetModelMetadata(self, request, grpc_context: RayServegRPCContext):  # noqa: N802
        return await self._through_proxy(self.handler.metadata(request), grpc_context)

    async def GetModelStatus(self, request, grpc_context: RayServegRPCContext):  # noqa: N802
        return await self._through_proxy(self.handler.status(request), grpc_context)

    async def __call__(self, request: Request) -> Response:  # for Ray's HTTP proxy
        from tf_probunet.serving.server.rest import error_body

        body = await request.body()
        if len(body) > self.limits.json_bytes:
            return Response(error_body(too_large(len(body), self.limits)), 413, media_type="application/json")
        code, reply, _ = await self.rest(request.method, request.url.path, body)
        content = reply if code == "OK" else error_body(reply)
        return Response(content, HTTP_STATUS[code], media_type="application/json")

    async def _through_proxy(self, answering, context):
        import grpc

        from tf_probunet.serving.server.refusal import Refusal

        try:
            return await answering
        except Refusal as refusal:
            context.set_code(grpc.StatusCode[refusal.code])
            context.set_details(refusal.message)
            raise


async def _outcome(answering):
    """Refusals as values: an exception would come out of Ray with its traceback around it."""
    from tf_probunet.serving.server.refusal import Refusal

    try:
        reply, facts = await answering
    except Refusal as refusal:
        return refusal.code, refusal.message, {}
    return "OK", reply, facts


def too_large(size: int, limits: Limits) -> str:
    """What is told to who sends a body beyond the limit."""
    return (f"The body has {size:,} bytes or more; this server takes {limits.json_bytes:,} of JSON. Send fewer images "
            "at once, or use gRPC, whose messages are a tenth of it.")


def build(args: dict):
    """The application, for `serve run` and for a RayService.

    Args:
        args: saved_models, the folder of all models as each replica sees it; and, where they should differ from their
            defaults, replicas, fields of `Limits`, poll_seconds and threads. Numbers may be texts.
    """
    args = dict(args)
    fields = {field.name: type(field.default) for field in dataclasses.fields(Limits)}
    limits = {name: fields[name](args.pop(name)) for name in list(args) if name in fields}
    replicas = {"num_replicas": int(args.pop("replicas"))} if "replicas" in args else {}
    converted = {"poll_seconds": float, "threads": int, "saved_models": str, "log_address": str}
    unknown = sorted(set(args) - set(converted))
    if unknown or "saved_models" not in args:
        raise ValueError(f"The application takes saved_models and perhaps {', '.join(['replicas', *fields, *converted])}. "
                         f"Received: {', '.join(sorted({*args, *limits})) or 'nothing'}.")
    checked = Limits(**limits)
    values = {name: converted[name](value) for name, value in args.items() if value is not None}
    return ModelServer.options(
        max_ongoing_requests=checked.concurrent_requests, max_queued_requests=checked.queued_requests,
        **replicas,
    ).bind(limits=limits, **values)
