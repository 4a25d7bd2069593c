"""Matched IoU on worked examples, against all assignments by brute force, and as a transport problem."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_probunet.metrics import matched_iou, matched_iou_from_iou, pairwise_iou

LESION = [[0, 1, 1], [0, 1, 0]]
NOTHING = [[0, 0, 0], [0, 0, 0]]


def stack(*segmentations):
    return np.array(segmentations)[None]


@pytest.mark.parametrize(
    ("graders", "samples", "expected"),
    [
        ([LESION] * 4, [LESION], 1.0),
        ([LESION, LESION, NOTHING, NOTHING], [LESION, NOTHING], 1.0),  # empty matched with empty counts as 1
        ([LESION, LESION, NOTHING, NOTHING], [LESION], 0.5),
        ([LESION, LESION, NOTHING, NOTHING], [LESION] * 3 + [NOTHING], 0.75),
        ([LESION, LESION, LESION], [NOTHING] * 2, 0.0),
        ([LESION, NOTHING, NOTHING], [LESION, NOTHING], (2 + 2 + 1) / 6 + 0.0),  # 3 + 3 against 2 + 4
    ],
)
def test_worked_examples(graders, samples, expected):
    result = matched_iou(stack(*samples), stack(*graders), num_classes=2)
    np.testing.assert_allclose(result, [expected], atol=1e-12)


def test_every_mode_once_by_its_weight_is_a_perfect_match():
    # Sixteen samples in the proportions of two modes, 12:4, match weights of 3/4 and 1/4 exactly.
    samples = stack(*[LESION] * 12, *[NOTHING] * 4)
    graders = stack(LESION, NOTHING)
    np.testing.assert_allclose(matched_iou(samples, graders, 2, grader_weights=[0.75, 0.25]), 1.0)
    np.testing.assert_allclose(matched_iou(samples, graders, 2, grader_weights=[0.5, 0.5]), 0.75)


def plain_matched_iou(iou):
    """Of one image [M, R], by trying every permutation of the repeated graders."""
    common = math.lcm(*iou.shape)
    rows = [row for row in iou for _ in range(common // iou.shape[0])]
    columns = [column for column in range(iou.shape[1]) for _ in range(common // iou.shape[1])]
    return max(
        sum(row[column] for row, column in zip(rows, order, strict=True)) / common
        for order in set(itertools.permutations(columns))
    )


@settings(max_examples=40)
@given(st.sampled_from([(1, 1), (2, 3), (4, 2), (3, 3), (1, 4), (6, 2), (2, 6)]), st.integers(0, 2**32))
def test_equals_all_assignments(shape, seed):
    iou = np.random.default_rng(seed).random((2, *shape))
    np.testing.assert_allclose(matched_iou_from_iou(iou), [plain_matched_iou(one) for one in iou], atol=1e-12)


@settings(max_examples=25)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32))
def test_transport_of_integer_weights_is_the_assignment_of_repeats(num_samples, num_graders, seed):
    rng = np.random.default_rng(seed)
    iou, repeats = rng.random((1, num_samples, num_graders)), rng.integers(0, 4, num_graders)
    repeats[0] += 1
    repeated = np.repeat(iou, repeats, axis=2)
    weighted = matched_iou_from_iou(iou, grader_weights=repeats / repeats.sum())
    np.testing.assert_allclose(weighted, matched_iou_from_iou(repeated), atol=1e-9)


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.randoms(use_true_random=False))
def test_order_does_not_matter(seed, random):
    rng = np.random.default_rng(seed)
    segmentations = rng.integers(0, 3, (2, 7, 2, 3))
    samples, graders = segmentations[:, :4], segmentations[:, 4:]
    rows, columns = random.sample(range(4), 4), random.sample(range(3), 3)
    weights = rng.dirichlet([1, 1, 1])
    for first, second in ((None, None), (weights, weights[columns])):
        expected = matched_iou(samples, graders, 3, grader_weights=first)
        shuffled = matched_iou(samples[:, rows], graders[:, columns], 3, grader_weights=second)
        np.testing.assert_allclose(shuffled, expected, atol=1e-9)


def test_missing_graders_are_left_out():
    rng = np.random.default_rng(0)
    iou = rng.random((3, 4, 4))
    weights = np.array([[1 / 3, 1 / 3, 1 / 3, 0], [0.25] * 4, [0, 0, 1, 0]])
    result = matched_iou_from_iou(iou, grader_weights=weights)
    kept = [[0, 1, 2], [0, 1, 2, 3], [2]]
    expected = [matched_iou_from_iou(iou[i : i + 1][..., columns])[0] for i, columns in enumerate(kept)]
    np.testing.assert_allclose(result, expected, atol=1e-12)
    # As they come, in float32.
    np.testing.assert_allclose(
        matched_iou_from_iou(iou, grader_weights=weights.astype(np.float32)), expected, atol=1e-12
    )


def test_fewer_samples_is_the_mean_over_groups():
    iou = np.random.default_rng(1).random((2, 7, 4))
    groups = [matched_iou_from_iou(iou[:, start : start + 3]) for start in (0, 3)]
    np.testing.assert_allclose(matched_iou_from_iou(iou, num_samples=3), np.mean(groups, axis=0))
    np.testing.assert_allclose(matched_iou_from_iou(iou, num_samples=1), iou.mean(axis=(1, 2)))
    weights = [0.1, 0.2, 0.3, 0.4]
    np.testing.assert_allclose(matched_iou_from_iou(iou, 1, weights), (iou.mean(axis=1) * weights).sum(axis=1))


def test_a_perfect_sampler_is_nearly_matched_and_more_samples_come_nearer():
    rng = np.random.default_rng(2)
    graders = np.repeat(rng.integers(0, 2, (1, 4, 4, 4)), 300, axis=0)
    samples = np.take_along_axis(graders, rng.integers(0, 4, (300, 16, 1, 1)), axis=1)
    iou = pairwise_iou(samples, graders, 2)
    means = [matched_iou_from_iou(iou, n).mean() for n in (1, 4, 8, 16)]
    assert means == sorted(means) and means[0] < 0.7 < 0.85 < means[-1] < 1


@pytest.mark.parametrize(
    ("iou", "options", "words"),
    [
        (np.zeros((2, 3)), {}, ["[B, M, R]", "(2, 3)", "pairwise_iou"]),
        (np.zeros((0, 3, 4)), {}, ["(0, 3, 4)"]),
        (np.full((1, 2, 2), 1.5), {}, ["[0, 1]", "4 out of range"]),
        (np.full((1, 2, 2), np.nan), {}, ["4 out of range"]),
        (np.zeros((1, 3, 2)), {"num_samples": 4}, ["1 to 3", "Received: 4", "Draw more"]),
        (np.zeros((1, 3, 2)), {"num_samples": 0}, ["Received: 0"]),
        (np.zeros((1, 3, 2)), {"grader_weights": [1.0, 1.0]}, ["grader_weights", "sum 1"]),
    ],
)
def test_errors_say_what_and_what_to_do(iou, options, words):
    with pytest.raises(ValueError) as caught:
        matched_iou_from_iou(iou, **options)
    for word in words:
        assert word in str(caught.value)
