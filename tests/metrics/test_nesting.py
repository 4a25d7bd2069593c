"""The share of nested pairs against a loop over pairs."""

import hypothesis
import hypothesis.extra.numpy
import hypothesis.strategies as st
import numpy as np
import pytest

from tf_probunet.metrics import nested_share


def by_loop(samples, classes, ignore_label):
    nested = compared = 0
    for first in range(len(samples)):
        for second in range(first):
            for label in classes:
                known = (samples[first] != ignore_label) & (samples[second] != ignore_label)
                a, b = samples[first] == label, samples[second] == label
                a_known, b_known = a & known, b & known
                both, size_a, size_b = (a & b).sum(), a.sum(), b.sum()
                if not both and not (size_a and size_b):
                    continue
                if not size_a or not size_b or (a_known == b_known).all() and size_a == size_b == both:
                    continue
                compared += 1
                nested += both == min(size_a, size_b)
    return nested / compared if compared else np.nan


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(st.data(), st.integers(2, 4), st.integers(1, 5))
def test_equals_a_loop(data, num_classes, num_samples):
    samples = data.draw(hypothesis.extra.numpy.arrays(np.uint8, (2, num_samples, 2, 3),
                                                      elements=st.integers(0, num_classes - 1)))
    expected = [by_loop(image, range(1, num_classes), 255) for image in samples]
    np.testing.assert_allclose(nested_share(samples, num_classes), expected)


def test_thresholds_of_one_map_are_nested_and_disjoint_masks_are_not():
    heights = np.random.default_rng(0).permutation(64).reshape(8, 8)
    thresholds = np.stack([heights > level for level in (10, 20, 30, 40)])[None].astype(int)
    assert nested_share(thresholds, 2) == [1.0]
    blocks = np.zeros((1, 4, 8, 8), int)
    for place in range(4):
        blocks[0, place, 2 * place : 2 * place + 2] = 1
    assert nested_share(blocks, 2) == [0.0]


def test_alike_and_empty_samples_are_no_pairs():
    for value in (0, 1):
        assert np.isnan(nested_share(np.full((1, 3, 4, 4), value), 2))


def test_wrong_samples_are_refused():
    with pytest.raises(ValueError, match="samples must be"):
        nested_share(np.zeros((4, 4), int), 2)
