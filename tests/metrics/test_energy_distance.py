"""The energy distance on worked examples, against a plain double loop, and as an estimator."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_probunet.metrics import energy_distance, energy_distance_from_distances, floor, pairwise_distance

IGNORE = 255
LESION = np.array([[0, 1, 1], [0, 1, 0]])
NOTHING = np.zeros_like(LESION)
# Odds of the switchable Cityscapes classes: sidewalk, person, car, vegetation, road.
FLIPS = np.array([8, 7, 6, 5, 4]) / 17


def stack(*segmentations):
    return np.array(segmentations)[None]


def plain_distance(a, b, classes):
    """d of one pair [H, W] by sets of pixels."""
    known = set(np.flatnonzero((a != IGNORE) & (b != IGNORE)))
    ious = []
    for label in classes:
        in_a, in_b = (known & set(np.flatnonzero(one == label)) for one in (a, b))
        if in_a | in_b:
            ious.append(len(in_a & in_b) / len(in_a | in_b))
    return 1.0 - np.mean(ious) if ious else 0.0


@st.composite
def stacks(draw):
    """Samples and graders, the number of classes and those under test; small, so that classes miss."""
    num_classes = draw(st.integers(2, 4))
    batch, num_samples, num_graders, height, width = draw(st.tuples(*[st.integers(1, 3)] * 5))
    labels = list(range(num_classes)) + draw(st.sampled_from([[], [IGNORE], [IGNORE] * 3]))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    samples = generator.choice(labels, (batch, num_samples, height, width))
    graders = generator.choice(labels, (batch, num_graders, height, width))
    classes = draw(st.none() | st.lists(st.integers(0, num_classes - 1), min_size=1, unique=True))
    return samples, graders, num_classes, classes


def plain_energy_distance(samples, graders, classes):
    """Of one image: three means over all ordered pairs, by loops."""
    cross = np.mean([plain_distance(s, y, classes) for s in samples for y in graders])
    among_samples = np.mean([plain_distance(s, t, classes) for s in samples for t in samples])
    among_graders = np.mean([plain_distance(y, z, classes) for y in graders for z in graders])
    return 2 * cross - among_samples - among_graders


def cityscapes_modes():
    """The 32 modes [1, 32, 1, 7] of an image with all five classes, and their probabilities [32].

    Class c, 0 to 4, turns into its twin c + 5. Label 10 is a class that does not switch; the last pixel is unlabelled.
    """
    switches = np.array(list(itertools.product([0, 1], repeat=5)))
    modes = np.arange(5) + 5 * switches  # shape: [32, 5]
    modes = np.concatenate([modes, np.full((32, 1), 10), np.full((32, 1), IGNORE)], axis=1)
    return modes[None, :, None], np.where(switches, FLIPS, 1 - FLIPS).prod(axis=1)


CITYSCAPES = {"num_classes": 11, "classes": range(10)}


@pytest.mark.parametrize(
    ("graders", "samples", "expected"),
    [
        ([LESION] * 4, [LESION], 0.0),
        ([LESION] * 4, [LESION] * 16, 0.0),
        ([LESION, LESION, NOTHING, NOTHING], [LESION, NOTHING], 0.0),
        ([LESION, LESION, NOTHING, NOTHING], [LESION], 0.5),
        ([LESION, LESION, NOTHING, NOTHING], [NOTHING], 0.5),
        ([NOTHING] * 4, [NOTHING] * 2, 0.0),
        ([NOTHING] * 4, [LESION], 2.0),  # The greatest value there is.
        ([LESION, NOTHING, NOTHING, NOTHING], [LESION, NOTHING], 2 * 0.5 - 0.5 - 2 * 0.75 * 0.25),
    ],
)
def test_worked_examples(graders, samples, expected):
    result = energy_distance(stack(*samples), stack(*graders), num_classes=2)
    assert result.energy_distance.shape == (1,)
    np.testing.assert_allclose(result.energy_distance, expected, rtol=0, atol=1e-15)


def test_parts():
    graders, samples = stack(LESION, LESION, NOTHING, NOTHING), stack(LESION, LESION, LESION, NOTHING)
    result = energy_distance(np.repeat(samples, 2, axis=0), np.repeat(graders, 2, axis=0), num_classes=2)
    np.testing.assert_allclose(result.cross, [1 / 2] * 2)
    np.testing.assert_allclose(result.sample_diversity, [2 * 3 / 16] * 2)
    np.testing.assert_allclose(result.grader_diversity, [1 / 2] * 2)
    np.testing.assert_allclose(
        result.energy_distance, 2 * result.cross - result.sample_diversity - result.grader_diversity
    )


def test_cityscapes_distance_of_modes():
    modes, probabilities = cityscapes_modes()
    np.testing.assert_allclose(probabilities.max(), 0.10877, atol=5e-6)
    np.testing.assert_allclose(probabilities.min(), 0.00473, atol=5e-6)
    switched = modes[0, :, 0, :5] >= 5
    flips = (switched[:, None] != switched[None]).sum(axis=-1)  # shape: [32, 32]
    np.testing.assert_allclose(pairwise_distance(modes, modes, **CITYSCAPES)[0], 2 * flips / (5 + flips))


def test_cityscapes_floor_and_segmenter_that_never_flips():
    modes, probabilities = cityscapes_modes()
    never = np.repeat(modes[:, :1], 16, axis=1)
    never[..., -1] = 3  # A sample fills unlabelled pixels too.
    for num_samples in (1, 4, 8, 16):
        result = energy_distance(never[:, :num_samples], modes, **CITYSCAPES, grader_weights=probabilities)
        np.testing.assert_allclose(result.energy_distance, 0.3906, atol=5e-5)
        np.testing.assert_allclose(result.grader_diversity, 0.57982, atol=5e-6)
    floors = floor(result.grader_diversity, [1, 4, 8, 16])
    np.testing.assert_allclose(floors, [0.580, 0.145, 0.0725, 0.0362], atol=5e-4)
    perfect = energy_distance(
        modes, modes, **CITYSCAPES, sample_weights=probabilities, grader_weights=probabilities
    )
    np.testing.assert_allclose(perfect.energy_distance, 0.0, atol=1e-12)


def test_pixels_that_nobody_labelled_do_not_count_between_samples():
    graders = np.array([[[[1, 0, 255]], [[1, 1, 255]]]])
    samples = np.array([[[[1, 0, 0]], [[1, 0, 1]]]])
    assert energy_distance(samples, graders, 2).sample_diversity == 0
    # A label of one grader alone is enough.
    graders[0, 0, 0, 2] = 0
    assert energy_distance(samples, graders, 2).sample_diversity > 0


def test_negative_value_when_graders_ignore_different_pixels():
    # As documented. The sample agrees with the first grader on 3 of 4 pixels and with the second on all that one
    # labelled, yet the graders disagree on the only pixel that both labelled: 2 * (1/4 + 0) / 2 - 0 - 1/2.
    graders = np.array([[[[1, 1, 1, 1]], [[255, 255, 255, 0]]]])
    result = energy_distance(np.array([[[[1, 1, 1, 0]]]]), graders, 2)
    np.testing.assert_allclose(result.energy_distance, -0.25)


@settings(max_examples=100, deadline=None)
@given(stacks())
def test_equals_plain_double_loop(drawn):
    samples, graders, num_classes, classes = drawn
    samples = np.where((graders == IGNORE).all(axis=1, keepdims=True), IGNORE, samples)
    result = energy_distance(samples, graders, num_classes, classes)
    expected = [plain_energy_distance(s, y, classes or range(1, num_classes)) for s, y in zip(samples, graders)]
    np.testing.assert_allclose(result.energy_distance, expected, rtol=0, atol=1e-12)


@settings(max_examples=150, deadline=None)
@given(stacks())
def test_is_not_negative_and_zero_for_equal_distributions(drawn):
    samples, graders, num_classes, classes = drawn
    samples, graders = samples % IGNORE, graders % IGNORE  # Every pixel labelled; several classes.
    result = energy_distance(samples, graders, num_classes, classes)
    assert (result.energy_distance >= -1e-12).all()
    repeated = np.concatenate([graders, graders[:, ::-1]], axis=1)
    zero = energy_distance(repeated, graders, num_classes, classes)
    np.testing.assert_allclose(zero.energy_distance, 0.0, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(stacks(), st.randoms(use_true_random=False))
def test_order_of_samples_and_graders_does_not_matter(drawn, random):
    samples, graders, num_classes, classes = drawn
    rows, columns = (random.sample(range(n), n) for n in (samples.shape[1], graders.shape[1]))
    result = energy_distance(samples, graders, num_classes, classes)
    shuffled = energy_distance(samples[:, rows], graders[:, columns], num_classes, classes)
    np.testing.assert_allclose(shuffled, result, rtol=0, atol=1e-12)


def random_distances(batch, drawn, num_graders, seed=0):
    segmentations = np.random.default_rng(seed).integers(0, 2, (batch, drawn + num_graders, 2, 3))
    distance = pairwise_distance(segmentations, segmentations, 2)
    return distance[:, :drawn, drawn:], distance[:, :drawn, :drawn], distance[:, drawn:, drawn:]


@pytest.mark.parametrize("num_samples", range(1, 7))
def test_fewer_samples_is_the_mean_over_all_subsets(num_samples):
    sample_grader, sample_sample, grader_grader = random_distances(batch=5, drawn=6, num_graders=4)
    subsets = [
        energy_distance_from_distances(
            sample_grader[:, subset], sample_sample[:, subset][:, :, subset], grader_grader
        )
        for subset in map(list, itertools.combinations(range(6), num_samples))
    ]
    result = energy_distance_from_distances(sample_grader, sample_sample, grader_grader, num_samples)
    np.testing.assert_allclose(result, np.mean(subsets, axis=0), rtol=0, atol=1e-12)


def test_all_samples_is_the_plain_statistic():
    distances = random_distances(batch=3, drawn=5, num_graders=4)
    np.testing.assert_array_equal(
        energy_distance_from_distances(*distances, num_samples=5), energy_distance_from_distances(*distances)
    )
    sample_grader, sample_sample, grader_grader = distances
    np.testing.assert_allclose(
        energy_distance_from_distances(*distances).energy_distance,
        2 * sample_grader.mean(axis=(1, 2)) - sample_sample.mean(axis=(1, 2)) - grader_grader.mean(axis=(1, 2)),
    )


def test_fewer_samples_varies_less_than_the_first_few():
    sample_grader, sample_sample, grader_grader = random_distances(batch=2000, drawn=16, num_graders=4)
    closed = energy_distance_from_distances(sample_grader, sample_sample, grader_grader, 4).energy_distance
    first = energy_distance_from_distances(sample_grader[:, :4], sample_sample[:, :4, :4], grader_grader)
    assert closed.var() < 0.6 * first.energy_distance.var()
    error = (closed - first.energy_distance).std() / np.sqrt(len(closed))
    assert abs(closed.mean() - first.energy_distance.mean()) < 4 * error


@pytest.mark.parametrize("num_samples", [1, 4, 16])
def test_perfect_sampler_lands_on_the_floor(num_samples):
    generator = np.random.default_rng(num_samples)
    graders = generator.integers(0, 2, (4, 3, 3))
    probabilities = np.array([0.1, 0.2, 0.3, 0.4])
    drawn = generator.choice(4, size=(4000, num_samples), p=probabilities)
    result = energy_distance(
        graders[drawn], np.broadcast_to(graders, (4000, 4, 3, 3)), 2, grader_weights=probabilities
    )
    expected = floor(result.grader_diversity[0], num_samples)
    error = result.energy_distance.std() / np.sqrt(4000)
    assert error < 0.05 * expected  # Fine enough to tell n from n - 1.
    assert abs(result.energy_distance.mean() - expected) < 4 * error


def test_weights_are_as_good_as_repeats():
    generator = np.random.default_rng(3)
    samples, graders = generator.integers(0, 3, (2, 2, 3, 3)), generator.integers(0, 3, (2, 3, 3, 3))
    weighted = energy_distance(
        samples, graders, 3, sample_weights=[0.25, 0.75], grader_weights=[[0.5, 0.25, 0.25], [0, 1, 0]]
    )
    for image, rows in enumerate([[0, 0, 1, 2], [1]]):
        repeated = energy_distance(samples[image : image + 1, [0, 1, 1, 1]], graders[image : image + 1, rows], 3)
        np.testing.assert_allclose(np.stack(weighted)[:, image], np.stack(repeated)[:, 0], rtol=0, atol=1e-12)


GOOD = np.zeros((2, 3, 4, 4), np.int32)


@pytest.mark.parametrize(
    ("samples", "graders", "options", "words"),
    [
        (GOOD, GOOD[:1], {}, ["same images", "(2, 3, 4, 4) and (1, 3, 4, 4)"]),
        (np.zeros((2, 3, 4, 4, 2), np.float32), GOOD, {}, ["samples", "float32", "argmax"]),
        (GOOD, GOOD + 2, {}, ["graders", "0 to 1", "label 2", "num_classes"]),
        (GOOD[:0], GOOD[:0], {}, ["samples", "(0, 3, 4, 4)", "empty batches"]),
        (GOOD, GOOD, {"grader_weights": [0.5, 0.5]}, ["grader_weights", "[3] or [2, 3]", "(2,)"]),
        (GOOD, GOOD, {"sample_weights": [1, 1, 1]}, ["sample_weights", "sum 1", "to 3", "Divide"]),
        (GOOD, GOOD, {"sample_weights": [-1, 1, 1]}, ["sample_weights", "least weight -1"]),
        (GOOD, GOOD, {"sample_weights": [np.nan, 1, 0]}, ["sample_weights", "nan"]),
    ],
)
def test_errors_say_what_and_what_to_do(samples, graders, options, words):
    with pytest.raises(ValueError) as caught:
        energy_distance(samples, graders, 2, **options)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        ({0: np.zeros((2, 3))}, {}, ["[B, M, R]", "(2, 3)", "pairwise_distance"]),
        ({1: np.zeros((2, 4, 4))}, {}, ["[B, M, M]", "(2, 4, 4)"]),
        ({2: np.zeros((1, 4, 4))}, {}, ["[B, R, R]", "(1, 4, 4)"]),
        ({0: np.full((2, 3, 4), np.nan)}, {}, ["sample_grader", "24 negative or NaN"]),
        ({2: np.full((2, 4, 4), -1.0)}, {}, ["grader_grader", "32 negative"]),
        ({0: np.zeros((0, 3, 4)), 1: np.zeros((0, 3, 3)), 2: np.zeros((0, 4, 4))}, {}, ["being 0", "(0, 3, 4)"]),
        ({0: np.full((2, 3, 4), np.inf)}, {}, ["sample_grader", "24 infinite"]),
        ({1: np.ones((2, 3, 3))}, {}, ["sample_sample", "diagonal", "1 - IoU"]),
        ({2: np.ones((2, 4, 4))}, {}, ["grader_grader", "diagonal"]),
        ({}, {"num_samples": 4}, ["num_samples", "1 to 3", "Received: 4", "Draw more"]),
        ({}, {"num_samples": 0}, ["num_samples", "Received: 0"]),
        ({}, {"num_samples": 2.0}, ["num_samples", "Received: 2.0"]),
        ({}, {"num_samples": 2, "sample_weights": [0.2, 0.3, 0.5]}, ["sample_weights", "num_samples 2"]),
    ],
)
def test_errors_of_distances(changes, options, words):
    distances = [np.zeros((2, 3, 4)), np.zeros((2, 3, 3)), np.zeros((2, 4, 4))]
    energy_distance_from_distances(*distances)
    for index, array in changes.items():
        distances[index] = array
    with pytest.raises(ValueError) as caught:
        energy_distance_from_distances(*distances, **options)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("num_samples", [0, [4, 0], []])
def test_floor_needs_a_sample(num_samples):
    with pytest.raises(ValueError, match="num_samples must be at least 1. Received"):
        floor(0.5, num_samples)
