"""The peer: lightning-uq-box's `ProbUNet`, in an environment of its own. run.py starts it."""

from functools import partial

import numpy as np
import torch
from measuring import (
    CHANNELS, COMBINER_CHANNELS, LATENT_DIM, LEARNING_RATE, NUM_CLASSES, NUM_CONVS, batches, measure,
)
from plain_unet import PlainUNet

try:
    import torchvision  # noqa: F401
except RuntimeError:
    # Built for CUDA beside a torch that is not, it finds no operators of its own. The peer needs none of them, only
    # an import that goes through.
    for operator in ("nms", "qnms"):
        torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float threshold) -> Tensor")

import lightning  # noqa: E402
import lightning_uq_box  # noqa: E402
from lightning_uq_box.uq_methods import ProbUNet  # noqa: E402


class Theirs:
    """The module with its own optimizer, and batches that are there already.

    A bare loop over the module's `training_step`, without Lightning's Trainer, which would add to each step.
    """

    def __init__(self, case):
        torch.set_num_threads(case["threads"])
        torch.manual_seed(0)
        self.module = ProbUNet(
            PlainUNet(CHANNELS, NUM_CONVS, NUM_CLASSES), latent_dim=LATENT_DIM, num_filters=list(CHANNELS),
            num_convs_per_block=NUM_CONVS, num_convs_fcomb=len(COMBINER_CHANNELS) + 1,
            fcomb_filter_size=COMBINER_CHANNELS[0], optimizer=partial(torch.optim.Adam, lr=LEARNING_RATE),
        )
        layout = torch.channels_last if case.get("channels_last") else torch.contiguous_format
        self.module.to(memory_format=layout)
        self.optimizer = self.module.configure_optimizers()["optimizer"]
        self.precision = partial(torch.autocast, "cpu", torch.bfloat16, enabled=case["precision"] == "autocast")
        self.batches = [
            {
                "input": torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=layout),
                "target": torch.from_numpy(segmentations).long(),
            }
            for images, segmentations in batches(case["batch"], case["size"])
        ]

    def train_step(self, index):
        with self.precision():
            loss = self.module.training_step(self.batches[index % 2], index)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def ways(self):
        self.module.eval()
        return {"predict_step": self.predict_step, "samples alone": self.samples_alone}

    @torch.inference_mode()
    def predict_step(self, num_samples):
        """As documented: samples, their mean, and its entropy."""
        self.module.num_samples = num_samples
        with self.precision():
            return self.module.predict_step(self.batches[0]["input"][:1])

    @torch.inference_mode()
    def samples_alone(self, num_samples):
        """What `predict_step` does first, and what ours is asked for."""
        image = self.batches[0]["input"][:1]
        with self.precision():
            self.module.prior_latent_space = self.module.prior(image)
            self.module.unet_features = self.module.model(image)
            return [self.module.sample(testing=True) for _ in range(num_samples)]

    def parameters(self):
        parts = {"U-Net": "model", "prior": "prior", "posterior": "posterior", "f_comb": "fcomb"}
        return {
            name: sum(weights.numel() for weights in getattr(self.module, part).parameters())
            for name, part in parts.items()
        }

    def versions(self):
        return {"lightning-uq-box": lightning_uq_box.__version__, "torch": torch.__version__,
                "lightning": lightning.__version__, "numpy": np.__version__}


if __name__ == "__main__":
    measure(Theirs)
