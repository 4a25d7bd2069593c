"""Our contestant: `tf_probunet.models.ProbabilisticUNet`, trained and sampled as its user would. run.py starts it."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from measuring import (  # noqa: E402
    CHANNELS, COMBINER_CHANNELS, LATENT_DIM, LEARNING_RATE, NUM_CLASSES, NUM_CONVS, batches, measure,
)

from tf_probunet.models import ProbabilisticUNet  # noqa: E402


class Ours:
    """The model, compiled, and batches that are there already."""

    def __init__(self, case):
        tf.config.threading.set_intra_op_parallelism_threads(case["threads"])
        keras.utils.set_random_seed(0)
        self.model = make_model(case["precision"])
        self.model.compile(keras.optimizers.Adam(LEARNING_RATE))
        self.batches = [tuple(map(tf.constant, batch)) for batch in batches(case["batch"], case["size"])]

    def train_step(self, index):
        return float(self.model.train_on_batch(*self.batches[index % 2], return_dict=True)["loss"])

    def ways(self):
        image = self.batches[0][0][:1]
        return {"sample": lambda count: self.model.sample(image, num_samples=count)}

    def parameters(self):
        return parameters(self.model)

    def versions(self):
        return {"tensorflow": tf.__version__, "keras": keras.__version__, "numpy": np.__version__}


def make_model(precision="float32"):
    """The network that is compared."""
    return ProbabilisticUNet(
        num_classes=NUM_CLASSES, channels=CHANNELS, num_convs=NUM_CONVS, latent_dim=LATENT_DIM,
        combiner_channels=COMBINER_CHANNELS, dtype=precision,
    )


def parameters(model):
    """How many each part has."""
    parts = {"U-Net": model.unet, "prior": model.prior_net, "posterior": model.posterior_net, "f_comb": model.combiner}
    return {name: part.count_params() for name, part in parts.items()}


if __name__ == "__main__":
    measure(Ours)
