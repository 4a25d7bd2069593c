"""Models, one file each; all keep the contract of `segmenter.py`."""

from tf_probunet import schedules  # noqa: F401  registers what a compiled .keras file may hold
from tf_probunet.models.probabilistic_unet import ProbabilisticUNet
from tf_probunet.models.segmenter import Segmenter

__all__ = ["ProbabilisticUNet", "Segmenter"]
