"""The page's web application: its files, and what it asks about images. It answers this machine's browser only."""

import logging

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tf_probunet.explore import assets
from tf_probunet.explore.combiner_file import precision
from tf_probunet.explore.session import Session
from tf_probunet.serving.errors import ServingError

HOSTS = ("127.0.0.1", "localhost")
HEADERS = {
    # WebAssembly.instantiate needs wasm-unsafe-eval; blob: is for pictures that the page itself makes.
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; "
                               "style-src 'self'; img-src 'self' blob:; connect-src 'self'; base-uri 'none'; "
                               "form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def make_application(session: Session) -> Starlette:
    """The application, to be run by an ASGI server.

    Args:
        session: answers about images.
    """

    async def page(request: Request):
        name = request.path_params.get("name") or "index.html"
        if name not in assets.names():
            return PlainTextResponse("There is no such file.", 404)
        return Response(await run_in_threadpool(assets.read, name), media_type=assets.media_type(name))

    async def describe(_):
        return JSONResponse(session.describe())

    async def image(request):
        return _binary(await run_in_threadpool(session.image, request.path_params["index"]))

    async def noise(request):
        return _binary(await run_in_threadpool(session.noise, _number(request, "latent_dim"), _number(request, "seed")))

    async def combiner(request):
        size = _number(request, "height"), _number(request, "width")
        file = await run_in_threadpool(session.combiner_file, *size)
        made_from = (file.metadata or {}).get("saved_model_sha256", "")
        return _binary(file.content, {"X-Saved-Model-Fingerprint": made_from, "X-Precision": precision(file)})

    async def alive(_):
        await run_in_threadpool(session.model.check_alive)
        return JSONResponse({"alive": True})

    routes = [
        Route("/api/session", describe), Route("/api/images/{index:int}", image), Route("/api/noise", noise),
        Route("/api/combiner", combiner), Route("/api/alive", alive),
        Route("/", page), Route("/{name:path}", page),
    ]
    application = Starlette(routes=routes, exception_handlers={Exception: _failed, **{
        kind: _in_words for kind in (ValueError, IndexError, OSError, ImportError)}})
    return _Guard(application)


class _Guard:
    """Refuses requests that were addressed to another name, and lays the headers of safety on every answer."""

    def __init__(self, application):
        self.application = application

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.application(scope, receive, send)

        answered = False

        async def send_with_headers(message):
            nonlocal answered
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
                answered = True
            await send(message)

        # A page elsewhere may let its own name point to 127.0.0.1; the browser then still sends that name.
        host = Headers(scope=scope).get("host", "").rpartition(":")[0] or Headers(scope=scope).get("host", "")
        if host not in HOSTS:
            refusal = PlainTextResponse("This page answers under 127.0.0.1 or localhost only.", 421)
            return await refusal(scope, receive, send_with_headers)
        try:
            await self.application(scope, receive, send_with_headers)
        except Exception:
            if not answered:
                raise
            # `_failed` has told of it. Starlette raises it again, for the server to log with all that it says.


def _number(request, name):
    text = request.query_params.get(name, "")
    if not text.isascii() or not text.isdigit() or len(text) > 10:
        raise ValueError(f"{name} must be a whole number. Received: {text[:20]!r}.")
    return int(text)


def _binary(content, headers=None):
    return Response(content, media_type="application/octet-stream", headers=headers)


async def _in_words(_, error):
    status = 502 if isinstance(error, ServingError) else 404 if isinstance(error, IndexError) else 422
    return JSONResponse({"error": str(error)}, status)


async def _failed(_, error):
    logging.getLogger(__name__).error("a request failed: %s", type(error).__name__)  # no text: it may name a patient
    return JSONResponse({"error": f"The answer could not be made ({type(error).__name__})."}, 500)
