"""What the tests of serving share: a small model in two versions, and `probunet serve` as a process."""

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROBUNET = (sys.executable, "-c", "from tf_probunet.cli.main import run; run()")


@pytest.fixture(scope="session")
def two_versions(tmp_path_factory):
    """A folder tiny/1, tiny/2 of two small models whose answers differ; not to be changed. And the Keras models."""
    import keras

    from tf_probunet.export.saved_model import export
    from tf_probunet.models import ProbabilisticUNet

    folder, models = tmp_path_factory.mktemp("two_versions"), {}
    for number in (1, 2):
        keras.utils.set_random_seed(number)
        models[number] = ProbabilisticUNet(num_classes=2, channels=(4, 8), latent_dim=3, combiner_channels=(8, 8))
        models[number].build()
        export(models[number], folder / "tiny", check_size=(32, 32))
    return folder, models


@pytest.fixture
def models_folder(tmp_path, two_versions):
    """A folder of one's own with tiny/1, in which a test may do as it likes."""
    folder = tmp_path / "saved_models"
    put_version(two_versions[0] / "tiny" / "1", folder / "tiny" / "1")
    return folder


def put_version(source, target):
    """Copies a version as an operator should: beside its final name, then renamed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = target.with_name(f".{target.name}.copy")
    shutil.copytree(source, staging)
    staging.rename(target)


class Served:
    """`probunet serve` as a process of its own, on ports that were free; `program` may be another that starts it."""

    def __init__(self, folder, *arguments, program=PROBUNET):
        self.log = Path(folder).parent / f"serve-{time.monotonic_ns()}.log"
        self.process = subprocess.Popen(
            [*program, "serve", "--saved_models", str(folder), "--port", "0",
             "--rest_port", "0", "--poll_seconds", "0.2", *arguments],
            stdout=self.log.open("w"), stderr=subprocess.STDOUT,
        )
        found = self.wait_for(r"gRPC on \S+:(\d+).*REST on (https?)://\S+?:(\d+)/", 120)
        self.port, self.rest_port = int(found[1]), int(found[3])
        self.grpc, self.rest = f"localhost:{self.port}", f"{found[2]}://localhost:{self.rest_port}"

    def text(self):
        return self.log.read_text()

    def wait_for(self, pattern, seconds):
        """The match of a pattern in what the server wrote, once it is there."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = re.search(pattern, self.text())
            if found:
                return found
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise AssertionError(f"{pattern!r} did not come; the server wrote:\n{self.text()[-4000:]}")

    def stop(self):
        """Ends the process as an operator does, and returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"the server did not stop; it wrote:\n{self.text()[-8000:]}") from error
        finally:
            self.process.kill()


@pytest.fixture(name="put_version", scope="session")
def _put_version():
    return put_version


def _starting():
    servers = []

    def start(folder, *arguments, **options):
        servers.append(Served(folder, *arguments, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


# (folder, *arguments, program=) to a `Served` that is stopped after the test
serve = pytest.fixture(_starting, name="serve")
start_server = pytest.fixture(_starting, name="start_server", scope="module")  # or after the tests of the file


@pytest.fixture(scope="session")
def probunet():
    """Runs the command in a process of its own; its standard output."""
    def run(*arguments):
        return subprocess.run([*PROBUNET, *arguments], capture_output=True, text=True, check=True).stdout

    return run


@pytest.fixture(scope="module")
def served(tmp_path_factory, two_versions):
    """A server of tiny/1 for tests that do not change its folder."""
    folder = tmp_path_factory.mktemp("served") / "saved_models"
    put_version(two_versions[0] / "tiny" / "1", folder / "tiny" / "1")
    server = Served(folder)
    yield server
    assert server.stop() == 0, server.text()[-4000:]
