"""pairwise_distance against a plain double loop, by hand-counted masks, and its errors."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_probunet.metrics import (
    ignore_unlabelled,
    joint_distances,
    pair_counts,
    pairwise_class_iou,
    pairwise_distance,
    pairwise_iou,
)

IGNORE = 255


def plain_distance(a, b, classes):
    """d of one pair [H, W]."""
    known = (a != IGNORE) & (b != IGNORE)
    ious = []
    for label in classes:
        in_a, in_b = known & (a == label), known & (b == label)
        if in_a.any() or in_b.any():
            ious.append(np.sum(in_a & in_b) / np.sum(in_a | in_b))
    return 1.0 - np.mean(ious) if ious else 0.0


@st.composite
def stacks(draw):
    """Two stacks of one shape family, classes under test and the number of classes; small, so that classes miss."""
    num_classes = draw(st.integers(2, 4))
    batch, num_first, num_second, height, width = draw(st.tuples(*[st.integers(1, 3)] * 3, *[st.integers(1, 12)] * 2))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    labels = list(range(num_classes)) + draw(st.sampled_from([[], [IGNORE], [IGNORE] * 3]))
    dtype = draw(st.sampled_from([np.uint8, np.int32, np.int64]))
    first = generator.choice(labels, (batch, num_first, height, width)).astype(dtype)
    second = generator.choice(labels, (batch, num_second, height, width)).astype(dtype)
    classes = draw(st.none() | st.lists(st.integers(0, num_classes - 1), min_size=1, unique=True))
    return first, second, num_classes, classes


@settings(max_examples=150, deadline=None)
@given(stacks(), st.sampled_from([1, 100, 400, 2**21]), st.sampled_from([1, 5, 2**16]))
def test_equals_plain_double_loop(drawn, num_labels, num_words):
    first, second, num_classes, classes = drawn
    kept = pair_counts.LABELS, pair_counts.WORDS
    pair_counts.LABELS, pair_counts.WORDS = num_labels, num_words  # Small blocks cut images, pixels and pairs.
    try:
        distance = pairwise_distance(first, second, num_classes, classes)
        themselves = pairwise_distance(first, first, num_classes, classes)
        labelled = ignore_unlabelled(first, second)
        among = pairwise_distance(labelled, labelled, num_classes, classes)
        joint = joint_distances(first, second, num_classes, classes)
    finally:
        pair_counts.LABELS, pair_counts.WORDS = kept
    for found, expected in zip(joint, (distance, among, pairwise_distance(second, second, num_classes, classes))):
        np.testing.assert_array_equal(found, expected)
    tested = classes or range(1, num_classes)
    for index in range(len(first)):
        expected = [[plain_distance(a, b, tested) for b in second[index]] for a in first[index]]
        np.testing.assert_allclose(distance[index], expected, rtol=0, atol=1e-12)
        expected = [[plain_distance(a, b, tested) for b in first[index]] for a in first[index]]
        np.testing.assert_allclose(themselves[index], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.02, 0.3])  # bytes, then words, are left out where nothing is drawn
@pytest.mark.parametrize("size", [(64, 64), (37, 53)])
def test_things_of_any_size_in_larger_images(share, size):
    rng = np.random.default_rng(0)
    first, second = (
        (rng.random((2, count, *size)) < share).astype(np.uint8) * rng.integers(1, high, (2, count, *size), np.uint8)
        for count, high in ((5, 2), (3, 2))
    )
    for one, other, num_classes in ((first, second, 2), (2 * first, second, 3), (first.astype(int), second, 2)):
        expected = [[[plain_distance(a, b, range(1, num_classes)) for b in other[image]] for a in one[image]]
                    for image in range(2)]
        np.testing.assert_allclose(pairwise_distance(one, other, num_classes), expected, atol=1e-12)
        np.testing.assert_allclose(joint_distances(one, other, num_classes)[0], expected, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(stacks())
def test_is_a_distance(drawn):
    first, second, num_classes, classes = drawn
    distance = pairwise_distance(first, second, num_classes, classes)
    assert distance.dtype == np.float64 and distance.shape == (len(first), first.shape[1], second.shape[1])
    assert (distance >= 0).all() and (distance <= 1).all()
    np.testing.assert_array_equal(distance, pairwise_distance(second, first, num_classes, classes).swapaxes(1, 2))
    itself = pairwise_distance(first, first, num_classes, classes)
    np.testing.assert_array_equal(np.diagonal(itself, axis1=1, axis2=2), 0.0)
    np.testing.assert_array_equal(itself, pairwise_distance(first, first.copy(), num_classes, classes))


@settings(max_examples=30, deadline=None)
@given(stacks(), st.randoms(use_true_random=False))
def test_order_of_images_segmentations_and_pixels_does_not_matter(drawn, random):
    first, second, num_classes, classes = drawn
    images, rows, columns, pixels = (
        random.sample(range(n), n) for n in (len(first), first.shape[1], second.shape[1], first[0, 0].size)
    )
    shuffled = [
        stack.reshape(*stack.shape[:2], 1, -1)[images][:, order][..., pixels]
        for stack, order in ((first, rows), (second, columns))
    ]
    distance = pairwise_distance(first, second, num_classes, classes)
    np.testing.assert_array_equal(
        pairwise_distance(*shuffled, num_classes, classes), distance[images][:, rows][:, :, columns]
    )


def test_empty_masks():
    empty, drawn = np.zeros((1, 1, 2, 2), int), np.array([[[[0, 1], [0, 0]]]])
    both = np.concatenate([empty, drawn], axis=1)
    np.testing.assert_array_equal(pairwise_distance(both, both, 2), [[[0.0, 1.0], [1.0, 0.0]]])
    np.testing.assert_array_equal(pairwise_iou(both, both, 2), [[[1.0, 0.0], [0.0, 1.0]]])


def test_background_is_left_out_unless_asked_for():
    first, second = np.array([[[[0, 0, 0, 1]]]]), np.array([[[[0, 0, 1, 1]]]])
    assert pairwise_iou(first, second, 2) == 1 / 2
    assert pairwise_iou(first, second, 2, classes=[0]) == 2 / 3
    assert pairwise_iou(first, second, 2, classes=[0, 1]) == (1 / 2 + 2 / 3) / 2


def test_class_absent_from_both_does_not_count():
    first, second = np.array([[[[1, 1, 2]]]]), np.array([[[[1, 0, 0]]]])
    np.testing.assert_array_equal(pairwise_class_iou(first, second, 4), [[[[1 / 2, 0.0, np.nan]]]])
    np.testing.assert_array_equal(pairwise_class_iou(first, second, 4, classes=[3, 1]), [[[[np.nan, 1 / 2]]]])
    assert pairwise_distance(first, second, 4) == 1 - (1 / 2 + 0) / 2


def test_ignored_pixels_are_left_out_of_their_pairs_only():
    graders = np.array([[[[1, 1, 255]], [[1, 255, 1]]]])
    samples = np.array([[[[1, 0, 1]]]])
    # Pixels left: 0 and 1 with the first grader, 0 and 2 with the second.
    np.testing.assert_array_equal(pairwise_iou(samples, graders, 2), [[[1 / 2, 1.0]]])
    np.testing.assert_array_equal(pairwise_iou(graders, samples, 2), [[[1 / 2], [1.0]]])
    # Without a label to ignore, all three count.
    np.testing.assert_array_equal(
        pairwise_iou(samples, graders, 256, classes=[1], ignore_label=None), [[[1 / 3, 1.0]]]
    )


def test_all_pixels_ignored_is_no_disagreement():
    assert pairwise_distance(np.array([[[[1, 1]]]]), np.array([[[[255, 255]]]]), 2) == 0


def test_negative_ignore_label_and_bool_masks():
    first, second = np.array([[[[1, -1, 0]]]]), np.array([[[[True, True, True]]]])
    assert pairwise_iou(first, second, 2, ignore_label=-1) == 1 / 2


def test_counts_beyond_float32():
    size = 2**24 + 2
    first = np.broadcast_to(np.uint8(1), (1, 1, 1, size))
    second = np.ones((1, 1, 1, size), np.uint8)
    second[..., 0] = 0
    assert pairwise_iou(first, second, 2).item() == (size - 1) / size


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.uint64])  # int8 does not hold 255.
def test_ignore_unlabelled(dtype):
    graders = np.array([[[[255, 1, 255]], [[255, 255, 0]]], [[[0, 0, 0]], [[0, 0, 255]]]])
    samples = np.ones((2, 3, 1, 3), dtype)
    result = ignore_unlabelled(samples, graders)
    assert result.dtype == np.int32
    np.testing.assert_array_equal(result[0], [[[255, 1, 1]]] * 3)
    np.testing.assert_array_equal(result[1], samples[1])
    assert ignore_unlabelled(samples, graders[1:].repeat(2, axis=0)) is samples
    assert ignore_unlabelled(samples, graders, ignore_label=None) is samples
    with pytest.raises(ValueError, match="same images.*Received: .2, 3, 1, 3. and .1, 2, 1, 3."):
        ignore_unlabelled(samples, graders[:1])


GOOD = np.zeros((2, 3, 4, 4), np.int32)


@pytest.mark.parametrize(
    ("first", "second", "options", "words"),
    [
        (GOOD, GOOD[:1], {}, ["same images", "(2, 3, 4, 4) and (1, 3, 4, 4)", "same B, H and W"]),
        (GOOD, GOOD[..., :3], {}, ["same images", "(2, 3, 4, 3)"]),
        (GOOD, np.zeros((2, 3, 4, 4, 2), np.float32), {}, ["second", "float32", "(2, 3, 4, 4, 2)", "argmax"]),
        (GOOD.astype(float), GOOD, {}, ["first", "float64", "int32"]),
        (GOOD[0], GOOD, {}, ["first", "(3, 4, 4)", "[B, R, H, W]", "insert an axis"]),
        (GOOD[:0], GOOD[:0], {}, ["(0, 3, 4, 4)", "empty batches"]),
        (GOOD, GOOD[:, :0], {}, ["second", "(2, 0, 4, 4)"]),
        (GOOD + 2, GOOD, {}, ["first", "0 to 1 or the ignore label 255", "label 2 in image 0", "num_classes"]),
        (GOOD, GOOD - 1, {}, ["second", "label -1"]),
        (GOOD + 255, GOOD, {"ignore_label": None}, ["0 to 1. ", "label 255"]),
        (GOOD, GOOD, {"num_classes": 1}, ["num_classes", "Received: 1", "2"]),
        (GOOD, GOOD, {"num_classes": 2.5}, ["num_classes", "2.5"]),
        (GOOD, GOOD, {"classes": []}, ["classes", "()", "Leave classes out"]),
        (GOOD, GOOD, {"classes": [2]}, ["classes", "0 to 1", "(2,)"]),
        (GOOD, GOOD, {"classes": [1, 1]}, ["distinct", "(1, 1)"]),
        (GOOD, GOOD, {"ignore_label": 1}, ["ignore_label 1", "Change ignore_label"]),
    ],
)
def test_errors_say_what_and_what_to_do(first, second, options, words):
    with pytest.raises(ValueError) as caught:
        pairwise_distance(first, second, **{"num_classes": 2, **options})
    for word in words:
        assert re.search(re.escape(word), str(caught.value)), str(caught.value)


def test_label_error_names_the_image():
    segmentations = GOOD.copy()
    segmentations[1, 2, 3, 0] = 9
    segmentations[0, 0, 0, 0] = 255
    with pytest.raises(ValueError, match="label 9 in image 1"):
        pairwise_distance(GOOD, segmentations, 2)
