"""What a server counts and times, in Prometheus's format."""

import os
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
SHARED = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's own; set before it is imported


class Metrics:
    """Counters of one process, or of all that share the folder which the environment names.

    Model, version and signature are those of requests that were answered: no caller can make up new ones and fill the
    memory.
    """

    def __init__(self):
        _forget_the_dead()
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("tf_probunet_requests", "Requests by outcome", ["protocol", "method", "code"],
                                registry=registry)
        self.seconds = Histogram("tf_probunet_request_seconds", "From the whole request to the whole reply",
                                 ["protocol", "method", "model", "version", "signature"], buckets=SECONDS,
                                 registry=registry)
        self.bytes = Counter("tf_probunet_bytes", "Of requests and replies", ["protocol", "direction"],
                             registry=registry)
        self.in_flight = Gauge("tf_probunet_requests_in_flight", "Requests that wait for their reply",
                               registry=registry, multiprocess_mode="livesum")

    def observe(self, protocol, method, code, seconds, request_bytes, reply_bytes, facts) -> None:
        """Counts a request that came to its end."""
        self.requests.labels(protocol, method, code).inc()
        self.bytes.labels(protocol, "request").inc(request_bytes)
        self.bytes.labels(protocol, "reply").inc(reply_bytes)
        if code == "OK":
            labels = [facts.get(name, "") for name in ("model", "version", "signature")]
            self.seconds.labels(protocol, method, *labels).observe(seconds)

    def text(self) -> bytes:
        """As Prometheus scrapes it."""
        if SHARED not in os.environ:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        return generate_latest(registry)


def _forget_the_dead():
    """A process that was killed has no requests in flight any more."""
    for path in Path(os.environ.get(SHARED, os.devnull)).glob("gauge_live*_*.db"):
        pid = path.stem.rsplit("_", 1)[1]
        if not Path(f"/proc/{pid}").exists():
            multiprocess.mark_process_dead(pid)
