"""Signed-rank test against counting out all signs, ranks with zeros, groups, Holm's step."""

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wilcoxon

from tf_probunet.metrics import compare_paired, holm


def plain_ranks(differences):
    """Ranks of the sizes by counting, ties sharing."""
    sizes = np.abs(differences)
    return np.array([(sizes < one).sum() + ((sizes == one).sum() + 1) / 2 for one in sizes])


def plain_p_value(differences):
    """Two-sided, by all 2^n signs of the differences that are not 0."""
    ranks = plain_ranks(differences)[differences != 0]
    center = ranks.sum() / 2
    seen = abs(ranks[differences[differences != 0] > 0].sum() - center)
    sums = [np.dot(signs, ranks) for signs in itertools.product([0, 1], repeat=len(ranks))]
    return np.mean(np.abs(np.array(sums) - center) >= seen - 1e-9)


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 10), st.booleans())
def test_few_pairs_count_all_signs(seed, num_pairs, ties):
    rng = np.random.default_rng(seed)
    differences = rng.integers(-2, 4, num_pairs) / 10 if ties else rng.normal(0.3, 1, num_pairs)
    result = compare_paired(differences, np.zeros(num_pairs))
    if not differences.any():
        assert (result.p_value, result.effect_size) == (1.0, 0.0)
        return
    assert result.p_value == pytest.approx(plain_p_value(differences), abs=1e-12)
    ranks = plain_ranks(differences)
    positive, negative = ranks[differences > 0].sum(), ranks[differences < 0].sum()
    assert result.effect_size == pytest.approx((positive - negative) / (positive + negative))


def test_equals_scipy():
    rng = np.random.default_rng(0)
    for num_pairs, method in ((12, "exact"), (50, "exact"), (51, "asymptotic"), (400, "asymptotic")):
        values, reference = rng.random((2, num_pairs))
        expected = wilcoxon(values - reference, zero_method="pratt", method=method).pvalue
        assert compare_paired(values, reference).p_value == pytest.approx(expected, rel=1e-9)


def test_counting_and_approximation_agree_where_they_meet():
    rng = np.random.default_rng(1)
    differences = rng.integers(-3, 5, 50) / 10
    counted = compare_paired(differences, np.zeros(50)).p_value
    assert counted == pytest.approx(wilcoxon(differences, zero_method="pratt", method="asymptotic").pvalue, rel=0.1)


def test_zeros_are_ranked_before_they_are_dropped():
    # Pratt: 30 zeros take the lowest ranks, so the largest differences weigh little more than the others.
    differences = np.concatenate([np.zeros(30), [0.1, -0.2, 0.3, 0.4, 0.5]])
    result = compare_paired(differences, np.zeros(35))
    assert result.effect_size == pytest.approx((31 + 33 + 34 + 35 - 32) / (31 + 32 + 33 + 34 + 35))
    assert result.num_pairs == 35


def test_known_effects():
    values = np.random.default_rng(1).random(60)
    assert compare_paired(values + 0.1, values).effect_size == 1.0
    assert compare_paired(values - 0.1, values).effect_size == -1.0
    assert compare_paired(values - 0.1, values).mean_difference == pytest.approx(-0.1)
    assert compare_paired(values + 0.1, values).p_value < 1e-6


def test_chance_is_rarely_called_a_difference():
    rng = np.random.default_rng(2)
    p_values = [compare_paired(*rng.random((2, 60))).p_value for _ in range(400)]
    assert 0.02 < np.mean(np.array(p_values) < 0.05) < 0.085


def test_slices_of_few_patients_are_no_evidence():
    # Each of 10 patients has one true difference, by chance; 40 slices each make the test over images sure of it.
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(10), 40)
    false = {"images": 0, "groups": 0}
    for _ in range(60):
        differences = rng.normal(size=10)[groups] + 0.1 * rng.normal(size=400)
        result = compare_paired(differences, np.zeros(400), groups)
        false["images"] += result.p_value < 0.05
        false["groups"] += result.group_p_value < 0.05
        assert result.num_groups == 10 and -1 <= result.group_effect_size <= 1
    assert false["images"] > 30 and false["groups"] < 8


def test_groups_are_tested_by_their_means():
    values, reference = np.array([3.0, 5.0, 1.0, 2.0]), np.array([1.0, 1.0, 1.5, 1.0])
    result = compare_paired(values, reference, ["a", "a", "b", "c"])
    assert result.group_p_value == pytest.approx(plain_p_value(np.array([3.0, -0.5, 1.0])))
    assert result.num_groups == 3 and result.num_pairs == 4


def test_degenerate_input_gives_one_without_a_warning():
    values = np.random.default_rng(4).random(20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for other in (values, values + 1e-15):
            result = compare_paired(other, values, np.arange(20) // 2)
            assert (result.p_value, result.effect_size, result.group_p_value) == (1.0, 0.0, 1.0)
        single = compare_paired([0.5], [0.25])
        assert (single.p_value, single.effect_size, single.num_groups) == (1.0, 1.0, None)


def test_order_of_pairs_does_not_matter():
    rng = np.random.default_rng(5)
    values, reference, groups = rng.random(50), rng.random(50), np.arange(50) // 4
    order = rng.permutation(50)
    np.testing.assert_allclose(
        compare_paired(values[order], reference[order], groups[order]), compare_paired(values, reference, groups)
    )


def test_incomplete_pairs_are_left_out_and_counted():
    values, reference = np.random.default_rng(6).random((2, 12))
    with_gaps = np.concatenate([values, [np.nan, 1.0]]), np.concatenate([reference, [0.0, np.nan]])
    expected = compare_paired(values, reference, np.arange(12) // 3)
    assert compare_paired(*with_gaps, [*(np.arange(12) // 3), 9, 9]) == expected
    assert expected.num_pairs == 12


def test_holm():
    np.testing.assert_allclose(holm([0.01, 0.02, 0.03, 0.04]), [0.04, 0.06, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.5, 0.9, 0.001]), [1.0, 1.0, 0.003])
    assert holm([]).size == 0
    rng = np.random.default_rng(7)
    for _ in range(50):
        p_values = rng.random(6) ** 3
        # A hypothesis falls at alpha if it and all smaller ones pass the steps alpha / m, alpha / (m - 1), ..
        adjusted = holm(p_values)
        for alpha in (0.01, 0.05, 0.3):
            rejected = set()
            for step, index in enumerate(np.argsort(p_values)):
                if p_values[index] > alpha / (6 - step):
                    break
                rejected.add(int(index))
            assert set(np.flatnonzero(adjusted <= alpha).tolist()) == rejected


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: compare_paired([1.0, 2.0], [1.0]), ["[B]", "(2,) and (1,)", "same split"]),
        (lambda: compare_paired([np.nan], [1.0]), ["No pair", "Received: 1 pairs"]),
        (lambda: compare_paired([1.0, 2.0], [1.0, 1.0], ["a"]), ["groups", "2 pairs", "(1,)"]),
        (lambda: holm([0.5, 1.5]), ["[0, 1]"]),
        (lambda: holm([np.nan]), ["Leave out"]),
    ],
)
def test_errors_say_what_and_what_to_do(call, words):
    with pytest.raises(ValueError) as caught:
        call()
    for word in words:
        assert word in str(caught.value)
