"""Presence, disagreement on it, and how often samples follow."""


import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_probunet.metrics import (
    both_presences,
    presence,
    presence_capture,
    presence_disagreement,
    presence_disagreement_auc,
)

DRAWN, NOTHING, IGNORED = [[0, 1], [0, 0]], [[0, 0], [0, 0]], [[255, 0], [255, 255]]


def test_presence():
    segmentations = np.array([[DRAWN, NOTHING, IGNORED], [DRAWN, DRAWN, DRAWN]])
    np.testing.assert_array_equal(presence(segmentations, 2), [[True, False, False], [True] * 3])
    np.testing.assert_array_equal(presence(segmentations == 1, 2), [[True, False, False], [True] * 3])


def test_presence_of_chosen_classes():
    segmentations = np.array([[[[0, 1]], [[2, 2]], [[3, 0]]]])
    np.testing.assert_array_equal(presence(segmentations, 4, classes=[1, 3]), [[True, False, True]])
    np.testing.assert_array_equal(presence(segmentations, 4, classes=[0]), [[True, False, True]])
    np.testing.assert_array_equal(presence(segmentations, 4), [[True] * 3])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.none() | st.lists(st.integers(0, 3), min_size=1, unique=True))
def test_equals_plain_loop(seed, classes):
    num_classes = 4
    segmentations = np.random.default_rng(seed).choice([0, 1, 2, 3, 255], size=(3, 3, 2, 2))
    tested = set(classes or range(1, num_classes))
    expected = [[bool(tested & set(one.ravel().tolist())) for one in image] for image in segmentations]
    np.testing.assert_array_equal(presence(segmentations, num_classes, classes), expected)
    disagreement = [len(set(image)) == 2 for image in expected]
    np.testing.assert_array_equal(presence_disagreement(segmentations, num_classes, classes), disagreement)
    np.testing.assert_array_equal(both_presences(segmentations, num_classes, classes), disagreement)


def test_capture():
    graders = np.array([[DRAWN, NOTHING]] * 3 + [[DRAWN, DRAWN]] * 4 + [[NOTHING, NOTHING]])
    mixed, drawn, nothing = [DRAWN, NOTHING, NOTHING], [DRAWN] * 3, [NOTHING] * 3
    samples = np.array([mixed] * 2 + [drawn] + [mixed] + [drawn] * 3 + [nothing])
    result = presence_capture(samples, graders, 2)
    assert result == (8, 3, 2, 1)
    assert (result.num_images, result.num_disagreed, result.num_captured, result.num_invented) == result
    assert all(type(number) is int for number in result)  # Goes into JSON as it is.


def test_one_sample_captures_nothing():
    graders = np.array([[DRAWN, NOTHING]])
    assert presence_capture(graders[:, :1], graders, 2) == (1, 1, 0, 0)


def test_classes_and_ignore_label_reach_both_sides():
    graders = np.array([[[[1, 0]], [[0, 0]]]])
    assert presence_capture(graders, graders, 3, classes=[2]) == (1, 0, 0, 0)
    assert presence_capture(graders - 1, graders - 1, 2, classes=[0], ignore_label=-1) == (1, 1, 1, 0)


@pytest.mark.parametrize("function", [presence, presence_disagreement, both_presences])
@pytest.mark.parametrize(
    ("segmentations", "words"),
    [
        (np.zeros((1, 2, 4, 4, 2), np.float32), ["float32", "(1, 2, 4, 4, 2)", "argmax"]),
        (np.zeros((2, 4, 4), int), ["(2, 4, 4)", "insert an axis"]),
        (np.zeros((0, 2, 4, 4), int), ["(0, 2, 4, 4)", "empty batches"]),
        (np.full((1, 2, 4, 4), 2), ["0 to 1", "label 2", "num_classes"]),
    ],
)
def test_errors_say_what_and_what_to_do(function, segmentations, words):
    with pytest.raises(ValueError) as caught:
        function(segmentations, 2)
    for word in words:
        assert word in str(caught.value)


def test_capture_needs_the_same_images():
    graders = np.array([[DRAWN, NOTHING]])
    with pytest.raises(ValueError, match="same images.*Received: 2 and 1 images"):
        presence_capture(np.repeat(graders, 2, axis=0), graders, 2)


def plain_auc(sample_presence, disagreed):
    """The share of pairs, one image of each kind, in the right order."""
    scores = [round(p * (1 - p), 12) for p in sample_presence]
    pairs = [
        (scores[i] > scores[j]) + (scores[i] == scores[j]) / 2
        for i in range(len(scores)) for j in range(len(scores)) if disagreed[i] and not disagreed[j]
    ]
    return sum(pairs) / len(pairs)


@given(st.integers(0, 2**32), st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_auc_equals_all_pairs_and_order_does_not_matter(seed, random):
    rng = np.random.default_rng(seed)
    presence, disagreed = rng.integers(0, 9, 12) / 8, rng.random(12) < 0.5
    disagreed[:2] = [True, False]
    result = presence_disagreement_auc(presence, disagreed)
    assert result == pytest.approx(plain_auc(presence.tolist(), disagreed), abs=1e-12)
    order = random.sample(range(12), 12)
    assert presence_disagreement_auc(presence[order], disagreed[order]) == pytest.approx(result, abs=1e-12)


def test_auc_of_a_perfect_sampler_and_of_chance():
    rng = np.random.default_rng(0)
    graders = np.where(rng.random(3000) < 0.5, 0.5, 1.0)  # half of the images are disputed evenly
    disagreed = graders < 1
    assert presence_disagreement_auc(rng.binomial(16, graders) / 16, disagreed) > 0.999
    assert presence_disagreement_auc(rng.binomial(16, 0.5, 3000) / 16, disagreed) == pytest.approx(0.5, abs=0.03)
    # The paper's worked examples: graders A A 0 0 with samples A 0, and graders A A A A with samples A.
    assert presence_disagreement_auc([0.5, 1.0], [True, False]) == 1.0


def test_auc_without_both_kinds_is_not_defined():
    assert np.isnan(presence_disagreement_auc([0.5, 0.2], [True, True]))
    with pytest.raises(ValueError, match="both be .B.. Received: .2,. and .1,."):
        presence_disagreement_auc([0.5, 0.2], [True])
    with pytest.raises(ValueError, match="shares"):
        presence_disagreement_auc([0.5, 2.0], [True, False])
