"""Figures of a comparison are drawn, as large as their content asks for, and show what they were given."""

import numpy as np
import pytest
from PIL import Image

from tf_probunet.comparison import plots

RNG = np.random.default_rng(0)
COUNTS = (1, 4, 8, 16)


def models(number, roles=("reference", "baseline", "ablation")):
    """Rows for the figure of distributions."""
    return [
        {"label": f"model {place}", "role": roles[min(place, 2)],
         "values": {count: RNG.uniform(0, 1, 50) for count in COUNTS}, "mean": dict.fromkeys(COUNTS, 0.5),
         "interval": dict.fromkeys(COUNTS, (0.4, 0.6) if place else None)}
        for place in range(number)
    ]


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"))


def test_distributions_grow_with_the_models(tmp_path):
    floors = {count: 0.4 / count for count in COUNTS}
    plots.distance_distributions(models(2), floors, tmp_path / "two.png", title="two")
    plots.distance_distributions(models(9), floors, tmp_path / "nine.png", title="nine")
    (two, wide), (nine, same) = (pixels(tmp_path / name).shape[:2] for name in ("two.png", "nine.png"))
    assert wide == same and nine - two == pytest.approx(7 * 0.62 * 110, abs=2)


def test_distributions_of_equal_values(tmp_path):
    rows = [model | {"values": {count: np.zeros(3) for count in COUNTS}} for model in models(1)]
    plots.distance_distributions(rows, dict.fromkeys(COUNTS, 0.0), tmp_path / "a.png", title="all alike")
    assert pixels(tmp_path / "a.png").std() > 5


def test_agreement_shows_both_groups_even_far_apart(tmp_path):
    def row(mean):
        return {"label": "model", "role": "reference", "mean": {"disagreed": 0.1, "agreed": mean},
                "interval": {"disagreed": (0.05, 0.15), "agreed": None}}

    panels = [("disagreed", "graders disagree", 0.02), ("agreed", "graders agree", 0.01)]
    for name, mean in (("a.png", 1.5), ("b.png", 0.2)):
        plots.agreement([row(mean)], panels, tmp_path / name, title="two groups", xlabel="energy distance")
    first, second = pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png")
    assert first.shape == second.shape and (first != second).any()
    blue = (np.abs(first.astype(int) - (0, 114, 178)).sum(axis=-1) < 30).any(axis=0)  # columns with the diamond
    middle = first.shape[1] // 2
    assert blue[middle:].any() and blue[:middle].any()


def test_modes_that_were_never_sampled_are_marked(tmp_path):
    truth = np.array([0.5, 0.3, 0.2])
    for name, frequencies in (("all.png", truth), ("one.png", np.array([1.0, 0.0, 0.0]))):
        rows = [{"label": "model", "role": "baseline", "frequencies": frequencies, "note": "a note"}] * 4
        plots.mode_frequencies(rows, truth, tmp_path / name, title="modes")
    first, second = pixels(tmp_path / "all.png"), pixels(tmp_path / "one.png")
    assert first.shape == second.shape and (first != second).any()


def test_training_curves_of_one_row_and_of_many(tmp_path):
    history = [{"step": step, "val_energy_distance": 1 / step} for step in (1, 2, 3)]
    rows = [{"label": f"model {place}", "role": "baseline", "runs": [history, history[-1:]]} for place in range(7)]
    plots.training_curves(rows, tmp_path / "a.png", title="training")
    assert min(pixels(tmp_path / "a.png").shape[:2]) > 400


def test_latent_planes_are_drawn_with_every_segmentation(tmp_path):
    panels = np.zeros((3, 3, 8, 12, 3), np.uint8)
    panels[..., 0], panels[0, 0], panels[2, 2] = 60, (250, 0, 0), (0, 0, 250)
    plane = {"name": "an image", "panels": panels, "mean": np.zeros(2), "stddev": np.ones(2), "extent": 3.0,
             "posteriors": np.array([[0.5, -0.5], [9.0, 0.0]]), "image": np.zeros((8, 40, 3), np.uint8)}
    plots.latent_planes([plane, plane], tmp_path / "a.png", title="planes")
    drawn = pixels(tmp_path / "a.png").astype(int)
    red, blue = (np.argwhere(np.abs(drawn - color).sum(axis=-1) < 20) for color in ((250, 0, 0), (0, 0, 250)))
    assert len(red) > 500 and len(blue) > 500
    assert red[:, 0].mean() < blue[:, 0].mean()  # the first row is the highest
