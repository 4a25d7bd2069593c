"""What tests of the page share: the reference model, rendered CT, sessions, and servers of sessions in this process."""

import contextlib
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tf_probunet.data.dataset import load_info
from tf_probunet.explore.cases import DatasetCases
from tf_probunet.explore.combiner_file import ConvertedCombiner
from tf_probunet.explore.models import LocalModel
from tf_probunet.explore.run import make_server
from tf_probunet.explore.session import Session
from tf_probunet.quiet import native_stderr

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def lidc():
    """The reference model, in this process."""
    from tf_probunet.export.exported import ExportedModel

    return ExportedModel(ROOT / "saved_models" / "lidc")


@pytest.fixture(scope="session")
def phantom_folder(tmp_path_factory):
    """Three rendered images of 128x128 with real outlines and pixel spacing in split val. Not to be changed."""
    from tf_probunet.data.phantom import prepare_phantom

    folder = tmp_path_factory.mktemp("phantom") / "data"
    prepare_phantom(folder, num_train=1, num_val=3)
    return folder


@pytest.fixture(scope="session")
def phantom_session(lidc, phantom_folder):
    """The reference model over the middle of the rendered images."""
    return Session(LocalModel(lidc), ConvertedCombiner(lidc), DatasetCases(load_info(phantom_folder), "val", (64, 64)))


class Served:
    """A session behind a server in a thread."""

    def __init__(self, session):
        self.session = session
        self._server, self._listener, self.address = make_server(session)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listener]}, daemon=True)
        self._thread.start()
        end = time.monotonic() + 30
        while not self._server.started:
            assert time.monotonic() < end, "the server did not start"
            time.sleep(0.01)

    def stop(self):
        """Ends it, open connections too."""
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(30)
        self._listener.close()


@pytest.fixture
def serve_session():
    """A function: session -> `Served`, stopped after the test."""
    with contextlib.ExitStack() as stack:
        def serve(session):
            served = Served(session)
            stack.callback(served.stop)
            return served

        yield serve


@pytest.fixture(scope="session")
def phantom_page(phantom_session):
    """`phantom_session` behind a server, for tests that leave it alone."""
    served = Served(phantom_session)
    yield served
    served.stop()


@pytest.fixture(scope="session")
def combiner_of():
    """A function: sizes -> bytes of a combiner that no `probunet convert` made, of random weights."""
    def make(height, width, channels=32, latent_dim=6, num_classes=2, num_samples=1):
        weights = np.random.default_rng(0).normal(size=(1, 1, latent_dim + channels, channels)).astype(np.float32)

        def combiner(features, latents):
            hidden = tf.nn.relu(features + tf.nn.conv2d(latents, weights[:, :, :latent_dim], 1, "SAME"))
            return {"logits": tf.nn.conv2d(hidden, weights[:, :, latent_dim:, :num_classes], 1, "SAME")}

        module = tf.Module()
        module.combiner = tf.function(combiner).get_concrete_function(
            features=tf.TensorSpec((1, height, width, channels), name="features"),
            latents=tf.TensorSpec((num_samples, 1, 1, latent_dim), name="latents"))
        with tempfile.TemporaryDirectory() as folder, native_stderr():
            tf.saved_model.save(module, folder, signatures={"combiner": module.combiner})
            return tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["combiner"]).convert()

    return make


@pytest.fixture(scope="session")
def grey():
    """[64, 64] uint8: a bright disc on noise."""
    rows, columns = np.indices((64, 64))
    noise = np.random.default_rng(0).normal(60, 8, (64, 64))
    return np.clip(noise + 120 * ((rows - 30) ** 2 + (columns - 34) ** 2 < 60), 0, 255).astype(np.uint8)
