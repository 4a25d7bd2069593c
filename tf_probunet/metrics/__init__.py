"""Metrics of distributions over segmentations; numpy alone, arrays in and arrays out."""

from tf_probunet.metrics.ambiguity import (
    PresenceCapture,
    both_presences,
    presence,
    presence_capture,
    presence_disagreement,
)
from tf_probunet.metrics.bootstrap import bootstrap_interval
from tf_probunet.metrics.energy_distance import (
    EnergyDistance,
    energy_distance,
    energy_distance_from_distances,
    floor,
)
from tf_probunet.metrics.iou import ignore_unlabelled, pairwise_class_iou, pairwise_distance, pairwise_iou

__all__ = [
    "EnergyDistance",
    "PresenceCapture",
    "bootstrap_interval",
    "both_presences",
    "energy_distance",
    "energy_distance_from_distances",
    "floor",
    "ignore_unlabelled",
    "pairwise_class_iou",
    "pairwise_distance",
    "pairwise_iou",
    "presence",
    "presence_capture",
    "presence_disagreement",
]
