"""Presence, disagreement on it, and how often samples follow."""


import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_probunet.metrics import both_presences, presence, presence_capture, presence_disagreement

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
