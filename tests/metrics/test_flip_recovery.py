"""Flips that come back from a posterior: against a plain loop, and on posteriors that know all, nothing, or half."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_probunet.metrics import flip_recovery, flip_recovery_counts

PAIRS = ([0, 1], [2, 3])


@settings(max_examples=40)
@given(st.integers(0, 2**32))
def test_counts_equal_a_plain_loop(seed):
    rng = np.random.default_rng(seed)
    maps, truth = rng.integers(0, 6, (2, 3, 2, 3)), rng.choice([0, 1, 4, 255], (2, 3, 2, 3))
    flipped = rng.random((2, 3, 2)) < 0.5
    expected = np.zeros((2, 2, 2, 2))
    for image, one, flip in itertools.product(range(2), range(3), range(2)):
        there = maps[image, one][truth[image, one] == PAIRS[0][flip]]
        kept, twin = (there == PAIRS[0][flip]).sum(), (there == PAIRS[1][flip]).sum()
        expected[image, flip, int(flipped[image, one, flip])] += kept + twin > 0, twin > kept
    np.testing.assert_array_equal(flip_recovery_counts(maps, truth, flipped, *PAIRS), expected)


@pytest.mark.parametrize("shown, expected", [
    (lambda flipped: flipped, 1), (lambda flipped: ~flipped, -1), (lambda flipped: flipped | True, 0),
    (lambda flipped: flipped & False, 0),
])
def test_what_is_shown_whatever_the_flip_tells_nothing(shown, expected):
    flipped = np.array([[[True], [False], [True], [False]]])
    maps = np.where(shown(flipped)[..., None], 2, 0)
    found = flip_recovery(flip_recovery_counts(maps, np.zeros_like(maps), flipped, [0], [2]))
    np.testing.assert_array_equal(found, [[expected]])


def test_chance_is_0_though_one_class_is_likelier():
    rng = np.random.default_rng(0)
    flipped = rng.random((1, 20000, 1)) < 0.2
    maps = np.where(rng.random((1, 20000, 1, 1)) < 0.9, 0, 2)
    found = flip_recovery(flip_recovery_counts(maps, np.zeros_like(maps), flipped, [0], [2]))
    assert found[0, 0] == pytest.approx(0, abs=0.02)


def test_classes_that_are_never_shown_have_no_figure():
    maps, flipped = np.full((1, 2, 1, 1), 5), np.array([[[True], [False]]])
    assert np.isnan(flip_recovery(flip_recovery_counts(maps, np.zeros_like(maps), flipped, [0], [2]))).all()


def test_errors_say_what_and_what_to_do():
    maps = np.zeros((1, 2, 2, 2), int)
    with pytest.raises(ValueError, match="truth .B, N, H, W. as reconstructions, flipped .B, N, F.*Received: shapes"):
        flip_recovery_counts(maps, maps, np.zeros((1, 2, 3)), *PAIRS)
    with pytest.raises(ValueError, match="Received: shapes"):
        flip_recovery_counts(maps, maps[:, :1], np.zeros((1, 2, 2)), *PAIRS)
