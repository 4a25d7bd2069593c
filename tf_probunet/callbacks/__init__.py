"""What happens during `fit`: progress in words, validation, warnings, history, best weights."""

from tf_probunet.callbacks.copies import OnCopy, copy_weights
from tf_probunet.callbacks.drawing import Drawing
from tf_probunet.callbacks.health import NonFiniteLoss, StopOnNonFinite, WarnOfCollapse
from tf_probunet.callbacks.history import History, read_history, write_history
from tf_probunet.callbacks.progress import LastStep, Progress, ProgressPlot, ReportEpoch
from tf_probunet.callbacks.validation import Validation
from tf_probunet.callbacks.wall import Wall
from tf_probunet.callbacks.weights import BestWeights, averaged_weights, save_weights, without_optimizer

__all__ = [
    "BestWeights",
    "Drawing",
    "History",
    "LastStep",
    "NonFiniteLoss",
    "OnCopy",
    "Progress",
    "ProgressPlot",
    "ReportEpoch",
    "StopOnNonFinite",
    "Validation",
    "Wall",
    "WarnOfCollapse",
    "averaged_weights",
    "copy_weights",
    "read_history",
    "save_weights",
    "without_optimizer",
    "write_history",
]
