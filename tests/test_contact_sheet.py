"""Pages: outlines lie on the masks' borders in the graders' colours, and each page holds what it should."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tf_probunet import overlay
from tf_probunet.contact_sheet import GRADER_COLORS, augmented_sheet, contact_sheet
from tf_probunet.data.augment import Augmentation, augment
from tf_probunet.data.dataset import ImageEncoding
from tf_probunet.data.writer import Record
from tf_probunet.sheet_page import GAP, LETTER, LINE, Tile, rgb, shorten, write_page

COLORS = [rgb(color) for color in GRADER_COLORS]
PAINT = (90, 40, 140)  # of images in which no letter and no class has this colour


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"))


def has(picture, color):
    return (picture == color).all(axis=-1)


def squares(size=32, channels=1, graders=2):
    """Grader 1 marks rows 4..9 and columns 6..11, the others a pixel at (20, 20) or, the last of several, nothing."""
    masks = np.zeros((graders, size, size), np.uint8)
    masks[0, 4:10, 6:12] = 1
    masks[1:, 20, 20] = 1
    if graders > 2:
        masks[-1] = 0
    return Record(np.full((size, size, channels), 100, np.uint8), masks, "patient/slice", "patient")


def panel_rows(page):
    """Rows of a page through the panel of `squares`; the edges of grey letters can have its grey, here and there."""
    return np.flatnonzero(has(page, (100, 100, 100)).sum(axis=1) > 150)


@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_outline_is_the_ring_inside_the_border(seed, thickness):
    mask = np.random.default_rng(seed).random((7, 9)) < 0.7
    line = overlay.outline(mask, thickness)
    padded = np.pad(mask, thickness)
    for y, x in np.ndindex(mask.shape):
        near = padded[y : y + 2 * thickness + 1, x : x + 2 * thickness + 1]
        assert line[y, x] == (mask[y, x] and not near.all())


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_every_outline_pixel_has_the_colour_of_a_grader_who_drew_it(seed, graders):
    masks = np.random.default_rng(seed).random((graders, 12, 12)) < 0.6
    drawn = overlay.draw_outlines(np.zeros((12, 12, 3), np.uint8), masks, COLORS[:graders])
    lines = [overlay.outline(mask) for mask in masks]
    for line, color in zip(lines, COLORS, strict=False):
        assert not (has(drawn, color) & ~line).any()
    assert (drawn.any(axis=-1) == np.any(lines, axis=0)).all()


def test_coinciding_outlines_show_every_colour():
    masks = np.zeros((4, 32, 32), bool)
    masks[:, 4:28, 4:28] = True
    drawn = overlay.draw_outlines(np.zeros((32, 32, 3), np.uint8), masks, COLORS[:4])
    counts = [has(drawn, color).sum() for color in COLORS[:4]]
    assert sum(counts) == 4 * 23 and min(counts) > 15


def test_resizing_keeps_small_marks_and_never_smooths():
    mask = np.zeros((100, 60), bool)
    mask[33, 17] = True
    assert overlay.resize(mask, 40).sum() == 1 and overlay.resize(mask, 40).shape == (33, 20)
    image = np.random.default_rng(0).random((5, 4, 3))
    assert np.array_equal(overlay.resize(image, 17)[::3, ::3], image)
    labels = np.arange(16).reshape(4, 4)
    assert set(overlay.resize(labels, 2).ravel()) < set(range(16))


@pytest.mark.parametrize("number, apart", [(2, 25), (10, 18), (19, 13), (34, 9)])
def test_class_colours_look_different_from_each_other_and_from_what_is_ignored(number, apart):
    """By CIEDE2000, another measure than the one they are chosen by: 2.3 is just noticeable side by side."""
    color = pytest.importorskip("skimage.color")
    colors = np.concatenate([overlay.class_colors(number), [(0, 0, 0)]])
    lab = color.rgb2lab(colors[None] / 255)[0]
    distances = color.deltaE_ciede2000(lab[:, None], lab[None])
    assert distances[~np.eye(number + 1, dtype=bool)].min() > apart


def test_more_classes_have_the_colours_of_fewer_and_more():
    assert (overlay.class_colors(34)[:19] == overlay.class_colors(19)).all()


def test_ignored_is_black_with_stripes():
    drawn = overlay.draw_classes(np.array([[0, 1], [255, 255]]).repeat(16, 1), overlay.class_colors(2))
    assert set(map(tuple, drawn[1])) == {(0, 0, 0), overlay.IGNORED}
    assert (drawn[0, :16] == overlay.class_colors(2)[0]).all() and (drawn[0, 16:] == overlay.class_colors(2)[1]).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_sheet_draws_each_grader_exactly_on_the_pixels(tmp_path, write_dataset, channels):
    info = write_dataset(tmp_path / "d", {"val": [squares(channels=channels)]}, image=ImageEncoding(channels=channels))
    assert contact_sheet(info, "val", tmp_path / "sheet.png") == 1
    page = pixels(tmp_path / "sheet.png")
    top = panel_rows(page)[0]
    panel = page[top : top + 256, GAP : GAP + 256]  # 32 pixels, each enlarged to 8x8
    first, second = has(panel, COLORS[0]), has(panel, COLORS[1])
    expected = np.zeros((256, 256), bool)
    expected[32:80, 48:96] = True
    expected[34:78, 50:94] = False
    assert np.array_equal(first, expected)
    assert second[160:168, 160:168].any() and second.sum() == second[160:168, 160:168].sum()
    assert has(panel, (100, 100, 100)).sum() == 256 * 256 - first.sum() - second.sum()  # nothing was smoothed
    assert not has(page[top + 256 :], COLORS[0]).any()


def test_nothing_is_noted_in_the_colour_of_who_drew_nothing(tmp_path, write_dataset):
    info = write_dataset(tmp_path / "d", {"val": [squares(graders=3)]})
    contact_sheet(info, "val", tmp_path / "sheet.png")
    page = pixels(tmp_path / "sheet.png")
    below = page[panel_rows(page)[-1] + 1 :]
    near = [(np.abs(below.astype(int) - color).sum(axis=-1) < 60).any() for color in COLORS[:3]]
    assert near == [False, False, True]


def test_number_of_panels_and_size_of_a_full_sheet(tmp_path, tiny_info):
    for number, rows in ((1, 1), (6, 1), (7, 2), (24, 4)):
        path = tmp_path / f"{number}.png"
        assert contact_sheet(tiny_info, "train", path, num_images=number) == number
        height, width = pixels(path).shape[:2]
        assert height < rows * (256 + 2 * LINE + GAP) + 8 * LINE and width <= 6 * (256 + GAP) + GAP
    assert contact_sheet(tiny_info, "val", tmp_path / "all.png") == 8  # no more than there are


def street(graders=1):
    masks = np.zeros((graders, 40, 60), np.uint8)
    masks[:, 10:20], masks[:, 20:30, :30], masks[:, 35:] = 1, 2, 255
    return Record(np.tile(np.uint8(PAINT), (40, 60, 1)), masks, "town/frame", "town")


@pytest.mark.parametrize("graders, maps", [(1, 1), (6, 4)])
def test_class_maps_stand_beside_the_image(tmp_path, write_dataset, graders, maps):
    info = write_dataset(tmp_path / "d", {"val": [street(graders=graders)]}, classes=("road", "car", "sky", "cat"),
                         image=ImageEncoding(channels=3))
    contact_sheet(info, "val", tmp_path / "sheet.png")
    page, scale = pixels(tmp_path / "sheet.png"), 256 // 60 if graders == 1 else 200 // 60
    area = scale**2
    assert has(page, PAINT).sum() == 40 * 60 * area
    for label, count in ((1, 600), (2, 300)):
        found = has(page, overlay.class_colors(4)[label]).sum()
        assert maps * count * area < found < maps * count * area + 60  # a square in the legend, too
    assert not has(page, overlay.class_colors(4)[3]).any()  # no cat, neither drawn nor in the legend
    assert has(page, overlay.IGNORED).sum() > maps * 300 * area / 5


def test_augmented_views_are_those_of_training_with_one_grader_a_row(tmp_path, tiny_info, monkeypatch):
    calls = []

    def spy(image, mask, seed, *rest):
        calls.append((mask.numpy(), tuple(seed.numpy()), rest))
        return augment(image, mask, seed, *rest)

    monkeypatch.setattr("tf_probunet.contact_sheet.augment", spy)
    augmentation = Augmentation(rotation=180.0, mirror=True, scale=(0.8, 1.2))
    draw = dict(num_images=3, num_views=4, name="some")
    assert augmented_sheet(tiny_info, "val", tmp_path / "a.png", augmentation, (24, 16), seed=7, **draw) == 3
    assert len(calls) == 12 and len({seed for _, seed, _ in calls}) == 12
    for row in range(3):
        masks = [mask for mask, *_ in calls[4 * row : 4 * row + 4]]
        assert masks[0].any() and all(np.array_equal(mask, masks[0]) for mask in masks)
    assert {rest for *_, rest in calls} == {((24, 16), augmentation, 255)}
    augmented_sheet(tiny_info, "val", tmp_path / "b.png", augmentation, (24, 16), seed=7, **draw)
    augmented_sheet(tiny_info, "val", tmp_path / "c.png", augmentation, (24, 16), seed=8, **draw)
    first, again, other = (pixels(tmp_path / f"{name}.png") for name in "abc")
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_what_nobody_labelled_is_striped_in_augmented_views(tmp_path, tiny_info):
    for crop, striped in ((32, True), (8, False)):
        augmented_sheet(tiny_info, "val", tmp_path / "a.png", Augmentation(rotation=45.0), (crop, crop), num_images=2)
        assert (has(pixels(tmp_path / "a.png"), overlay.IGNORED).sum() > 500) == striped


def test_augmented_classes_shine_through(tmp_path, write_dataset):
    info = write_dataset(tmp_path / "d", {"val": [street()]}, classes=("road", "car", "sky"),
                         image=ImageEncoding(channels=3))
    augmented_sheet(info, "val", tmp_path / "a.png", Augmentation(mirror=True), (40, 60), num_views=2)
    car = (np.array(PAINT) + overlay.class_colors(3)[1].astype(int)) // 2
    assert has(pixels(tmp_path / "a.png"), car).sum() == 3 * 600 * 16


def test_page_keeps_panels_as_they_are_and_long_names_apart(tmp_path):
    panel = np.random.default_rng(0).integers(0, 256, (70, 50, 3), np.uint8)
    write_page([Tile([panel], [[("x", "#ffffff")]])] * 3, tmp_path / "page.png", title="three", columns=2)
    page = pixels(tmp_path / "page.png")
    found = sum(np.array_equal(page[y : y + 70, x : x + 50], panel) for y, x in np.ndindex(page.shape[0] - 69, 200))
    assert found == 3
    assert len(shorten("a/very/long/name/of/an/image.png", 70)) * LETTER <= 70 and shorten("short", 70) == "short"


def test_wrong_arguments_say_what_to_do_and_leave_no_file(tmp_path, tiny_info):
    (tmp_path / "file").write_text("")
    path = tmp_path / "sheet.png"
    with pytest.raises(ValueError, match="No split 'tset'"):
        contact_sheet(tiny_info, "tset", path)
    with pytest.raises(ValueError, match="larger than images"):
        contact_sheet(tiny_info, "val", path, crop_size=(33, 32))
    with pytest.raises(ValueError, match="Preset big cuts crops of 64x64, but there are images of 32x32.*_size 32"):
        augmented_sheet(tiny_info, "val", path, Augmentation(), (64, 64), name="big")
    with pytest.raises(ValueError, match="num_views must be at least 1"):
        augmented_sheet(tiny_info, "val", path, Augmentation(), (16, 16), num_views=0)
    with pytest.raises(OSError, match="file"):
        contact_sheet(tiny_info, "val", tmp_path / "file" / "sheet.png")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_page_that_fails_half_way_leaves_the_old_one(tmp_path, tiny_info, monkeypatch):
    path = tmp_path / "sheet.png"
    path.write_bytes(b"old")
    import matplotlib.figure

    def fail(self, file, **options):
        file.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk is full"):
        contact_sheet(tiny_info, "val", path)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_missing_matplotlib_names_the_extra(monkeypatch, tmp_path, tiny_info):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'tf_probunet\[plots\]'"):
        contact_sheet(tiny_info, "val", tmp_path / "sheet.png")
