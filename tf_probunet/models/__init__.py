"""Models, one file each; all keep the contract of `segmenter.py`."""

from tf_probunet import optimizers, schedules  # noqa: F401  registers what a compiled .keras file may hold
from tf_probunet.models.deterministic_unet import DeterministicUNet
from tf_probunet.models.dropout_unet import DropoutUNet
from tf_probunet.models.image2image_vae import Image2ImageVAE
from tf_probunet.models.latent_segmenter import LatentSegmenter
from tf_probunet.models.mheads_unet import MHeadsUNet
from tf_probunet.models.probabilistic_unet import ProbabilisticUNet
from tf_probunet.models.segmenter import Segmenter
from tf_probunet.models.unet_ensemble import UNetEnsemble

# By the name that an experiment gives.
MODELS = {
    "probabilistic_unet": ProbabilisticUNet,
    "deterministic_unet": DeterministicUNet,
    "dropout_unet": DropoutUNet,
    "unet_ensemble": UNetEnsemble,
    "mheads_unet": MHeadsUNet,
    "image2image_vae": Image2ImageVAE,
}

__all__ = ["MODELS", "DeterministicUNet", "DropoutUNet", "Image2ImageVAE", "LatentSegmenter", "MHeadsUNet",
           "ProbabilisticUNet", "Segmenter", "UNetEnsemble"]
