"""A model behind TensorFlow Serving's protocol: the same features and noise, and what happens when it goes."""

import contextlib
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "serving"))  # a server of the tests

import grpc_server  # noqa: E402
from servables import Model, Servables  # noqa: E402

from tf_probunet.explore.combiner_file import ConvertedCombiner  # noqa: E402
from tf_probunet.explore.models import RemoteModel  # noqa: E402
from tf_probunet.explore.payload import unpack  # noqa: E402
from tf_probunet.explore.session import Session  # noqa: E402
from tf_probunet.serving import Client, ServingError  # noqa: E402


@pytest.fixture
def servables(lidc):
    return Servables("lidc", {1: Model(lidc.folder)})


@pytest.fixture
def request_client():
    """A function: address -> a client that is closed after the test."""
    with contextlib.ExitStack() as stack:
        yield lambda address: stack.enter_context(Client(address, "lidc", timeout=5))


def test_a_served_model_gives_what_the_saved_model_gives(servables, lidc, phantom_session, request_client):
    with contextlib.ExitStack() as server:
        address = server.enter_context(grpc_server.serving(servables))
        client = request_client(address)
        remote = RemoteModel(client, lidc)
        assert remote.title == f"lidc version 1 at {address}" and remote.trained_size == (64, 64)
        assert remote.fingerprint == phantom_session.model.fingerprint and remote.classes == ["background", "lesion"]
        session = Session(remote, ConvertedCombiner(lidc), phantom_session.cases)
        (_, found), (_, expected) = unpack(session.image(0)), unpack(phantom_session.image(0))
        assert found.keys() == expected.keys()
        for name in found:
            np.testing.assert_allclose(found[name], expected[name], atol=1e-5, err_msg=name)
        remote.check_alive()
        alone = RemoteModel(client)
        assert (alone.classes, alone.fingerprint, alone.trained_size, alone.num_classes) == (None, None, None, 2)
        assert Session(alone, ConvertedCombiner(lidc), phantom_session.cases).describe()["classes"] == [
            "background", "foreground"]
        servables.versions.clear()
        with pytest.raises(ServingError, match="NOT_FOUND"):
            session.image(0)
        server.close()
        with pytest.raises(ServingError):
            remote.check_alive()


def test_another_models_folder_is_told_at_once(servables, lidc):
    class Other:
        folder, num_classes, config = "saved_models/other", 3, {"latent_dim": 6, "image_channels": 1}

    with (grpc_server.serving(servables) as address, Client(address, "lidc", timeout=5) as client,
          pytest.raises(ValueError, match="saved_models/other is not the model that .* serves: it has 3 classes")):
        RemoteModel(client, Other())
