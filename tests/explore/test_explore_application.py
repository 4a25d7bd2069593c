"""The page's server: files, safety, words for errors, and nothing told to a log."""

import json

import numpy as np
import pytest
import urllib3

from tf_probunet.explore import assets
from tf_probunet.explore.payload import unpack
from tf_probunet.explore.run import make_server
from tf_probunet.explore.session import Session
from tf_probunet.serving.errors import ServingError

HTTP = urllib3.PoolManager(retries=False, timeout=60)


def get(page, path, **headers):
    return HTTP.request("GET", page.address + path, headers=headers)


def test_files_come_whole_and_nothing_else_comes(phantom_page):
    assert get(phantom_page, "").data == assets.read("index.html")
    for name in assets.names():
        reply = get(phantom_page, name)
        assert reply.status == 200 and reply.data == assets.read(name), name
    assert get(phantom_page, "litert_wasm_compat_internal.wasm").headers["Content-Type"] == "application/wasm"
    for path in ("sources.sha256", "../session.py", "..%2Fsession.py", "%2e%2e/session.py", "index.html.xz", "api/x"):
        assert get(phantom_page, path).status == 404, path


def test_every_answer_is_guarded(phantom_page):
    for path in ("", "app.js", "api/session", "api/images/0", "api/images/77", "nothing"):
        headers = get(phantom_page, path).headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; ") and "'unsafe-inline'" not in policy, path
        assert "'unsafe-eval'" not in policy.replace("'wasm-unsafe-eval'", "") and "http" not in policy
        assert headers["Cache-Control"] == "no-store" and "Set-Cookie" not in headers
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil:1", ""])
def test_another_name_for_this_machine_is_refused(phantom_page, host):
    reply = get(phantom_page, "api/session", Host=host)
    assert reply.status in (400, 421) and b"lidc" not in reply.data


def test_only_this_machine_is_served(phantom_session):
    server, listener, address = make_server(phantom_session)
    assert listener.getsockname()[0] == "127.0.0.1" and address.startswith("http://127.0.0.1:")
    with pytest.raises(OSError, match="Port .* cannot be used: .*Choose another --port"):
        make_server(phantom_session, listener.getsockname()[1] if listener.listen() is None else 0)
    assert server.config.access_log is False
    listener.close()


def test_session_noise_and_combiner(phantom_page):
    facts = json.loads(get(phantom_page, "api/session").data)
    assert facts["classes"] == ["background", "lesion"] and facts["num_images"] == 3 and facts["num_samples"] == 64
    noise = unpack(get(phantom_page, "api/noise?latent_dim=6&seed=5").data)[1]["noise"]
    assert noise.shape == (64, 6) and abs(noise.std() - 1) < 0.2
    again = unpack(get(phantom_page, "api/noise?latent_dim=6&seed=5").data)[1]["noise"]
    np.testing.assert_array_equal(noise, again)
    reply = get(phantom_page, "api/combiner?height=64&width=64")
    assert reply.data[4:8] == b"TFL3" and reply.headers["X-Saved-Model-Fingerprint"] == facts["fingerprint"]


@pytest.mark.parametrize("path, status, words", [
    ("api/images/3", 404, "There are 3 images. Received: 3."),
    ("api/noise?latent_dim=6&seed=-1", 422, "seed must be a whole number. Received: '-1'."),
    ("api/noise?latent_dim=6&seed=9999999999", 422, "A seed is a whole number from 0"),
    ("api/noise?seed=1", 422, "latent_dim must be a whole number. Received: ''."),
    ("api/combiner?height=0&width=64", 422, "must lie between 1 and 4096"),
])
def test_wrong_requests_are_told_in_words(phantom_page, path, status, words):
    reply = get(phantom_page, path)
    assert reply.status == status and words in json.loads(reply.data)["error"]


def test_what_fails_is_told_but_not_logged_with_names(serve_session, phantom_session, caplog, capfd):
    class Away:
        def __getattr__(self, name):
            return getattr(phantom_session.model, name)

        def trunk(self, images):
            raise ServingError("lidc at localhost:8500: connection refused (UNAVAILABLE).", "UNAVAILABLE")

        def check_alive(self):
            raise RuntimeError("patient Miller")

    page = serve_session(Session(Away(), phantom_session.combiner, phantom_session.cases))
    reply = get(page, "api/images/0")
    assert reply.status == 502 and "connection refused" in json.loads(reply.data)["error"]
    reply = get(page, "api/alive")
    assert reply.status == 500 and json.loads(reply.data)["error"] == "The answer could not be made (RuntimeError)."
    assert "RuntimeError" in caplog.text
    assert "Miller" not in caplog.text and "Traceback" not in caplog.text
