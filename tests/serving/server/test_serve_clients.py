"""Our clients against `probunet serve`: the contract that they keep with any server, and retries when replicas die."""

import os
import shutil
import signal
import threading

import numpy as np
import pytest
from client_contract import LIDC, ClientContract, example_images
from test_serve_changes import replicas_of

from tf_probunet.export.exported import ExportedModel
from tf_probunet.serving import Client


@pytest.fixture(scope="module")
def lidc(tmp_path_factory, start_server, probunet):
    """A server with two replicas of saved_models/lidc, labelled."""
    folder = tmp_path_factory.mktemp("lidc") / "saved_models"
    shutil.copytree(LIDC, folder / "lidc" / "1")
    probunet("versions", "label", f"--saved_models={folder}", "--model=lidc", "--label=stable")
    return start_server(folder, "--replicas", "2")


class TestClients(ClientContract):
    @pytest.fixture
    def addresses(self, lidc):
        return {"grpc": lidc.grpc, "rest": lidc.rest.removeprefix("http://")}


def test_what_a_killed_replica_held_comes_out_right_by_the_clients_retry(lidc):
    images, expected = example_images(1), ExportedModel(LIDC).sample(example_images(1), 4, (0, 7))
    errors, done, stop = [], [], threading.Event()

    def ask():
        with Client(lidc.grpc, "lidc") as client:
            while not stop.is_set():
                try:
                    found = client.sample(images, 4, (0, 7))
                    np.testing.assert_array_equal(found[0], expected[0])
                    np.testing.assert_allclose(found[1], expected[1], atol=1e-5)
                    done.append(1)
                except Exception as error:  # noqa: BLE001  told by the test
                    errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        before, count, loaded = replicas_of(lidc), len(done), lidc.text().count('"available"')
        assert len(before) == 2
        while len(done) < count + 50:
            assert not errors, errors
            stop.wait(0.05)
        os.kill(before[0], signal.SIGKILL)
        while lidc.text().count('"available"') == loaded:  # until another has taken its place
            stop.wait(0.2)
        stop.wait(3)
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
