"""The bootstrap interval: coverage, groups, determinism, errors."""


import numpy as np
import pytest

from tf_probunet.metrics import bootstrap, bootstrap_interval, bootstrap_interval_of_sums


def test_agrees_with_the_normal_interval():
    values = np.random.default_rng(0).normal(3.0, 2.0, size=400)
    low, high = bootstrap_interval(values, num_resamples=8000)
    error = values.std() / np.sqrt(len(values))
    np.testing.assert_allclose([low, high], values.mean() + 1.96 * error * np.array([-1, 1]), atol=0.1 * error)


def test_exact_resamples_of_two_groups():
    # Of two groups the mean is 0, 3 or (0 + 2 * 3) / 3 = 2, with probabilities 1/4, 1/4, 1/2; 2 and not 1.5, since a
    # group weighs as much as it has images.
    values, groups = [3.0, 0.0, 3.0], ["b", "a", "b"]
    assert bootstrap_interval(values, groups, level=0.6) == (0.0, 3.0)
    assert bootstrap_interval(values, groups, level=0.4) == (2.0, 2.0)


def test_covers_the_mean_as_often_as_promised_only_with_groups():
    generator = np.random.default_rng(1)
    groups = np.repeat(np.arange(40), 5)
    hits = {"groups": 0, "images": 0}
    for seed in range(200):
        values = generator.normal(size=40)[groups] + 0.3 * generator.normal(size=200)  # True mean 0.
        for name, given in (("groups", groups), ("images", None)):
            low, high = bootstrap_interval(values, given, level=0.9, num_resamples=300, seed=seed)
            hits[name] += low <= 0 <= high
    assert 0.82 * 200 <= hits["groups"] <= 0.96 * 200
    assert hits["images"] < 0.7 * 200


def test_higher_level_is_wider():
    values = np.random.default_rng(2).random(50)
    (low, high), (lower, higher) = (bootstrap_interval(values, level=level) for level in (0.5, 0.99))
    assert lower < low < values.mean() < high < higher


def test_seed_decides():
    values = np.random.default_rng(3).random(50)
    state = np.random.get_state()[1].copy()
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # numpy's global generator is left alone.


def test_order_of_images_and_names_of_groups_do_not_matter():
    values, groups = np.random.default_rng(4).random(60), np.repeat(np.arange(20), 3)
    order = np.random.default_rng(5).permutation(60)
    expected = bootstrap_interval(values, groups)
    np.testing.assert_allclose(bootstrap_interval(values[order], groups[order]), expected)
    named = [f"patient-{group:02}" for group in groups]
    np.testing.assert_allclose(bootstrap_interval(values, named), expected)


def test_blocks_do_not_change_the_result(monkeypatch):
    values = np.random.default_rng(6).random(30)
    expected = bootstrap_interval(values)
    monkeypatch.setattr(bootstrap, "BLOCK", 1000)
    assert bootstrap_interval(values) == expected


def test_a_mean_is_a_figure_of_sums():
    values, groups = np.random.default_rng(7).random(30), np.arange(30) // 3
    addends = np.stack([values, np.ones(30), values**2], axis=1)
    assert bootstrap_interval_of_sums(addends, lambda sums: sums[:, 0] / sums[:, 1], groups) == bootstrap_interval(
        values, groups
    )
    low, high = bootstrap_interval_of_sums(
        addends, lambda sums: np.sqrt(sums[:, 2] / sums[:, 1] - (sums[:, 0] / sums[:, 1]) ** 2), groups
    )
    assert low < values.std() < high


def test_resamples_without_the_figure_are_left_out():
    addends = [[1.0, 1.0], [0.0, 0.0]]
    # Of two groups one time in four the second is drawn twice, and 0 / 0 is no figure; else it is 1.
    with np.errstate(invalid="ignore"):
        assert bootstrap_interval_of_sums(addends, lambda sums: sums[:, 0] / sums[:, 1]) == (1.0, 1.0)
        nothing = bootstrap_interval_of_sums(np.zeros((2, 2)), lambda sums: sums[:, 0] / sums[:, 1])
    assert np.isnan(nothing).all()
    with pytest.raises(ValueError, match=r"addends.*\(3,\)"):
        bootstrap_interval_of_sums([1.0, 2.0, 3.0], lambda sums: sums)


@pytest.mark.parametrize(
    ("values", "options", "words"),
    [
        ([], {}, ["values", "(0,)"]),
        ([[1.0, 2.0]], {}, ["values", "(1, 2)"]),
        ([1.0, np.nan], {}, ["1 not finite", "Leave out"]),
        ([1.0, 2.0], {"groups": ["a"]}, ["groups", "2 values", "(1,)"]),
        ([1.0, 2.0], {"groups": ["a", "a"]}, ["at least 2 groups", "Received: 1", "more patients"]),
        ([1.0], {}, ["at least 2 groups"]),
        ([1.0, 2.0], {"level": 95}, ["level", "Received: 95", "0.95"]),
        ([1.0, 2.0], {"num_resamples": 0}, ["num_resamples", "Received: 0"]),
        ([1.0, 2.0], {"seed": None}, ["seed", "Received: None"]),
        ([1.0, 2.0], {"seed": -1}, ["seed", "Received: -1"]),
    ],
)
def test_errors_say_what_and_what_to_do(values, options, words):
    with pytest.raises(ValueError) as caught:
        bootstrap_interval(values, **options)
    for word in words:
        assert word in str(caught.value)
