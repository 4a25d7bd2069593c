"""What both contestants share: the network's numbers, the images, and how a case is measured in a process of its own.

Imports numpy alone, since the two run in environments that have little else in common.
"""

import json
import math
import resource
import sys
import time

import numpy as np

NUM_CLASSES = 2
CHANNELS = (32, 64, 128, 192)
NUM_CONVS = 3
LATENT_DIM = 6
COMBINER_CHANNELS = (32, 32, 32)  # and the logits: four 1x1 convolutions
LEARNING_RATE = 1e-4


def batches(batch: int, size: int) -> list:
    """Two batches of noise with a brighter disc, and the disc as segmentation.

    Args:
        batch: B.
        size: height and width.
    Returns:
        list of (images [B, H, W, 1] float32, segmentations [B, H, W] int32).
    """
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:size, :size] / size
    made = []
    for _ in range(2):
        centers, radii = rng.uniform(0.3, 0.7, (batch, 2, 1, 1)), rng.uniform(0.1, 0.3, (batch, 1, 1))
        discs = np.hypot(rows - centers[:, 0], columns - centers[:, 1]) < radii  # [B, H, W]
        images = 0.5 * rng.random((batch, size, size)) + 0.5 * discs
        made.append((images[..., None].astype(np.float32), discs.astype(np.int32)))
    return made


def measure(make_contestant) -> None:
    """Measures the case that the command line names, and prints what was found as the last line.

    Args:
        make_contestant: called with the case (a dict); returns an object with `train_step(index)`, which returns the
            loss, `ways()`, functions of the number of samples by name, `parameters()` and `versions()`.
    """
    imported = time.time()
    case = json.loads(sys.argv[1])
    contestant = make_contestant(case)
    kind = {"training": training, "sampling": sampling}[case["kind"]]
    found = kind(contestant, case, imported)
    print(json.dumps({**found, "parameters": contestant.parameters(), "versions": contestant.versions()}))


def training(contestant, case, imported):
    """Seconds to the first step, seconds of each step after the warm-up, peak memory."""
    losses = [contestant.train_step(0)]
    first = time.time()
    seconds = []
    for index in range(1, 1 + case["warm_up"] + case["repeats"]):
        start = time.perf_counter()
        losses.append(contestant.train_step(index))
        if index > case["warm_up"]:
            seconds.append(time.perf_counter() - start)
    if not all(math.isfinite(loss) for loss in losses):
        raise FloatingPointError(
            f"Losses must be finite, or other work is timed than training. Received: {losses}. Lower LEARNING_RATE."
        )
    return {
        "step_seconds": seconds,
        "first_step_seconds": first - case["started"],
        "first_step_seconds_without_imports": first - imported,
        "peak_memory_mib": peak_memory_mib(),
    }


def sampling(contestant, case, imported):
    """Milliseconds of so many samples of one image, for each way of drawing them and each number of samples.

    The memory is that of the first number: what comes after may need more.
    """
    milliseconds, memory = {way: {} for way in contestant.ways()}, None
    for count in case["num_samples"]:
        for way, draw in contestant.ways().items():
            times = []
            for index in range(case["warm_up"] + case["repeats"]):
                start = time.perf_counter()
                draw(count)
                if index >= case["warm_up"]:
                    times.append(1e3 * (time.perf_counter() - start))
            milliseconds[way][str(count)] = times
        memory = memory or peak_memory_mib()
    return {"milliseconds": milliseconds, "peak_memory_mib": memory}


def peak_memory_mib() -> float:
    """The most memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
