"""Certificates of a server: TLS, and mutual TLS where clients must show theirs."""

import dataclasses
import ssl
from pathlib import Path

import grpc


@dataclasses.dataclass(frozen=True)
class ServerTls:
    """PEM files of a server.

    Args:
        certificate, key: of the server, the certificate with its chain.
        client_ca: that has signed the certificates of clients; given, others are refused (mutual TLS).
    Raises:
        ValueError: a certificate without key, or the other way round.
        OSError: a file is missing, or certificate and key do not fit each other.
    """

    certificate: str
    key: str
    client_ca: str | None = None

    def __post_init__(self):
        if not self.certificate or not self.key:
            raise ValueError("TLS needs a certificate and its key. Received only one of them: give --tls_certificate "
                             "and --tls_key.")
        for path in (self.certificate, self.key, self.client_ca):
            if path and not Path(path).is_file():
                raise FileNotFoundError(f"{path} is not there. Expected a PEM file.")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.key)
            if self.client_ca:
                context.load_verify_locations(self.client_ca)
        except ssl.SSLError as error:
            raise OSError(f"{self.certificate}, {self.key}{self.client_ca and f', {self.client_ca}' or ''}: no PEM "
                          f"files, or the key is of another certificate ({error.reason or error}).") from error

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """For a port of a gRPC server."""
        read = [Path(path).read_bytes() if path else None for path in (self.key, self.certificate, self.client_ca)]
        return grpc.ssl_server_credentials([(read[0], read[1])], read[2],
                                           require_client_auth=self.client_ca is not None)

    def uvicorn_arguments(self) -> dict:
        """For `uvicorn.Config`."""
        return {
            "ssl_certfile": self.certificate, "ssl_keyfile": self.key, "ssl_ca_certs": self.client_ca,
            "ssl_cert_reqs": ssl.CERT_REQUIRED if self.client_ca else ssl.CERT_NONE,
        }
