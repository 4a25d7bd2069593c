"""Where a server is, and the certificates by which client and server know each other."""

import dataclasses
import os
import re
import ssl
from pathlib import Path

_ADDRESS = re.compile(r"(?P<host>[^\s/:\[\]]+|\[[0-9A-Fa-f:.%]+\]):(?P<port>\d{1,5})")


def parse_address(address: str) -> tuple[str, int]:
    """Splits HOST:PORT; an IPv6 host stands in brackets, and keeps them.

    Returns:
        host and port.
    Raises:
        ValueError: it is something else.

    Example:
        >>> parse_address("gpu1.clinic:8500"), parse_address("[::1]:8501")
        (('gpu1.clinic', 8500), ('[::1]', 8501))
    """
    found = _ADDRESS.fullmatch(address) if isinstance(address, str) else None
    if not found or not 0 < int(found["port"]) < 65536:
        raise ValueError(
            f"A server's address is HOST:PORT, such as localhost:8500 or [::1]:8500, without http://. Received: "
            f"{address!r}. TensorFlow Serving listens for gRPC on 8500 and for REST on 8501."
        )
    return found["host"], int(found["port"])


@dataclasses.dataclass(frozen=True)
class Tls:
    """Files for an encrypted connection, all in PEM.

    Attributes:
        root_certificates: of the authorities that may have signed the server's certificate; if not given, for REST
            the system's, for gRPC those that it brings.
        certificate, key: who this client is, for servers that ask (mutual TLS); both or none.
    """

    root_certificates: str | os.PathLike | None = None
    certificate: str | os.PathLike | None = None
    key: str | os.PathLike | None = None

    def __post_init__(self):
        if (self.certificate is None) != (self.key is None):
            given, missing = ("certificate", "key") if self.key is None else ("key", "certificate")
            raise ValueError(f"Mutual TLS needs both certificate and key. Received only: {given}. Give {missing} too.")
        for field in dataclasses.fields(self):
            path = getattr(self, field.name)
            if path is not None and not Path(path).is_file():
                raise FileNotFoundError(f"No such file: {path}. Expected {field.name} as a PEM file.")

    def read(self) -> dict:
        """What `grpc.ssl_channel_credentials` takes."""
        def read(path):
            return None if path is None else Path(path).read_bytes()

        return {"root_certificates": read(self.root_certificates), "private_key": read(self.key),
                "certificate_chain": read(self.certificate)}

    def context(self) -> ssl.SSLContext:
        """What HTTP libraries take; raises a `ValueError` for files that are no certificates."""
        try:
            context = ssl.create_default_context(cafile=self.root_certificates)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except ssl.SSLError as error:
            raise ValueError(
                f"Certificates cannot be read ({error}). Expected PEM files, the key being that of the certificate. "
                f"Received: {self}."
            ) from error
        return context
