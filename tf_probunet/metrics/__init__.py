"""Metrics of distributions over segmentations; numpy and scipy, arrays in and arrays out.

Keras wrappers are in `tf_probunet.metrics.keras_metrics`, which this does not import: Keras takes seconds to load.
"""

from tf_probunet.metrics.ambiguity import (
    PresenceCapture,
    both_presences,
    presence,
    presence_capture,
    presence_disagreement,
    presence_disagreement_auc,
)
from tf_probunet.metrics.bootstrap import bootstrap_interval, bootstrap_interval_of_sums
from tf_probunet.metrics.calibration import (
    ReliabilityCurve,
    calibration_error,
    maximum_calibration_error,
    reliability_bins,
    reliability_curve,
)
from tf_probunet.metrics.energy_distance import (
    EnergyDistance,
    energy_distance,
    energy_distance_from_distances,
    floor,
)
from tf_probunet.metrics.flip_recovery import flip_recovery, flip_recovery_counts
from tf_probunet.metrics.iou import (
    ignore_unlabelled,
    joint_distances,
    pairwise_class_iou,
    pairwise_distance,
    pairwise_iou,
)
from tf_probunet.metrics.matched_iou import matched_iou, matched_iou_from_iou
from tf_probunet.metrics.mode_frequencies import (
    ModeAgreement,
    expected_total_variation,
    flip_pixels,
    mode_agreement,
    mode_counts,
    pixel_mode_counts,
    total_variation,
    without_flip,
)
from tf_probunet.metrics.nesting import nested_share
from tf_probunet.metrics.reconstruction import reconstruction_iou
from tf_probunet.metrics.significance import PairedComparison, compare_paired, holm
from tf_probunet.metrics.variance_error import variance_error_correlation, variance_error_correlation_from_means

__all__ = [
    "EnergyDistance",
    "ModeAgreement",
    "PairedComparison",
    "PresenceCapture",
    "ReliabilityCurve",
    "bootstrap_interval",
    "bootstrap_interval_of_sums",
    "both_presences",
    "calibration_error",
    "compare_paired",
    "energy_distance",
    "energy_distance_from_distances",
    "expected_total_variation",
    "flip_pixels",
    "flip_recovery",
    "flip_recovery_counts",
    "floor",
    "holm",
    "ignore_unlabelled",
    "joint_distances",
    "matched_iou",
    "matched_iou_from_iou",
    "maximum_calibration_error",
    "mode_agreement",
    "mode_counts",
    "nested_share",
    "pairwise_class_iou",
    "pairwise_distance",
    "pairwise_iou",
    "pixel_mode_counts",
    "presence",
    "presence_capture",
    "presence_disagreement",
    "presence_disagreement_auc",
    "reconstruction_iou",
    "reliability_bins",
    "reliability_curve",
    "total_variation",
    "variance_error_correlation",
    "variance_error_correlation_from_means",
]
