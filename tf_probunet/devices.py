"""The devices that train one model together: some of this machine, or those of the machines that `TF_CONFIG` names."""

import contextlib
import functools
import itertools
import re

import tensorflow as tf

from tf_probunet.tf_config import Cluster, read_tf_config

FAILED = -1


class Devices:
    """Where a model is trained. Each replica has an equal share of the rows of every batch, in their order.

    Args:
        strategy: of `tf.distribute`; None for one device.
        cluster: the processes, where there are several; process 0 is the chief, which alone writes the run and tells of
            it.
    """

    def __init__(self, strategy=None, cluster=Cluster(("here",), 0, ("",))):
        self.strategy, self.cluster = strategy, cluster

    @property
    def index(self) -> int:
        return self.cluster.index

    @property
    def chief(self) -> bool:
        return self.index == 0

    @property
    def num_processes(self) -> int:
        return len(self.cluster.addresses)

    @property
    def num_replicas(self) -> int:
        """Of all processes together."""
        return 1 if self.strategy is None else self.strategy.num_replicas_in_sync

    def words(self) -> str:
        """What is to be added to a line that tells of a training."""
        if self.num_processes > 1:
            return f", {self.num_replicas} replicas on {self.num_processes} processes"
        if self.num_replicas > 1:
            return f", {self.num_replicas} devices"
        return ", on a GPU" if tf.config.list_physical_devices("GPU") else ", on the CPU"

    def reporter(self, report):
        """The function to tell with: the chief's tells, those of other processes keep silent."""
        return report if self.chief else lambda line: None

    def scope(self):
        """Variables that are made within it are on all devices."""
        return contextlib.nullcontext() if self.strategy is None else self.strategy.scope()

    def check_batches(self, experiment) -> None:
        """Raises a `ValueError` unless the replicas can share every batch of an experiment equally."""
        counts = [count for _, count in experiment.crops]
        if any(count % self.num_replicas for count in counts):
            several = f", which makes batches of {', '.join(map(str, counts))} crops," if len(set(counts)) > 1 else ""
            raise ValueError(
                f"batch_size is that of all devices together, and their number must divide every batch. Received: "
                f"batch_size {experiment.batch_size}{several} for {self.num_replicas} devices. Set --batch_size "
                f"{self._next_batch_size(experiment)}, or train on a number of devices that divides them."
            )

    def _next_batch_size(self, experiment):
        for size in itertools.count(experiment.batch_size + 1):
            if not any(count % self.num_replicas for _, count in experiment.replace(batch_size=size).crops):
                return size

    def distribute(self, make):
        """A dataset for `fit` whose replicas get their rows of each batch.

        Args:
            make: function of `part` and `pieces`, as `tf_probunet.data.reading.training_dataset` takes them.
        """
        if self.strategy is None:
            return make((0, 1), 1)
        part, pieces = (self.index, self.num_processes), self.num_replicas // self.num_processes
        # By TensorFlow's contract the dataset holds one replica's batches, handed to the local ones in turn.
        return self.strategy.distribute_datasets_from_function(lambda _: make(part, pieces))

    def from_chief(self, function=lambda: 0) -> int:
        """What `function`, called by the chief alone, returns: on every process, which all wait for it here.

        Args:
            function: returns an integer of at least 0, or None for 0.
        Raises:
            what `function` raises, on the chief; ConnectionError on the others, which would wait for ever otherwise.
        """
        if self.num_processes == 1:
            return function() or 0
        value, error = 0, None
        if self.chief:
            try:
                value = function() or 0
            except Exception as raised:
                value, error = FAILED, raised
        value = self._sum(value)
        if error is not None:
            raise error
        if value == FAILED:
            raise ConnectionError(f"The chief, {self.cluster.addresses[0]}, has stopped: its own output says why.")
        return value

    def check_same(self, number: int, message: str) -> None:
        """Raises a `ValueError` with the message on every process, unless all have the chief's number."""
        other = number != self.from_chief(lambda: number)
        if self._sum(int(other)):
            raise ValueError(message)

    def _sum(self, number):
        """Sum over the processes."""
        if self.num_processes == 1:
            return number
        replicas = len(self.strategy.extended.worker_devices)  # of this process; each adds the number
        return int(self._summed(tf.constant(number, tf.int64))) // replicas

    @functools.cached_property
    def _summed(self):
        @tf.function
        def summed(number):
            found = self.strategy.run(tf.identity, args=(number,))
            return self.strategy.reduce(tf.distribute.ReduceOp.SUM, found, axis=None)

        return summed

    @contextlib.contextmanager
    def explain_loss(self):
        """Turns TensorFlow's errors about a process that is gone into one that says which, and what to do."""
        try:
            yield
        except tf.errors.OpError as error:
            if self.num_processes == 1 or isinstance(error, (tf.errors.InvalidArgumentError, tf.errors.DataLossError,
                                                             tf.errors.ResourceExhaustedError)):
                raise
            raise ConnectionError(
                f"{self._lost(str(error))} Nothing that the run's last checkpoint holds is lost: start the same "
                "command on every machine again, with --resume_if_started."
            ) from error

    def _lost(self, text):
        others = set(range(self.num_processes)) - {self.index}
        named = {place for place in others if re.search(rf"{re.escape(self.cluster.tasks[place])}(?!\d)", text)}
        named = named if len(named) == 1 else others
        names = ", ".join(f"{place} ({self.cluster.addresses[place]})" for place in sorted(named))
        return f"Lost {'process' if len(named) == 1 else 'one of processes'} {names} of this training."


def find_devices(asked=None, report=print) -> Devices:
    """The devices that are asked for.

    Args:
        asked: their number, as text or as an integer; "all"; or a list of TensorFlow's names, as ["GPU:0", "GPU:2"].
            GPUs where there are any, else the CPU, which is one device with all its cores. None: one; where `TF_CONFIG`
            names several machines, all GPUs of each. `Devices` are returned as they are.
        report: called with a line of text where others have to be waited for.
    Raises:
        ValueError: there are not as many, or `TF_CONFIG` does not fit.
    """
    if isinstance(asked, Devices):
        return asked
    cluster = read_tf_config()
    if cluster is not None:
        return _of_cluster(cluster, asked, report)
    if asked is None:
        return Devices()
    kind, there = _local_devices()
    first = there[0]  # which a model is on that is told nothing
    if isinstance(asked, (list, tuple)):
        names, there = list(asked), [*there, *(["CPU:0"] if kind == "GPU" else [])]
        missing = [name for name in names if name not in there]
        if missing or not names:
            raise ValueError(f"devices must be among those of this machine. Received: {names}. It has {there}.")
    else:
        number = len(there) if asked == "all" else _number(asked)
        if number > len(there):
            raise ValueError(
                f"--devices {number} are more than this machine has. Received: {number}; it has {len(there)} "
                f"{kind}. {_MORE[kind]}"
            )
        names = there[:number]
    return Devices() if names == [first] else Devices(_mirrored(tuple(names)))


_MORE = {
    "CPU": "Its cores work together as one device: train without --devices; or start one process for a share of the "
           "cores each, with TF_CONFIG (docs/devices.md).",
    "GPU": "Ask for no more, or train on several machines with TF_CONFIG (docs/devices.md).",
}


def _of_cluster(cluster, asked, report):
    """`MultiWorkerMirroredStrategy` takes the GPUs that it sees, or the CPU."""
    gpus = tf.config.list_physical_devices("GPU")
    if asked not in (None, "all"):
        number, most = _number(asked), max(1, len(gpus))
        if number > most:
            raise ValueError("--devices counts those of each machine where TF_CONFIG names several. Received: "
                             f"{number}; this machine has {most}. Ask for no more than each machine has.")
        tf.config.set_visible_devices(gpus[:number], "GPU")
    report(f"Process {cluster.index} of {len(cluster.addresses)}, waiting for the others. The chief, "
           f"{cluster.addresses[0]}, will tell how the training goes.")
    return Devices(_multi_worker(), cluster)


# One strategy a process: a second one would use the keys of the first one's exchanges again, and meet their shapes.


@functools.cache
def _mirrored(names):
    return tf.distribute.MirroredStrategy(names)


@functools.cache
def _multi_worker():
    return tf.distribute.MultiWorkerMirroredStrategy()


def _local_devices():
    for kind in ("GPU", "CPU"):
        names = [device.name.removeprefix("/device:") for device in tf.config.list_logical_devices(kind)]
        if names:
            return kind, names
    raise ValueError("TensorFlow finds no device on this machine, not even the CPU.")


def _number(asked):
    try:
        number = int(asked)
    except (TypeError, ValueError):
        number = 0
    if number < 1:
        raise ValueError(f"--devices must be a number of at least 1, or all. Received: {asked!r}.")
    return number
