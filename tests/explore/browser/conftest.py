"""Debian's Chromium, and a page that is watched for what it must not do: errors, requests elsewhere."""

import base64
import json
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]
SIZES = {"desk": (1280, 800), "tablet": (820, 1180)}


@pytest.fixture(scope="module")  # as long as it lives, its loop is in the way of asyncio in other files' tests
def chromium():
    if not Path(CHROMIUM).is_file():
        pytest.skip(f"needs {CHROMIUM} (Debian package chromium)")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'tf_probunet[dev]'")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


def mask_of(text):
    """A class map, [H * W], as the page hands it over."""
    return np.frombuffer(base64.b64decode(text), np.uint8)


class Watched:
    """A page of `probunet explore` in the browser."""

    def __init__(self, browser, address, size, query=""):
        self.address = address
        self.page = browser.new_page(viewport={"width": size[0], "height": size[1]}, accept_downloads=True)
        self.errors, self.requests = [], []
        self.page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address + query)

    def read(self):
        """What the page shows, as plain values."""
        found = self.page.evaluate("window.__probunet ? window.__probunet.read() : null")
        if found and found["mask"]:
            found["mask"] = mask_of(found["mask"])
        return found

    def wall(self):
        """Class maps of the wall, [M, H * W]."""
        return np.stack([mask_of(text) for text in self.page.evaluate("window.__probunet.wall()")])

    def wait(self, reached, what, seconds=30):
        """What the page shows once `reached` holds of it.

        Playwright's own waiting needs eval, which the page forbids.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = self.read()
            if found and reached(found):
                return found
            time.sleep(0.02)
        pytest.fail(f"{what} did not come; message: {found and found['message']!r}; errors: {self.errors}")

    def ready(self, index=0):
        return self.wait(lambda found: found["ready"] and found["place"]["index"] == index, f"image {index}")

    def message(self, words, seconds=30):
        """What the page shows once its message has these words."""
        found = self.wait(lambda found: words in (found["message"] or ""), f"message {words!r}", seconds)
        assert self.page.locator("#message").is_visible() and words in self.page.locator("#words").inner_text()
        return found

    def settled(self, reached=lambda found: True, what="the mask at the point"):
        """What the page shows once the mask is that of the point."""
        return self.wait(lambda found: found["settled"] and reached(found), what)

    def plane(self):
        """(x, y) of the middle of the plane, and CSS pixels a standard deviation."""
        box = self.page.locator("#plane svg").bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, (box["width"] / 2 - 14) / 3

    def drag(self, *stops, steps=8):
        """Drags the point through places in standard deviations."""
        x, y, unit = self.plane()
        for number, (across, up) in enumerate(stops):
            self.page.mouse.move(x + across * unit, y - up * unit, steps=steps if number else 1)
            if not number:
                self.page.mouse.down()
        self.page.mouse.up()

    def close(self, expected_errors=()):
        """Checks what the page must not do."""
        self.page.close()
        errors = [error for error in self.errors if not any(words in error for words in expected_errors)]
        assert errors == []
        here = urlsplit(self.address).netloc
        assert {urlsplit(url).netloc for url in self.requests if not url.startswith("blob:")} <= {here}


@pytest.fixture
def open_page(chromium, serve_session):  # named here so that servers stop after pages were closed
    """A function (address, size="desk", query="", expected_errors=()) -> `Watched`, checked when the test ends."""
    opened = []

    def start(address, size="desk", query="", expected_errors=()):
        opened.append((Watched(chromium, address, SIZES[size], query), expected_errors))
        return opened[-1][0]

    yield start
    for watched, expected_errors in opened:
        watched.close(expected_errors)


@pytest.fixture
def view(open_page, phantom_page):
    """The page over rendered images with its first wall drawn."""
    found = open_page(phantom_page.address)
    found.ready()
    return found


def save(download, folder):
    """Path of a downloaded file."""
    path = Path(folder) / download.suggested_filename
    download.save_as(path)
    return path


@pytest.fixture
def export(tmp_path):
    """A function (watched, button id) -> path of the file that the page lets one save."""
    def press(watched, button):
        with watched.page.expect_download() as download:
            watched.page.click(f"#{button}")
        return save(download.value, tmp_path)

    return press


@pytest.fixture
def session_of(export):
    """A function: watched -> the exported session as values."""
    return lambda watched: json.loads(export(watched, "export-json").read_text())
