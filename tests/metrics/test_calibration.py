"""Calibration by loops over pixels, of forecasts that are right, and of those that are not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_probunet.metrics import calibration_error, maximum_calibration_error, reliability_bins, reliability_curve


def plain_bins(mean, graders, weights, classes, num_bins, ignore_label=255):
    """Of one image [H, W, K], [R, H, W]."""
    bins = np.zeros((num_bins, 3))
    for row, column in np.ndindex(mean.shape[:2]):
        at = mean[row, column]
        confidence = at.max() if classes is None else sum(at[k] for k in classes)
        said = [int(np.argmax(at))] if classes is None else list(classes)
        place = min(int(confidence * num_bins), num_bins - 1)
        for grader, weight in zip(graders[:, row, column], weights, strict=True):
            if grader != ignore_label:
                bins[place] += weight * np.array([1, confidence, grader in said])
    return bins


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.sampled_from([None, (1,), (0, 2)]), st.randoms(use_true_random=False))
def test_equals_a_plain_loop_and_order_of_graders_does_not_matter(seed, classes, random):
    rng = np.random.default_rng(seed)
    mean = rng.dirichlet([0.5] * 3, (2, 3, 3))
    graders, weights = rng.choice([0, 1, 2, 255], (2, 4, 3, 3)), rng.dirichlet([1] * 4, 2)
    bins = reliability_bins(mean, graders, classes, num_bins=5, grader_weights=weights)
    expected = [plain_bins(*case, classes, 5) for case in zip(mean, graders, weights, strict=True)]
    np.testing.assert_allclose(bins, expected, atol=1e-12)
    order = random.sample(range(4), 4)
    shuffled = reliability_bins(mean, graders[:, order], classes, num_bins=5, grader_weights=weights[:, order])
    np.testing.assert_allclose(shuffled, bins, atol=1e-12)


def test_worked_examples():
    # Graders A A 0 0: a mean of 1/2 on A, as samples A 0 give it, is calibrated; one of 1, as samples A give it, not.
    lesion, nothing = [[0, 1]], [[0, 0]]
    graders = np.array([[lesion, lesion, nothing, nothing]])
    for mean, expected in ((0.5, 0.0), (1.0, 0.25)):  # half of the pixels are off by 1/2
        forecast = np.array([[[[1.0, 0.0], [1 - mean, mean]]]])
        bins = reliability_bins(forecast, graders, classes=(1,))
        assert calibration_error(bins)[0] == pytest.approx(expected)
        assert maximum_calibration_error(bins)[0] == pytest.approx(2 * expected)


@pytest.mark.parametrize(("num_classes", "classes"), [(2, (1,)), (2, None), (5, None), (5, (1, 3))])
def test_graders_drawn_from_the_forecast_are_calibrated(num_classes, classes):
    rng = np.random.default_rng(0)
    mean = rng.dirichlet([0.7] * num_classes, (4, 64, 64))
    graders = (rng.random((4, 4, 64, 64, 1)) > mean.cumsum(axis=-1)[:, None]).sum(axis=-1)
    graders = np.minimum(graders, num_classes - 1)
    assert calibration_error(reliability_bins(mean, graders, classes).sum(axis=0)) < 0.01
    sharpened = mean**2 / (mean**2).sum(axis=-1, keepdims=True)
    assert calibration_error(reliability_bins(sharpened, graders, classes).sum(axis=0)) > 0.05


def test_bins_add_up_and_the_last_holds_one():
    rng = np.random.default_rng(1)
    foreground = np.array([0.0, 1 / 3, 0.5, 1.0]).reshape(1, 2, 2)
    mean = np.stack([1 - foreground, foreground], axis=-1)
    graders = rng.integers(0, 2, (1, 3, 2, 2))
    bins = reliability_bins(mean, graders, classes=(1,), num_bins=3)
    np.testing.assert_allclose(bins[0, :, 0], [1, 2, 1])
    np.testing.assert_allclose(bins[0, :, 1], [0, 1 / 3 + 1 / 2, 1])
    assert bins[0, :, 2].sum() == pytest.approx((graders == 1).mean(axis=1).sum())


def test_curve_and_small_bins():
    bins = np.array([[900, 9.0, 18.0], [0, 0, 0], [99, 49.5, 39.6], [1, 0.9, 0.0]])
    curve = reliability_curve(bins)
    np.testing.assert_allclose(curve.confidence, [0.01, np.nan, 0.5, 0.9])
    np.testing.assert_allclose(curve.accuracy, [0.02, np.nan, 0.4, 0.0])
    np.testing.assert_allclose(curve.share, [0.9, 0, 0.099, 0.001])
    assert calibration_error(bins) == pytest.approx((9 + 9.9 + 0.9) / 1000)
    assert maximum_calibration_error(bins) == pytest.approx(0.9)
    assert maximum_calibration_error(bins, min_share=0.01) == pytest.approx(0.1)
    assert np.isnan(calibration_error(bins * 0)) and np.isnan(maximum_calibration_error(bins * 0))


@pytest.mark.parametrize(
    ("mean", "graders", "options", "words"),
    [
        (np.zeros((2, 2, 2)), np.zeros((1, 1, 2, 2), int), {}, ["[B, H, W, K]", "(2, 2, 2)", "softmax"]),
        (np.zeros((1, 2, 2, 2)), np.zeros((1, 1, 2, 2), int), {"num_bins": 0}, ["num_bins 0"]),
        (np.zeros((1, 2, 2, 2)), np.zeros((1, 1, 3, 2), int), {}, ["same images"]),
        (np.zeros((1, 2, 2, 2)), np.zeros((1, 1, 2, 2), int), {"classes": (2,)}, ["classes", "(2,)"]),
    ],
)
def test_errors_say_what_and_what_to_do(mean, graders, options, words):
    with pytest.raises(ValueError) as caught:
        reliability_bins(mean, graders, **options)
    for word in words:
        assert word in str(caught.value)
