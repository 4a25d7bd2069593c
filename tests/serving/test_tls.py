"""Encrypted connections, and clients that must say who they are, with certificates made here."""

import contextlib
import ssl

import grpc
import grpc_server
import pytest
import rest_server
import trustme
from client_contract import LIDC
from servables import Model, Servables

from tf_probunet.serving import Retries, ServingError, Tls


@pytest.fixture(scope="module")
def servables():
    return Servables("lidc", {1: Model(LIDC)})


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(params=[False, True], ids=["tls", "mutual"])
def mutual(request):
    return request.param


@pytest.fixture
def addresses(servables, authority, mutual):
    """Of servers that show a certificate, and where `mutual` ask for one."""
    identity = authority.issue_cert("localhost")
    key, chain = identity.private_key_pem.bytes(), b"".join(pem.bytes() for pem in identity.cert_chain_pems)
    root = authority.cert_pem.bytes()
    credentials = grpc.ssl_server_credentials([(key, chain)], root if mutual else None, require_client_auth=mutual)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    identity.configure_cert(context)
    if mutual:
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    with contextlib.ExitStack() as stack:
        yield {"grpc": stack.enter_context(grpc_server.serving(servables, credentials)),
               "rest": stack.enter_context(rest_server.serving(servables, context))}


@pytest.fixture
def files(authority, tmp_path):
    """Arguments of `Tls` for a client that the server knows."""
    identity = authority.issue_cert("client.example")
    paths = {"root_certificates": tmp_path / "root.pem", "certificate": tmp_path / "client.pem",
             "key": tmp_path / "client.key"}
    authority.cert_pem.write_to_path(paths["root_certificates"])
    identity.cert_chain_pems[0].write_to_path(paths["certificate"])
    identity.private_key_pem.write_to_path(paths["key"])
    return paths


def test_whoever_has_the_right_files_is_answered(connect, files, mutual):
    tls = Tls(**files) if mutual else Tls(files["root_certificates"])
    assert connect(tls=tls).status() == {1: "AVAILABLE"}


@pytest.mark.parametrize("mutual", [True], ids=["mutual"], indirect=True)
def test_whoever_shows_no_certificate_is_not(connect, files):
    with pytest.raises(ServingError) as raised:
        connect(tls=Tls(files["root_certificates"]), retries=Retries(1, first=0.01)).status()
    assert raised.value.code in ("UNAVAILABLE", "UNAUTHENTICATED")  # the connection ends without a word


@pytest.mark.parametrize("mutual", [False], ids=["tls"], indirect=True)
class TestOneSided:
    def test_a_server_of_another_authority_is_not_trusted_nor_tried_again(self, connect, tmp_path):
        trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
        with pytest.raises(ServingError, match="root certificates are those of the server's authority") as raised:
            connect(tls=Tls(tmp_path / "other.pem")).status()
        assert raised.value.code == "UNAUTHENTICATED" and "Tried" not in str(raised.value)

    def test_without_tls_there_is_no_answer(self, connect):
        with pytest.raises(ServingError, match="TLS must be on at both ends") as raised:
            connect(retries=0).status()
        assert raised.value.code == "UNAVAILABLE"


class TestFiles:
    def test_that_are_missing(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="none.pem. Expected root_certificates as a PEM file"):
            Tls(tmp_path / "none.pem")

    def test_of_which_one_half_is_given(self, files):
        with pytest.raises(ValueError, match="Received only: certificate. Give key too"):
            Tls(certificate=files["certificate"])
        with pytest.raises(ValueError, match="Received only: key. Give certificate too"):
            Tls(key=files["key"])

    def test_that_do_not_belong_together(self, authority, files, tmp_path):
        authority.issue_cert("other.example").private_key_pem.write_to_path(tmp_path / "other.key")
        with pytest.raises(ValueError, match="the key being that of the certificate"):
            Tls(files["root_certificates"], files["certificate"], tmp_path / "other.key").context()
