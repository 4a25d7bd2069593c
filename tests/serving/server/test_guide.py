"""docs/serving.md's commands, one after the other as a reader would type them."""

import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_application import free_port

from tf_probunet.serving.model_config import labels_of, read_config

ROOT = Path(__file__).parents[3]


@pytest.fixture
def workplace(tmp_path, tiny_run):
    shutil.copytree(tiny_run, tmp_path / "runs" / "lidc")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)).save(tmp_path / "crop.png")
    return tmp_path


def test_the_guides_commands_do_what_it_says(workplace):
    ports = {"8500": str(free_port()), "8501": str(free_port())}
    lines = "".join(re.findall(r"^```bash\n(.*?)^```$", (ROOT / "docs" / "serving.md").read_text(), re.M | re.S))
    lines = [re.sub("8500|8501", lambda found: ports[found[0]], line) for line in lines.splitlines()]
    lines = [line for line in lines if not line.startswith("pip install")]
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(workplace)}
    server, said = None, []
    try:
        for line in lines:
            if line.startswith("probunet serve"):
                server = subprocess.Popen(line.split(), cwd=workplace, env=environment, stderr=subprocess.DEVNULL,
                                          stdout=subprocess.PIPE, text=True)
                assert any(said_line.startswith("Serving mine") for said_line in server.stdout)
                continue
            if "labels" in line:
                wait_for(line.split()[-1])
            result = subprocess.run(["bash", "-euc", line], cwd=workplace, env=environment, capture_output=True,
                                    text=True)
            assert result.returncode == 0, line + result.stderr[-3000:]
            said.append(result.stdout)
    finally:
        server.terminate()
        assert server.wait(60) == 0
    assert any('"version": "1"' in text and "AVAILABLE" in text for text in said)
    assert any('"version": "2"' in text for text in said), "the canary is the newest"
    assert labels_of(read_config(workplace / "saved_models"), "mine") == {"stable": 1, "canary": 2}
    assert (workplace / "samples" / "samples.npy").is_file()


def wait_for(address):
    """Until the server follows what the commands before have changed."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            return urllib.request.urlopen(f"http://{address}", timeout=10).read()
        except urllib.error.HTTPError:
            time.sleep(0.3)
    raise AssertionError(f"{address} does not answer")
