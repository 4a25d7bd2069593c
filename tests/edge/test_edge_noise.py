"""The noise of a device is TensorFlow's."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tf_probunet.edge.noise import standard_normal

SEEDS = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=3), st.tuples(SEEDS, SEEDS))
def test_equals_stateless_normal(shape, seed):
    expected = tf.random.stateless_normal(shape, tf.constant(seed, tf.int64)).numpy()
    found = standard_normal(tuple(shape), seed)
    assert found.dtype == np.float32 and found.shape == tuple(shape)
    np.testing.assert_allclose(found, expected, atol=4e-6, rtol=1e-6)


def test_many_numbers_are_those_of_one_draw():
    expected = tf.random.stateless_normal((3, 1000, 6), (5, 7)).numpy()
    np.testing.assert_allclose(standard_normal((3, 1000, 6), (5, 7)), expected, atol=4e-6)


@pytest.mark.parametrize("seed", [3, (1, 2, 3), (0.5, 1), None, "ab"])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(ValueError, match="two integers"):
        standard_normal((1, 1), seed)
