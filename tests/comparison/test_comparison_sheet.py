"""Sheets of samples: what is drawn can be told apart, and where it was put."""

import numpy as np
import pytest
from PIL import Image

from tf_probunet.comparison.sheet import GRADER_COLOR, draw_segmentation, heat, palette, sample_sheet
from tf_probunet.sheet_page import rgb

BASE = np.full((64, 64, 3), 100, np.uint8)
FLIPS = [{"from": "road", "to": "road 2", "probability": 0.5}, {"from": "car", "to": "car 2", "probability": 0.5}]
CLASSES = ("road", "sky", "car", "road 2", "car 2")


def case(size=64):
    rng = np.random.default_rng(0)
    return {"image": rng.integers(0, 256, (size, size, 1), np.uint8), "references": ["grader 1", "grader 2"],
            "segmentations": np.stack([np.eye(size, dtype=np.uint8), np.zeros((size, size), np.uint8)])}


def rows(size=64):
    samples = np.zeros((3, size, size), np.uint8)
    samples[1], samples[2, 8:24, 8:24] = 1, 1
    return [("one model", samples, np.zeros((size, size), np.uint8)),
            ("another with a long name", samples[::-1], np.full((size, size), 255, np.uint8))]


class TestSegmentation:
    def test_everything_and_nothing_differ_in_word_and_picture(self):
        nothing, word = draw_segmentation(BASE, np.zeros((64, 64), np.uint8), GRADER_COLOR)
        assert word == "nothing" and (nothing == BASE).all()
        everything, word = draw_segmentation(BASE, np.ones((64, 64), np.uint8), GRADER_COLOR)
        assert word == "everything" and (everything != BASE).any(axis=-1).all()
        assert (everything[0] == rgb(GRADER_COLOR)).all()  # the outline runs along the rim

    def test_an_outline_and_a_light_fill(self):
        mask = np.zeros((32, 32), np.uint8)
        mask[8:16, 8:16] = 1
        drawn, word = draw_segmentation(BASE, mask, GRADER_COLOR)
        assert word == ""
        inside = np.zeros((64, 64), bool)
        inside[16:32, 16:32] = True
        assert ((drawn != BASE).any(axis=-1) == inside).all()
        assert (drawn[16:18, 16:32] == rgb(GRADER_COLOR)).all()  # two pixels thick, for it is enlarged
        assert 0 < np.abs(drawn[24, 24].astype(int) - 100).max() < 60

    def test_ignored_pixels_are_striped_and_no_foreground(self):
        mask = np.full((64, 64), 255, np.uint8)
        drawn, word = draw_segmentation(BASE, mask, GRADER_COLOR)
        assert word == "nothing" and 0.1 < (drawn != BASE).any(axis=-1).mean() < 0.5

    def test_many_classes_have_the_palettes_colours(self):
        colors = palette(CLASSES, FLIPS)
        mask = np.arange(64 * 64).reshape(64, 64) % 5
        drawn, word = draw_segmentation(BASE, mask, colors)
        assert word == "" and (drawn == colors[mask]).all()


class TestPalette:
    def test_twins_share_a_hue_and_what_does_not_flip_is_grey(self):
        colors = palette(CLASSES, FLIPS).astype(int)
        assert np.ptp(colors[1]) == 0 and all(np.ptp(colors[label]) > 60 for label in (0, 2, 3, 4))
        for label, twin in ((0, 3), (2, 4)):
            assert colors[label].argmax() == colors[twin].argmax() and colors[twin].sum() > colors[label].sum() + 150
        assert len(np.unique(colors, axis=0)) == 5

    def test_two_classes_have_none_and_others_their_usual_ones(self):
        assert palette(("background", "lesion")) is None
        assert palette(("a", "b", "c")).shape == (3, 3)

    def test_heat_rises(self):
        assert (np.diff(heat(np.linspace(0, 1, 30)[None])[0].astype(int).sum(axis=-1)) > 0).all()


class TestSheet:
    def test_has_a_row_for_each_model_and_the_size_it_says(self, tmp_path):
        height, width = sample_sheet(case(), rows(), tmp_path / "two.png", title="a sheet")
        assert Image.open(tmp_path / "two.png").size == (width, height)
        taller, same = sample_sheet(case(), rows() * 2, tmp_path / "four.png", title="a sheet")
        assert (taller, same) == (height + 2 * 130, width)

    def test_shows_what_it_is_given(self, tmp_path):
        sample_sheet(case(), rows(), tmp_path / "a.png", title="a sheet")
        sample_sheet(case(), [rows()[0], ("another with a long name", *rows()[0][1:])], tmp_path / "b.png",
                     title="a sheet")
        first, second = (np.asarray(Image.open(tmp_path / name).convert("RGB")) for name in ("a.png", "b.png"))
        differs = (first != second).any(axis=-1)
        assert differs.any() and not differs[: first.shape[0] // 2].any()  # in the second model's row alone
        colors = {tuple(color) for color in np.unique(first.reshape(-1, 3), axis=0).tolist()}
        assert {(0, 0, 4), (252, 253, 191)} <= colors  # probability 0, probability 1

    @pytest.mark.parametrize("size, channels", [(32, 3), (300, 1)])
    def test_any_size_of_image(self, tmp_path, size, channels):
        one = case(size) | {"image": np.zeros((size, size, channels), np.uint8)}
        height, width = sample_sheet(one, rows(size), tmp_path / "a.png", title="a sheet")
        assert 300 < height < 1000 and 500 < width < 1500

    def test_classes_have_a_legend(self, tmp_path):
        maps = [(label, samples * 3, mean) for label, samples, mean in rows()]
        height, _ = sample_sheet(case(), maps, tmp_path / "a.png", title="a sheet", classes=CLASSES,
                                 colors=palette(CLASSES, FLIPS))
        colors = np.unique(np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).reshape(-1, 3), axis=0).tolist()
        assert palette(CLASSES, FLIPS)[3].tolist() in colors
        assert height > sample_sheet(case(), rows(), tmp_path / "b.png", title="a sheet")[0]
