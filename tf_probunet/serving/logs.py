"""Log lines in JSON, one an event: what was asked, of which model, with which outcome; no pixels, no names of files."""

import json
import logging
import logging.handlers
import socket
import sys
import time

FIELDS = ("model", "version", "signature", "protocol", "method", "code", "milliseconds", "request_bytes",
          "reply_bytes", "replicas", "grpc", "rest")


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time, level, event, and those of `FIELDS` that it has."""

    def format(self, record):
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{record.msecs:03.0f}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in FIELDS if getattr(record, name, None) is not None}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class _Datagrams(logging.Handler):
    """Sends lines to a Unix datagram socket; never waits for who reads them."""

    def __init__(self, address):
        super().__init__()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.address = address

    def emit(self, record):
        try:
            self.socket.sendto(self.format(record).encode(), self.address)
        except OSError:  # nobody reads, or not fast enough: requests matter more
            pass


def log_to(logger: logging.Logger, address: str | None = None) -> None:
    """Makes a logger write JSON lines, to a Unix datagram socket or to standard error."""
    handler = _Datagrams(address) if address else logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
