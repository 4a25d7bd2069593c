"""Serves the page on this machine until it is stopped."""

import contextlib
import socket
import threading
import webbrowser
from collections.abc import Callable

from tf_probunet.explore.session import Session

HOST = "127.0.0.1"


def run(session: Session, *, port: int = 0, open_browser: bool = True, report: Callable[[str], None] = print) -> None:
    """Serves the page and opens it; returns when interrupted.

    Args:
        session: what is explored.
        port: to listen on, of 127.0.0.1 only; 0 for any that is free.
        open_browser: whether this machine's browser is to show the page.
        report: called with lines of text.
    Raises:
        ImportError: the extra `explore` is not installed. OSError: the port is taken.
    """
    server, listener, address = make_server(session, port)
    report(f"Exploring {session.cases.source} with {session.model.title}: {address}")
    report("For research, not for diagnosis. Ctrl-C stops it.")
    if open_browser:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


def make_server(session: Session, port: int = 0):
    """A uvicorn server, the socket that it is to listen on, and the page's address."""
    try:
        import uvicorn

        from tf_probunet.explore.application import make_application
    except ImportError as error:
        raise ImportError(
            "probunet explore needs starlette and uvicorn: pip install 'tf_probunet[explore]'."
        ) from error
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise OSError(f"Port {port} of {HOST} cannot be used: {error.strerror}. Choose another --port, or 0 for any "
                      "that is free.") from error
    # No access log: requests tell which patient was looked at, and when.
    config = uvicorn.Config(make_application(session), access_log=False, log_level="warning", lifespan="off",
                            server_header=False)
    return uvicorn.Server(config), listener, f"http://{HOST}:{listener.getsockname()[1]}/"
