"""Whether a model file runs on this machine's GPU, all of it, and gives the CPU's numbers: in a process of its own.

    python -m tf_probunet.edge.gpu_check FILE      writes {"difference": ...} or {"why_not": ...}

A driver that meets an operation it cannot take may end its process; nobody else's work shall end with it.
"""

import json
import os
import subprocess
import sys

import numpy as np

from tf_probunet.edge.runtime import CompiledFile, NoGpuError
from tf_probunet.edge.tflite_file import TfliteFile


def check_on_gpu(path: str | os.PathLike, timeout: float = 300) -> dict:
    """Compiles a file for the GPU alone and compares one run with the CPU's.

    Args:
        path: the `.tflite` file.
        timeout: seconds; a software driver is slow.
    Returns:
        {"difference": largest difference of an output on GPU and CPU, absolute where it is small, else relative}, or
        {"why_not": why it does not run there, in words}.
    """
    command = [sys.executable, "-m", "tf_probunet.edge.gpu_check", os.fspath(path)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return {"why_not": f"the driver did not answer within {timeout:.0f} s"}
    answers = [line for line in result.stdout.splitlines() if line.startswith("{")]
    if result.returncode or not answers:
        last = (result.stderr.strip().splitlines() or ["nothing"])[-1]
        return {"why_not": f"its process ended with status {result.returncode} and said: {last}"}
    return json.loads(answers[-1])


def compare_gpu_with_cpu(content: bytes) -> dict:
    """As `check_on_gpu`, in this process."""
    try:
        gpu = CompiledFile(content, "gpu")
    except NoGpuError as error:
        return {"why_not": error.why}
    cpu = CompiledFile(content, "cpu")
    rng = np.random.default_rng(0)
    difference = 0.0
    inputs = {name: rng.standard_normal(cpu.shapes[name], np.float32) for name in cpu.input_names}
    for model in (gpu, cpu):
        model.write(**inputs)
    for expected, found in zip(cpu.run().values(), gpu.run().values(), strict=True):
        difference = max(difference, float(np.max(np.abs(found - expected) / (1 + np.abs(expected)))))
    return {"difference": difference}


if __name__ == "__main__":
    print(json.dumps(compare_gpu_with_cpu(TfliteFile(sys.argv[1]).content)))
