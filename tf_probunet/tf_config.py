"""`TF_CONFIG`: the environment variable in which TensorFlow, Kubernetes and Ray name the machines of one training."""

import dataclasses
import json
import os

EXPECTED = ('Expected for instance TF_CONFIG=\'{"cluster": {"worker": ["host0:2222", "host1:2222"]}, '
            '"task": {"type": "worker", "index": 0}}\', the same cluster on every machine and an index of its own')


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The processes of one training and which of them this is; process 0 is the chief."""

    addresses: tuple[str, ...]
    index: int
    tasks: tuple[str, ...]  # of each address, as TensorFlow's messages name it


def read_tf_config(text: str | None = None) -> Cluster | None:
    """The cluster that `TF_CONFIG` names.

    Args:
        text: of the variable; taken from the environment if not given.
    Returns:
        the cluster; None where the variable is not set, or names one process alone.
    Raises:
        ValueError: it is no cluster of workers, or this process is not in it.
    """
    text = os.environ.get("TF_CONFIG", "") if text is None else text
    if not text.strip():
        return None
    try:
        content = json.loads(text)
        jobs, task = content.get("cluster", {}), content.get("task", {})
        jobs = {job: [str(address) for address in addresses] for job, addresses in jobs.items()}
        kind, index = task.get("type", "worker"), int(task.get("index", 0))
    except (AttributeError, TypeError, ValueError) as error:  # bad JSON is a ValueError
        raise _refused(f"it cannot be read, {error}", text) from error
    others = sorted(set(jobs) - {"chief", "worker"})
    if others:
        raise _refused(f"it has jobs other than chief and worker: {', '.join(others)}", text)
    if len(jobs.get("chief", [])) > 1:
        raise _refused(f"it has {len(jobs['chief'])} chiefs, one is the most", text)
    addresses = (*jobs.get("chief", ()), *jobs.get("worker", ()))
    if len(addresses) < 2:
        return None
    if len(set(addresses)) < len(addresses):
        raise _refused("an address comes twice", text)
    bad = [address for address in addresses if not _is_address(address)]
    if bad:
        raise _refused(f"{bad[0]!r} is no host:port", text)
    if not 0 <= index < len(jobs.get(kind, ())):
        raise _refused(f"task {kind} {index} is not in its cluster", text)
    tasks = [(job, place) for job in ("chief", "worker") for place in range(len(jobs.get(job, ())))]
    names = tuple(f"/job:{job}/replica:0/task:{place}" for job, place in tasks)
    return Cluster(addresses, tasks.index((kind, index)), names)


def _is_address(address):
    host, _, port = address.rpartition(":")
    return bool(host) and port.isdigit() and 0 < int(port) < 65536


def _refused(what, text):
    return ValueError(f"TF_CONFIG does not fit: {what}. Received: {text[:200]} {EXPECTED}; or unset it to train on "
                      "this machine alone.")
