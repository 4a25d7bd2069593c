"""Which numbers the nets compute in: what `precision="auto"` means on this machine."""

import tensorflow as tf

from tf_probunet.experiment import PRECISIONS

# Flags of processors that multiply bfloat16 at full rate; others emulate it and are slower than in float32.
CPU_FLAGS = ("avx512_bf16", "amx_bf16")
LEAST_GPU = (8, 0)  # compute capability from which on GPUs have it


def resolve_precision(precision: str) -> str:
    """"float32" or "mixed_bfloat16": as asked, or for "auto" what this machine has.

    Variables, Gaussian nets' heads, KL divergence and cross-entropy are float32 in either.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}. Received: {precision!r}.")
    if precision != "auto":
        return precision
    gpus = tf.config.list_physical_devices("GPU")
    has_bfloat16 = all(_gpu_has_bfloat16(gpu) for gpu in gpus) if gpus else _cpu_has_bfloat16()
    return "mixed_bfloat16" if has_bfloat16 else "float32"


def _gpu_has_bfloat16(gpu):
    return tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0)) >= LEAST_GPU


def _cpu_has_bfloat16(path="/proc/cpuinfo"):
    try:
        with open(path, encoding="utf-8") as file:
            flags = next((line for line in file if line.startswith(("flags", "Features"))), "")
    except OSError:  # no Linux: nothing is known
        return False
    words = flags.split()
    return any(flag in words for flag in (*CPU_FLAGS, "bf16"))  # the last: Arm's name
