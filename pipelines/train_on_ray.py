"""`probunet train` by several workers of a Ray cluster, started again by Ray when one of them is lost.

    python -m tf_probunet.pipelines.train_on_ray --num_workers 4 --gpus 1 --storage /shared/ray -- \
        --data /shared/lidc --preset lidc_paper --run /shared/runs/lidc

What follows `--` are flags of `probunet train`. All workers must see dataset, run folder and storage under these names.
Ray Train gives each worker its `TF_CONFIG`, by which they find each other. Needs tf_probunet[ray-train].
"""

import os

from absl import app, flags

FLAGS = flags.FLAGS


def define_flags():
    flags.DEFINE_integer("num_workers", 2, "processes that share every batch", lower_bound=1)
    flags.DEFINE_float("cpus", 1, "cores of each", lower_bound=0)
    flags.DEFINE_float("gpus", 0, "GPUs of each", lower_bound=0)
    flags.DEFINE_integer("max_failures", 100, "how often lost workers are replaced", lower_bound=0)
    flags.DEFINE_string("storage", None, "folder that all workers see, for what Ray keeps of this training",
                        required=True)


def one_worker(config):
    """What each worker does: `probunet train`, which goes on where an earlier group of workers came to."""
    from tf_probunet.cli.main import main

    # TensorFlow would start a thread for each core of the machine.
    os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = str(max(1, int(config["cpus"])))
    status = main(["train", *config["arguments"], "--resume_if_started"])
    if status:
        raise RuntimeError(f"probunet train ended with status {status}; the worker's own output says why.")


def train_on_ray(arguments, *, num_workers, cpus=1, gpus=0, storage, max_failures=100):
    """Runs `probunet train` on a Ray cluster, this machine's own if no other is named by RAY_ADDRESS.

    Args:
        arguments: flags of `probunet train`.
        num_workers, cpus, gpus: processes, and what each needs.
        storage: folder that all workers see.
        max_failures: how often a lost worker may be replaced.
    Raises:
        ImportError: Ray Train is not installed.
        RuntimeError: the training has failed; the cause is Ray's own error.
    """
    try:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.tensorflow import TensorflowTrainer
    except ImportError as error:
        raise ImportError(f"Training on Ray needs more than is installed ({error}): "
                          "pip install 'tf_probunet[ray-train]'.") from error
    resources = {"CPU": cpus, **({"GPU": gpus} if gpus else {})}
    trainer = TensorflowTrainer(
        one_worker, train_loop_config={"arguments": list(arguments), "cpus": cpus},
        scaling_config=ScalingConfig(num_workers=num_workers, use_gpu=bool(gpus), resources_per_worker=resources),
        run_config=RunConfig(storage_path=os.path.abspath(storage), failure_config=FailureConfig(max_failures)),
    )
    trainer.fit()


def main(arguments):
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    train_on_ray(arguments[1:], num_workers=FLAGS.num_workers, cpus=FLAGS.cpus, gpus=FLAGS.gpus, storage=FLAGS.storage,
                 max_failures=FLAGS.max_failures)


if __name__ == "__main__":
    define_flags()
    app.run(main)
