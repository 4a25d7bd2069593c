"""Mode frequencies on the worked example of Cityscapes, by brute force, and with absent classes."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_probunet.metrics import (
    expected_total_variation,
    flip_pixels,
    mode_agreement,
    mode_counts,
    pairwise_distance,
    pixel_mode_counts,
    total_variation,
    without_flip,
)

# Odds of the switchable Cityscapes classes: sidewalk, person, car, vegetation, road; class c turns into c + 5.
ODDS = np.array([8, 7, 6, 5, 4]) / 17
SOURCES, TARGETS = range(5), range(5, 10)
BITS = np.arange(32)[:, None] >> np.arange(5) & 1  # [32, 5], bit f of mode m
PROBABILITIES = np.where(BITS, ODDS, 1 - ODDS).prod(axis=1)


def modes_of(truth):
    """All 32 modes [32, H, W] of a class map; label 10 does not switch, 255 is unlabelled."""
    modes = np.repeat(truth[None], 32, axis=0)
    for flip in range(5):
        modes[(BITS[:, flip] == 1)[:, None, None] & (truth == flip)] = flip + 5
    return modes


def truth_with(*absent):
    truth = np.array([[0, 0, 1, 2, 3], [4, 4, 10, 255, 3]])
    for label in absent:
        truth[truth == label] = 10
    return truth


def distances(first, second):
    return pairwise_distance(first[None], second[None], num_classes=11, classes=range(10))


def test_odds_are_those_of_the_paper():
    assert PROBABILITIES.max() == pytest.approx(0.10877, abs=5e-6)
    assert PROBABILITIES.min() == pytest.approx(0.00473, abs=5e-6)


def test_each_mode_is_its_own_nearest():
    modes = modes_of(truth_with())
    for ties in ("first", "split"):
        np.testing.assert_array_equal(mode_counts(distances(modes, modes), ties=ties), np.ones((1, 32)))
        np.testing.assert_allclose(
            mode_counts(distances(modes, modes), ties=ties, sample_weights=PROBABILITIES)[0], PROBABILITIES
        )
    votes = pixel_mode_counts(modes[None], truth_with()[None, None], SOURCES, TARGETS)
    np.testing.assert_array_equal(votes, np.ones((1, 32)))


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.sampled_from(["first", "split"]), st.randoms(use_true_random=False))
def test_equals_a_plain_loop_and_order_of_samples_does_not_matter(seed, ties, random):
    rng = np.random.default_rng(seed)
    distance = rng.integers(0, 3, (2, 4, 5)) / 2  # Many ties.
    expected = np.zeros((2, 5))
    for image, sample in itertools.product(range(2), range(4)):
        row = distance[image, sample].tolist()
        nearest = [mode for mode in range(5) if row[mode] == min(row)]
        for mode in nearest[:1] if ties == "first" else nearest:
            expected[image, mode] += 1 if ties == "first" else 1 / len(nearest)
    np.testing.assert_allclose(mode_counts(distance, ties=ties), expected)
    np.testing.assert_array_equal(mode_counts(distance).argmax(axis=1), np.stack(
        [np.bincount(np.argmin(one, axis=1), minlength=5) for one in distance]).argmax(axis=1))  # as published
    order = random.sample(range(4), 4)
    np.testing.assert_allclose(mode_counts(distance[:, order], ties=ties), expected)


def test_an_absent_class_counts_as_unflipped_or_is_split():
    truth = truth_with(1)  # bit 1
    modes = modes_of(truth)
    flipped = modes[[0b11111, 0b00000]]
    first = mode_counts(distances(flipped, modes))[0]
    assert np.flatnonzero(first).tolist() == [0, 0b11101]
    split = mode_counts(distances(flipped, modes), ties="split")[0]
    assert {index: split[index] for index in np.flatnonzero(split)} == {
        0: 0.5, 0b00010: 0.5, 0b11101: 0.5, 0b11111: 0.5
    }
    vote = pixel_mode_counts(flipped[None], truth[None, None], SOURCES, TARGETS)[0]
    np.testing.assert_array_equal(vote, first)
    vote = pixel_mode_counts(flipped[None], truth[None, None], SOURCES, TARGETS, ties="split")[0]
    np.testing.assert_allclose(vote, split)


@pytest.mark.parametrize("ties", ["first", "split"])
def test_a_perfect_sampler_has_no_bias_against_the_truth_of_the_same_rule(ties):
    # Half of the images lack a class. Against nominal probabilities even a perfect sampler is off by a fixed amount;
    # against what the rule leaves of them it is off by chance alone.
    rng = np.random.default_rng(0)
    counts, truth = [], []
    for image in range(40):
        modes = modes_of(truth_with(*([0, 3] if image % 2 else [])))
        samples = modes[rng.choice(32, size=200, p=PROBABILITIES)]
        counts.append(mode_counts(distances(samples, modes), ties=ties)[0])
        truth.append(mode_counts(distances(modes, modes), ties=ties, sample_weights=PROBABILITIES)[0])
    fair, published = mode_agreement(counts, truth), mode_agreement(counts, PROBABILITIES)
    assert fair.total_variation < 1.6 * fair.expected_total_variation < 0.06
    assert published.total_variation > 0.04 + fair.total_variation
    assert fair.log_correlation > 0.98 and (fair.num_hit, fair.num_modes) == (32, 32)


def test_a_perfect_segmenter_that_never_flips():
    modes = modes_of(truth_with())
    result = mode_agreement(mode_counts(distances(modes[[0] * 16], modes)), PROBABILITIES)
    assert result.total_variation == pytest.approx(1 - PROBABILITIES[0])
    assert result.num_hit == 1 and result.log_correlation < 0.5


def test_modes_of_several_graders_add_up():
    distance = np.array([[[0.5, 0.1, 0.4, 0.3], [0.2, 0.9, 0.2, 0.9]]])  # two graders of two modes
    np.testing.assert_array_equal(mode_counts(distance, num_modes=2), [[1, 1]])
    np.testing.assert_array_equal(mode_counts(distance, num_modes=2, ties="split"), [[1, 1]])


@settings(max_examples=30)
@given(st.integers(0, 2**32))
def test_pixels_equal_a_plain_loop(seed):
    rng = np.random.default_rng(seed)
    samples, truth = rng.integers(0, 5, (2, 3, 2, 4)), rng.choice([0, 1, 4, 255], (2, 2, 2, 4))
    weights = rng.dirichlet([1, 1], 2)
    pixels, votes = np.zeros((2, 2, 3)), {ties: np.zeros((2, 4)) for ties in ("first", "split")}
    for image, grader, sample in itertools.product(range(2), range(2), range(3)):
        shares = {ties: [] for ties in votes}
        for flip, (source, target) in enumerate([(0, 2), (1, 3)]):
            there = truth[image, grader] == source
            kept = (samples[image, sample][there] == source).sum()
            flipped = (samples[image, sample][there] == target).sum()
            pixels[image, flip] += weights[image, grader] * np.array([there.sum(), kept, flipped])
            shares["first"].append(float(flipped > kept))
            shares["split"].append(0.5 if flipped == kept else float(flipped > kept))
        for ties, (low, high) in shares.items():
            share = [(1 - high) * (1 - low), (1 - high) * low, high * (1 - low), high * low]
            votes[ties][image] += weights[image, grader] * np.array(share)
    pairs = ([0, 1], [2, 3])
    np.testing.assert_allclose(flip_pixels(samples, truth, *pairs, truth_weights=weights), pixels)
    for ties, expected in votes.items():
        np.testing.assert_allclose(pixel_mode_counts(samples, truth, *pairs, ties, truth_weights=weights), expected)


def test_flipped_pixels_of_a_perfect_sampler_are_as_probable_as_the_flips():
    rng = np.random.default_rng(1)
    truth = truth_with()
    samples = modes_of(truth)[rng.choice(32, size=20000, p=PROBABILITIES)]
    total, kept, flipped = flip_pixels(samples[None], truth[None, None], SOURCES, TARGETS)[0].T
    np.testing.assert_array_equal(total, kept + flipped)
    np.testing.assert_allclose(flipped / total, ODDS, atol=0.015)


def test_total_variation_and_what_chance_leaves_of_it():
    assert total_variation([0.5, 0.5, 0.0], [0.5, 0.25, 0.25]) == 0.25
    rng = np.random.default_rng(2)
    draws = rng.multinomial(160, PROBABILITIES, size=4000) / 160
    simulated = total_variation(draws, PROBABILITIES).mean()
    assert expected_total_variation(PROBABILITIES, 160) == pytest.approx(simulated, rel=0.01)


@pytest.mark.parametrize("flip", range(5))
def test_modes_without_a_flip_are_those_of_the_others(flip):
    others = np.delete(np.arange(5), flip)
    probabilities = np.where(BITS[:16, :4], ODDS[others], 1 - ODDS[others]).prod(axis=1)
    np.testing.assert_allclose(without_flip(PROBABILITIES, flip), probabilities, atol=1e-15)
    frequencies = np.random.default_rng(flip).dirichlet(np.ones(32), 3)
    expected = np.zeros((3, 16))
    for mode in range(32):
        place = sum(int(BITS[mode, other]) << position for position, other in enumerate(others))
        expected[:, place] += frequencies[:, mode]
    np.testing.assert_allclose(without_flip(frequencies, flip), expected)


def test_log_correlation():
    counts = np.array([1000.0, 100.0, 10.0, 0.0])
    truth = np.array([0.6, 0.3, 0.1, 0.0])
    result = mode_agreement(counts, truth)
    expected = np.corrcoef(np.log(counts[:3] + 0.5), np.log(truth[:3]))[0, 1]
    assert result.log_correlation == pytest.approx(expected) and (result.num_hit, result.num_modes) == (3, 3)
    missed = mode_agreement([1000, 100, 0], truth[:3])
    assert missed.num_hit == 2 and np.isfinite(missed.log_correlation)
    assert np.isnan(mode_agreement([5, 5], [0.25, 0.75]).log_correlation)


def test_errors_say_what_and_what_to_do():
    with pytest.raises(ValueError, match="R a multiple of num_modes. Received: shape .1, 2, 3., num_modes 2"):
        mode_counts(np.zeros((1, 2, 3)), num_modes=2)
    with pytest.raises(ValueError, match="first, split. Received: 'last'"):
        mode_counts(np.zeros((1, 2, 3)), ties="last")
    with pytest.raises(ValueError, match="Received: shapes .2,. and .3,., sum of counts 2"):
        mode_agreement([1, 1], [0.2, 0.3, 0.5])
    with pytest.raises(ValueError, match="sum of counts 0"):
        mode_agreement([0, 0], [0.5, 0.5])
    with pytest.raises(ValueError, match="one target. Received: 2 and 1"):
        flip_pixels(np.zeros((1, 1, 2, 2), int), np.zeros((1, 1, 2, 2), int), [0, 1], [2])
