"""The error of everything between a client and a server of models, and what to do about each kind."""

from tf_probunet.serving.status_codes import HTTP_STATUS


class ServingError(OSError):
    """A server of models could not be asked, or refused.

    Args:
        message: what went wrong, and what to do.
        code: canonical name of the kind, such as "NOT_FOUND": a key of `tf_probunet.serving.status_codes.HTTP_STATUS`.

    Example:
        >>> error = ServingError("No version 3.", "NOT_FOUND")
        >>> str(error), error.code, error.http_status
        ('No version 3.', 'NOT_FOUND', 404)
    """

    def __init__(self, message: str, code: str = "UNKNOWN"):
        if code not in HTTP_STATUS:
            raise ValueError(f"code must be one of {', '.join(HTTP_STATUS)}. Received: {code!r}.")
        super().__init__(message)
        self.code = code

    @property
    def http_status(self) -> int:
        """The HTTP status that stands for the code."""
        return HTTP_STATUS[self.code]


REMEDIES = {
    "UNAVAILABLE": "See that a server runs there and speaks this protocol: TensorFlow Serving listens for gRPC on "
                   "8500, for REST on 8501, and TLS must be on at both ends or at neither.",
    "DEADLINE_EXCEEDED": "Give a longer timeout, or ask for fewer images or samples at once.",
    "NOT_FOUND": "Ask status() which versions are served, and see that the model's name is right.",
    "RESOURCE_EXHAUSTED": "The server is busy: try again later, or allow more retries.",
    "FAILED_PRECONDITION": "See that the model was written by `probunet export`, and that its version is loaded.",
    "UNIMPLEMENTED": "See that what listens there is a server of models, and speaks this protocol (gRPC or REST).",
    "UNAUTHENTICATED": "See that the root certificates are those of the server's authority, that its certificate names "
                       "the host, and that yours is the one it asks for.",
    "PERMISSION_DENIED": "See that your certificate is one that the server admits.",
}
_TOO_LARGE = "Raise max_message_bytes, here and where the server has such a limit, or ask for less at once."


def failure(code: str, details: str, where: str) -> ServingError:
    """The error for what a server or the way to it said.

    Args:
        code: canonical name of the kind.
        details: the text that came with it.
        where: what was asked, such as "lidc at HOST:PORT".
    """
    if code == "UNAVAILABLE" and any(sign in details for sign in ("CERTIFICATE_VERIFY_FAILED", "handshake failed")):
        code = "UNAUTHENTICATED"  # gRPC's name for it would be tried again
    remedy = _TOO_LARGE if is_too_large(code, details) else REMEDIES.get(code, "")
    details = " ".join(details.split()) or "no details"
    return ServingError(f"{where}: {details.rstrip('.')} ({code}). {remedy}".rstrip(), code)


def is_too_large(code: str, details: str) -> bool:
    """Whether gRPC says that a message is larger than one end allows, which no further try changes."""
    return code == "RESOURCE_EXHAUSTED" and "larger than max" in details
