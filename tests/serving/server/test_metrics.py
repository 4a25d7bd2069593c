"""Figures of several processes are told together; what a killed one had in flight is forgotten."""

import subprocess
import sys

PROCESS = """
import os, sys
from tf_probunet.serving.server.metrics import Metrics
metrics = Metrics()
metrics.in_flight.inc(3)
metrics.observe("grpc", "Predict", "OK", 0.03, 10, 20, {"model": "lung", "version": "1", "signature": "trunk"})
print(metrics.text().decode(), flush=True)
os._exit(0)
"""


def test_counters_add_up_and_gauges_are_of_the_living(tmp_path):
    texts = [subprocess.run([sys.executable, "-c", PROCESS], env={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
                            capture_output=True, text=True, check=True).stdout for _ in range(3)]
    assert 'tf_probunet_requests_total{code="OK",method="Predict",protocol="grpc"} 3.0' in texts[2]
    assert 'tf_probunet_bytes_total{direction="reply",protocol="grpc"} 60.0' in texts[2]
    assert 'le="0.05",method="Predict",model="lung",protocol="grpc",signature="trunk",version="1"} 3.0' in texts[2]
    assert "tf_probunet_requests_in_flight 3.0" in texts[2]
