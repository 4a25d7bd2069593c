"""What went wrong, in one vocabulary: gRPC's canonical codes, and the HTTP status that stands for each over REST.

The table is that of TensorFlow Serving's REST front (model_servers/http_server.cc, ToHTTPStatusCode), so that a client
reads our servers and TensorFlow Serving alike. Plain names: nothing here needs gRPC.
"""

HTTP_STATUS = {
    "OK": 200,
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}

# Where several codes share a status, the one that a caller should read it as; and what proxies say on their own.
_CODES = {
    **{status: code for code, status in reversed(HTTP_STATUS.items())},
    400: "INVALID_ARGUMENT",
    405: "UNIMPLEMENTED",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",  # the body is too large: not RESOURCE_EXHAUSTED, which is worth another try
    500: "INTERNAL",
    502: "UNAVAILABLE",
}


def code_of_http(status: int) -> str:
    """The canonical code that an HTTP status stands for; "UNKNOWN" for one that no server of models gives.

    Args:
        status: of the reply, such as 404.
    Returns:
        a key of `HTTP_STATUS`.

    Example:
        >>> code_of_http(404), code_of_http(502), code_of_http(302)
        ('NOT_FOUND', 'UNAVAILABLE', 'UNKNOWN')
    """
    return _CODES.get(status, "UNKNOWN")
