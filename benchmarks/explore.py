"""How fast the page of `probunet explore` follows a hand: `python benchmarks/explore.py --output FILE`.

In Debian's headless Chromium, combiner in WASM, reference model, images of 64x64 and 128x128: milliseconds from the
event of a drag to the drawn mask, as the page itself measures them (medians of a hundred), of one hypothesis, and of a
wall of 64.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402
from absl import app, flags  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402
from report import report

from tf_probunet.data.phantom import prepare_phantom  # noqa: E402

flags.DEFINE_string("saved_model", "saved_models/lidc", "version that is explored")
flags.DEFINE_string("data", None, "dataset of images of 128x128 or more; a small phantom is made if not given")
flags.DEFINE_string("chromium", "/usr/bin/chromium", "the browser")
flags.DEFINE_string("output", None, "JSON file for the figures")
FLAGS = flags.FLAGS
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]


def until(page, condition, seconds=120):
    """What the page shows once a condition holds of it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = page.evaluate("window.__probunet ? window.__probunet.read() : null")
        if found and condition(found):
            return found
        time.sleep(0.1)
    raise TimeoutError(f"the page did not get there; it shows: {found and found['message']!r}")


def drag(page):
    """Drags the point around the plane until the page has followed a hundred times."""
    box = page.locator("#plane svg").bounding_box()
    x, y, unit = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, box["width"] / 7
    page.mouse.move(x, y)
    page.mouse.down()
    for angle in np.linspace(0, 20 * np.pi, 400):
        page.mouse.move(x + 2 * unit * np.cos(angle), y + 2 * unit * np.sin(angle))
        time.sleep(0.02)  # a hand's pace: fifty events a second
    page.mouse.up()


def measured(browser, address):
    start = time.monotonic()
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(address)
    until(page, lambda found: found["ready"])
    ready = time.monotonic() - start
    walls = []
    for _ in range(5):
        seed = until(page, lambda found: found["ready"])["seed"]
        page.click("#draw")
        walls.append(until(page, lambda found, seed=seed: found["seed"] not in (None, seed))["wallMilliseconds"])
    drag(page)
    found = until(page, lambda found: found["settled"])
    dragged = found["dragged"]
    page.close()
    return {
        "backend": found["backend"], "seconds_to_the_first_wall": ready,
        "drag_to_mask_ms": {"median": float(np.median(dragged)), "p95": float(np.percentile(dragged, 95)),
                            "of": len(dragged)},
        "hypothesis_ms": float(np.median(found["computed"])),
        "wall_of_64_ms": float(np.median(walls)),
    }


def main(_):
    results = {}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        data = FLAGS.data or Path(folder) / "phantom"
        if FLAGS.data is None:
            prepare_phantom(data, num_train=20, num_val=10)
        browser = playwright.chromium.launch(executable_path=FLAGS.chromium, args=ARGUMENTS)
        for size in (64, 128):
            server = subprocess.Popen(
                [Path(sys.executable).parent / "probunet", "explore", f"--data={data}", f"--crop_size={size}",
                 f"--saved_model={FLAGS.saved_model}", "--noopen_browser"], stdout=subprocess.PIPE, text=True)
            try:
                address = next(found[0] for line in server.stdout if (found := re.search(r"http://\S+/", line)))
                results[f"{size}x{size}"] = measured(browser, address)
            finally:
                server.terminate()
                server.wait()
        results["browser"] = browser.version
        browser.close()
    report(results, FLAGS.output)


if __name__ == "__main__":
    app.run(main)
