"""Replies over HTTP that no server of models gives: of proxies, cut short, not JSON, late; both clients alike."""

import contextlib
import json
import socketserver
import threading
import time

import pytest
from client_contract import KINDS

from tf_probunet.serving import Retries, ServingError

STATUS = json.dumps({"model_version_status": [{"version": "7", "state": "LOADING"}]}).encode()


def http(status, body, length=None, *headers):
    """A reply's bytes, of which Content-Length may be untrue."""
    head = (f"HTTP/1.1 {status} x", f"Content-Length: {len(body) if length is None else length}", *headers, "", "")
    return "\r\n".join(head).encode() + body


GOOD = http(200, STATUS)


@pytest.fixture(params=list(KINDS))
def ask(request):
    """A function (replies, **options) that asks for the status where those replies come, one a connection."""

    @contextlib.contextmanager
    def serving(replies):
        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                self.rfile.readline()
                reply = replies.pop(0)
                for piece in [reply] if isinstance(reply, bytes) else reply:
                    with contextlib.suppress(OSError):  # whoever asked may be gone
                        self.wfile.write(piece)

        with socketserver.ThreadingTCPServer(("localhost", 0), Handler) as server:
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, args=(0.02,))
            thread.start()
            try:
                yield f"localhost:{server.server_address[1]}"
            finally:
                server.shutdown()
                thread.join()

    def ask(replies, **options):
        with serving(replies) as address:
            with KINDS[request.param](address, "lidc", protocol="rest", **{"retries": Retries(3, first=0.01), **options}
                                      ) as client:
                return client.status()

    return ask


def test_a_good_one_is_read(ask):
    assert ask([GOOD]) == {7: "LOADING"}


@pytest.mark.parametrize("bad", [
    b"", http(502, b"<html>Bad Gateway</html>"), http(503, b""), http(429, b'{"error": "queue full"}'),
    http(200, STATUS[:20], len(STATUS)),
], ids=["closed", "502", "503", "429", "cut short"])
def test_what_may_pass_is_tried_again(ask, bad):
    replies = [bad, bad, GOOD]
    assert ask(replies) == {7: "LOADING"} and replies == []


@pytest.mark.parametrize("bad, code, message", [
    (http(400, b'{"error": "no such thing"}'), "INVALID_ARGUMENT", "no such thing"),
    (http(404, b"<html>nothing</html>"), "NOT_FOUND", "HTTP 404 <html>nothing</html>"),
    (http(413, b""), "INVALID_ARGUMENT", "HTTP 413"),
    (http(302, b"", 0, "Location: http://localhost/"), "UNKNOWN", "HTTP 302"),
    (http(200, b"<html>Welcome</html>"), "INTERNAL", "not one of TensorFlow Serving.*Welcome"),
    (http(200, b"{}"), "INTERNAL", "model_version_status"),
    (http(200, b"[1, 2]"), "INTERNAL", "not one of TensorFlow Serving"),
], ids=["400", "404", "413", "302", "a page", "without its key", "a list"])
def test_what_cannot_pass_is_not(ask, bad, code, message):
    replies = [bad, GOOD]
    with pytest.raises(ServingError, match=message) as raised:
        ask(replies)
    assert raised.value.code == code and replies == [GOOD]


def test_one_that_trickles_in_is_late(ask):
    def trickle():
        yield http(200, b"", 1000)
        for _ in range(120):
            time.sleep(0.05)
            yield b" "

    start = time.monotonic()
    with pytest.raises(ServingError) as raised:
        ask([trickle()], timeout=0.4)
    assert raised.value.code == "DEADLINE_EXCEEDED" and time.monotonic() - start < 5
