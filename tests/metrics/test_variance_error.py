"""Correlation of spread and error against the published loops and scipy's Pearson."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr

from tf_probunet.metrics import variance_error_correlation, variance_error_correlation_from_means
from tf_probunet.metrics.variance_error import EPSILON


def plain_correlation(probabilities, graders, weights, ignore_label=255):
    """Of one image [M, H, W, K], [R, H, W], by loops over samples and pixels."""
    num_samples, height, width, num_classes = probabilities.shape
    mean = probabilities.mean(axis=0)

    def cross_entropy(first, second):
        return -sum(first[k] * np.log(second[k] + 1e-8) for k in range(num_classes))

    total = 0.0
    for grader, weight in zip(graders, weights, strict=True):
        spread, error = [], []
        for row in range(height):
            for column in range(width):
                label = grader[row, column]
                if label == ignore_label:
                    continue
                drawn = np.eye(num_classes)[label]
                at = probabilities[:, row, column]
                spread.append(np.mean([cross_entropy(mean[row, column], one) for one in at]))
                error.append(np.mean([cross_entropy(drawn, one) for one in at]))
        total += weight * pearsonr(spread, error).statistic
    return total


def random_case(seed, num_classes=3, ignore=False):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet([0.3] * num_classes, (2, 5, 4, 4))
    labels = list(range(num_classes)) + ([255] if ignore else [])
    return probabilities, rng.choice(labels, (2, 3, 4, 4)), rng.dirichlet([1] * 3, 2)


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.booleans())
def test_equals_plain_loops(seed, ignore):
    probabilities, graders, weights = random_case(seed, ignore=ignore)
    result = variance_error_correlation(probabilities, graders, grader_weights=weights)
    expected = [plain_correlation(*case) for case in zip(probabilities, graders, weights, strict=True)]
    np.testing.assert_allclose(result, expected, atol=1e-9)
    means = probabilities.mean(axis=1), np.log(probabilities + EPSILON).mean(axis=1)
    np.testing.assert_allclose(
        variance_error_correlation_from_means(*means, graders, grader_weights=weights), result, atol=1e-12
    )


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.randoms(use_true_random=False))
def test_order_of_samples_and_graders_does_not_matter(seed, random):
    probabilities, graders, _ = random_case(seed)
    rows, columns = random.sample(range(5), 5), random.sample(range(3), 3)
    np.testing.assert_allclose(
        variance_error_correlation(probabilities[:, rows], graders[:, columns]),
        variance_error_correlation(probabilities, graders), atol=1e-9,
    )


def test_worked_examples():
    # Two samples that differ on one of four pixels. A grader who is missed there, and nowhere else, gives 1; graders
    # A A 0 0 against samples A 0 are as uncertain as the samples on each pixel of A, so each gives 1 too.
    lesion, nothing = [[0, 1, 1, 0]], [[0, 0, 0, 0]]
    both = np.eye(2)[np.array([[lesion, nothing]])]
    np.testing.assert_allclose(variance_error_correlation(both, np.array([[lesion, lesion, nothing, nothing]])), 1.0)
    # Spread on the pixels that are right, and none on the one that is wrong: the opposite.
    wrong = np.eye(2)[np.array([[[[1, 1, 1, 0]], [[1, 0, 0, 0]]]])]
    wrong[:, 1, :, 1:3] = wrong[:, 0, :, 1:3] = 0.5
    result = variance_error_correlation(wrong, np.array([[[[0, 1, 1, 0]]]]))
    assert result < 0


def test_not_a_number_where_a_map_is_constant():
    certain = np.eye(2)[np.zeros((1, 3, 2, 2), int)]
    assert np.isnan(variance_error_correlation(certain, np.array([[[[0, 1], [0, 0]]]])))  # no spread anywhere
    spread = certain.copy()
    spread[0, 0, 0, 0] = [0, 1]
    even = np.full_like(certain, 0.5)
    assert np.isnan(variance_error_correlation(even, np.array([[[[0, 1], [0, 0]]]])))  # the same spread everywhere
    assert variance_error_correlation(spread, np.array([[[[0, 0], [0, 0]]]])) == pytest.approx(1.0)
    # A missing grader is no reason.
    graders = np.array([[[[0, 0], [0, 0]], [[255, 255], [255, 255]]]])
    assert variance_error_correlation(spread, graders, grader_weights=[1.0, 0.0]) == pytest.approx(1.0)
    assert np.isnan(variance_error_correlation(spread, graders))


@pytest.mark.parametrize(
    ("probabilities", "graders", "words"),
    [
        (np.zeros((1, 2, 2, 2)), np.zeros((1, 1, 2, 2), int), ["[B, M, H, W, K]", "(1, 2, 2, 2)", "softmax"]),
        (np.zeros((1, 2, 2, 2, 2)), np.zeros((1, 1, 2, 3), int), ["same images"]),
        (np.zeros((1, 2, 2, 2, 2)), np.full((1, 1, 2, 2), 2), ["graders", "label 2"]),
    ],
)
def test_errors_say_what_and_what_to_do(probabilities, graders, words):
    with pytest.raises(ValueError) as caught:
        variance_error_correlation(probabilities, graders)
    for word in words:
        assert word in str(caught.value)
