"""Figures are drawn, of the right size, and show what they were given."""

import sys

import numpy as np
import pytest
from PIL import Image

from tf_probunet import overlay, plots


def row(step, distance):
    return {"step": step, "cross_entropy": 100.0 / step, "val_cross_entropy": 120.0 / step, "kl": 3.0, "val_kl": 3.2,
            "val_energy_distance": distance, "val_sample_diversity": 0.4}


def case(masks):
    rng = np.random.default_rng(0)
    return {"name": "case", "image": rng.random((16, 16, 1)), "segmentations": masks, "samples": np.zeros((3, 16, 16)),
            "probability": rng.random((16, 16))}


def test_progress_is_a_picture_even_after_one_epoch(tmp_path):
    plots.progress([row(10, 0.5)], tmp_path / "one.png")
    plots.progress([row(10, 0.5), row(20, 0.3), row(30, 0.4)], tmp_path / "three.png")
    sizes = [Image.open(tmp_path / name).size for name in ("one.png", "three.png")]
    assert sizes[0] == sizes[1] and min(sizes[0]) > 300


def test_sheet_changes_with_the_masks(tmp_path):
    square = np.zeros((2, 16, 16), np.uint8)
    square[0, 4:10, 4:10] = 1
    plots.sample_sheet([case(square), case(square)], tmp_path / "a.png", title="squares")
    plots.sample_sheet([case(square[::-1]), case(square)], tmp_path / "b.png", title="squares")
    first, second = (np.asarray(Image.open(tmp_path / name)) for name in ("a.png", "b.png"))
    assert first.shape == second.shape and (first != second).any()


def test_sheet_without_graders(tmp_path):
    plots.sample_sheet([case(None)], tmp_path / "a.png", title="no graders")
    assert Image.open(tmp_path / "a.png").size[0] > 300


def test_missing_matplotlib_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'tf_probunet\[plots\]'"):
        plots.progress([row(10, 0.5)], tmp_path / "one.png")


def test_many_classes_are_drawn_in_colours_of_their_own(tmp_path):
    colors = overlay.class_colors(24)
    masks = np.random.default_rng(0).integers(0, 24, (4, 16, 16))
    masks[0, :4] = 255
    plots.sample_sheet([case(masks)], tmp_path / "a.png", title="classes", classes=24, reference="mode",
                       probability="P(flipped)")
    sheet = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).reshape(-1, 3)
    drawn = {tuple(color) for color in np.unique(sheet, axis=0).tolist()}
    assert {tuple(color) for color in colors.tolist()} <= drawn
