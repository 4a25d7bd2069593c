"""Reconstruction IoU against a loop over graders."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_probunet.metrics import pairwise_iou, reconstruction_iou


def test_worked_examples():
    lesion, nothing = [[0, 1, 1]], [[0, 0, 0]]
    graders = np.array([[lesion, lesion, nothing, nothing]])
    np.testing.assert_array_equal(reconstruction_iou(graders, graders, 2), [1.0])
    np.testing.assert_array_equal(reconstruction_iou(graders[:, [0, 2, 2, 0]], graders, 2), [0.5])
    np.testing.assert_array_equal(reconstruction_iou(graders * 0, graders, 2), [0.5])  # empty against empty is met
    weights = [[0.5, 0.5, 0.0, 0.0]]
    np.testing.assert_array_equal(reconstruction_iou(graders * 0, graders, 2, grader_weights=weights), [0.0])


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.randoms(use_true_random=False))
def test_equals_a_loop_and_order_does_not_matter(seed, random):
    rng = np.random.default_rng(seed)
    reconstructions = rng.integers(0, 3, (2, 4, 2, 3))
    graders = rng.choice([0, 1, 2, 255], (2, 4, 2, 3))
    weights = rng.dirichlet([1] * 4, 2)
    result = reconstruction_iou(reconstructions, graders, 3, grader_weights=weights)
    expected = [
        sum(
            weights[image, grader]
            * pairwise_iou(reconstructions[image, grader][None, None], graders[image, grader][None, None], 3).item()
            for grader in range(4)
        )
        for image in range(2)
    ]
    np.testing.assert_allclose(result, expected, atol=1e-12)
    order = random.sample(range(4), 4)
    shuffled = reconstruction_iou(reconstructions[:, order], graders[:, order], 3, grader_weights=weights[:, order])
    np.testing.assert_allclose(shuffled, result, atol=1e-12)


def test_one_for_each_grader():
    graders = np.zeros((1, 4, 2, 2), int)
    with pytest.raises(ValueError, match="one for each grader.*Received: .1, 3, 2, 2. for graders .1, 4, 2, 2."):
        reconstruction_iou(graders[:, :3], graders, 2)
