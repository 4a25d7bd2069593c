"""Our Probabilistic U-Net against lightning-uq-box's, side by side: `python benchmarks/peer/run.py --output FILE`.

The same network, images and threads; every measurement in a process of its own, the contestants in turn, round after
round. README.md beside this file says what is compared and what differs. Prints the record and its tables.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from absl import app, flags

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from environment import last_lines, peer_python  # noqa: E402
from peer_table import figures, markdown  # noqa: E402
from report import report  # noqa: E402

flags.DEFINE_string("peer_python", None, "interpreter of an environment with the peer; one is made if not given")
flags.DEFINE_bool("quick", False, "one small case of each kind, one round: does it run?")
flags.DEFINE_string("output", None, "JSON file for the figures")
FLAGS = flags.FLAGS

CONTESTANTS = {
    "ours, float32": dict(script="ours.py", precision="float32"),
    "peer, float32": dict(script="theirs.py", precision="float32"),
    "ours, mixed_bfloat16": dict(script="ours.py", precision="mixed_bfloat16"),
    "peer, bfloat16 autocast": dict(script="theirs.py", precision="autocast"),
    "peer, bfloat16 autocast, channels last": dict(script="theirs.py", precision="autocast", channels_last=True),
}
AS_THEY_COME = list(CONTESTANTS)[:3]  # the peer runs in float32 unless its user says otherwise


def training(batch, size, rounds, repeats, contestants=AS_THEY_COME):
    return dict(kind="training", batch=batch, size=size, warm_up=1, repeats=repeats, rounds=rounds,
                contestants=list(contestants))


def sampling(size, rounds, num_samples, contestants=AS_THEY_COME, repeats=15):
    return dict(kind="sampling", batch=1, size=size, num_samples=num_samples, warm_up=3, repeats=repeats,
                rounds=rounds, contestants=list(contestants))


FULL = [
    training(12, 128, rounds=3, repeats=6, contestants=CONTESTANTS),
    sampling(128, rounds=3, num_samples=[16, 1, 64], contestants=CONTESTANTS),
    *(training(batch, 128, rounds=2, repeats=repeats) for batch, repeats in ((1, 20), (4, 10), (32, 3))),
    *(training(4, size, rounds=2, repeats=repeats) for size, repeats in ((64, 20), (256, 4))),
    *(sampling(size, rounds=2, num_samples=[16]) for size in (64, 256)),
]
QUICK = [
    training(2, 64, rounds=1, repeats=2),
    sampling(64, rounds=1, num_samples=[16], repeats=3),
]


def play(case, contestant, python, threads):
    """What one contestant measured of one case, in a process of its own.

    Raises:
        RuntimeError: the process failed.
    """
    options = dict(CONTESTANTS[contestant])
    script = HERE / options.pop("script")
    asked = {**case, **options, "threads": threads, "started": time.time()}
    result = subprocess.run([python[script.name], str(script), json.dumps(asked)], capture_output=True, text=True)
    if result.returncode:
        killed = " Signal 9 is how a system short of memory ends a process." if result.returncode == -9 else ""
        raise RuntimeError(
            f"{contestant}: {case['kind']} of {case['batch']} images of {case['size']}x{case['size']} failed. Expected "
            f"exit code 0 of {script.name}. Received {result.returncode}, after:\n{last_lines(result.stderr)}\n"
            f"Where packages are missing, leave out --peer_python; where memory is, end what else runs.{killed}"
        )
    return json.loads(result.stdout.splitlines()[-1])


def play_all(cases, python, threads):
    """Every case as often as it has rounds, the contestants in turn; a list of what was found, in that order."""
    turns = [
        (case, contestant)
        for round_index in range(max(case["rounds"] for case in cases))
        for case in cases if round_index < case["rounds"]
        for contestant in case["contestants"]
    ]
    played, start = [], time.time()
    for index, (case, contestant) in enumerate(turns):
        found = play(case, contestant, python, threads)
        played.append({"case": case, "contestant": contestant, "found": found})
        print(f"{index + 1} of {len(turns)}, {(time.time() - start) / 60:.1f} minutes: {case['kind']}, batch "
              f"{case['batch']}, {case['size']}x{case['size']}, {contestant}", file=sys.stderr, flush=True)
    return played


def machine():
    """What the figures depend on, and whether anything else was running."""
    facts = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    lines = dict(line.split(":", 1) for line in facts.splitlines() if ":" in line)
    lines = {name.strip(): value.strip() for name, value in lines.items()}
    known = lines.get("flags", "").split()
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": lines.get("model name", "unknown"),
        "instructions": [name for name in ("avx512f", "avx512_bf16", "amx_bf16") if name in known],
        "load_before": os.getloadavg()[0],
    }


def processor_seconds():
    """Those of the whole machine since it started, what other machines on its processor took included; and our own."""
    names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
    ticks = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:]
    spent = dict(zip(names, map(int, ticks)))
    everyone = sum(spent.values()) - spent["idle"] - spent["iowait"]
    return everyone / os.sysconf("SC_CLK_TCK"), sum(os.times()[:4])


def main(_):
    python = {"ours.py": sys.executable, "theirs.py": FLAGS.peer_python or peer_python()}
    facts = machine()
    start, (everyone, own) = time.time(), processor_seconds()
    played = play_all(QUICK if FLAGS.quick else FULL, python, facts["cores"])
    seconds, (everyone_now, own_now) = time.time() - start, processor_seconds()
    others = max(0.0, (everyone_now - everyone) - (own_now - own)) / (seconds * facts["cores"])
    found = {**facts, "quick": FLAGS.quick, "minutes": seconds / 60, "processor_taken_by_others": others,
             **figures(played)}
    report(found, FLAGS.output)
    print(markdown(found))
    if others > 0.05:
        # PyTorch's threads wait for each other in a loop: who shares a core with them stops both.
        print(f"\nDo not keep these figures: other programs should take below 5 % of the processor. They took "
              f"{others:.0%}, which slows the peer several times more than ours. End them and measure again.",
              file=sys.stderr)


if __name__ == "__main__":
    app.run(main)
