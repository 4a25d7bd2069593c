"""Models behind servers in this process, and clients of both kinds and protocols that are connected to them.

A test file that defines `addresses` itself connects the same clients to another server.
"""

import contextlib

import grpc_server
import numpy as np
import pytest
import rest_server
from client_contract import KINDS, LIDC
from servables import Model, Servables

from tf_probunet.export.exported import ExportedModel


def negated(_, outputs):
    """Version 2: every output has the other sign, so that no mixture of versions goes unseen."""
    return {name: -value if value.dtype == np.float32 else value for name, value in outputs.items()}


@pytest.fixture(scope="module")
def versions():
    return {1: Model(LIDC), 2: Model(LIDC, negated)}


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """A version, untrained, whose features are float16."""
    from tf_probunet.export.saved_model import export
    from tf_probunet.models import ProbabilisticUNet

    tiny = ProbabilisticUNet(num_classes=2, channels=(4, 8), latent_dim=3, combiner_channels=(8, 8))
    return export(tiny, tmp_path_factory.mktemp("half") / "lidc", check_size=(16, 16), half_features=True)


@pytest.fixture
def servables(versions):
    return Servables("lidc", {1: versions[1]}, {"stable": 1})


@pytest.fixture
def addresses(servables):
    with grpc_server.serving(servables) as grpc_address, rest_server.serving(servables) as rest_address:
        yield {"grpc": grpc_address, "rest": rest_address}


@pytest.fixture(scope="session")
def model():
    """The same version in this process."""
    return ExportedModel(LIDC)


@pytest.fixture(params=["grpc", "rest"])
def protocol(request):
    return request.param


@pytest.fixture(params=list(KINDS))
def connect(request, addresses, protocol):
    """A function (**options) that connects to the server; connections end with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda name="lidc", **options: stack.enter_context(
            KINDS[request.param](addresses[protocol], name, protocol=protocol, **options))
