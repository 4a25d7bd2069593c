"""Statistics of a split: by hand on small pictures, by brute force on random ones, as evaluation has them."""

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_probunet import statistics
from tf_probunet.data.dataset import ImageEncoding
from tf_probunet.data.flips import CITYSCAPES_FLIPS
from tf_probunet.data.reading import evaluation_dataset
from tf_probunet.data.writer import Record
from tf_probunet.metrics import pairwise_distance
from tf_probunet.statistics import dataset_statistics, text
from tf_probunet.tally import QUANTILES, Tally

A, B, NOTHING = [[1, 1], [0, 0]], [[1, 0], [0, 0]], [[0, 0], [0, 0]]


def records(*cases, image=None, **provenance):
    pixels = np.zeros((2, 2, 1), np.uint8) if image is None else image
    return [Record(pixels, np.array(masks, np.uint8), f"case{number}", f"group{number // 2}", provenance)
            for number, masks in enumerate(cases)]


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory, write_dataset):
    """Three images: graders A, B and nothing; A and A; nothing alone."""
    image = np.array([[[0], [51]], [[102], [255]]], np.uint8)
    folder = tmp_path_factory.mktemp("by_hand") / "data"
    cases = [A, B, NOTHING], [A, A], [NOTHING]
    return write_dataset(folder, {"val": records(*cases, image=image, pixel_spacing_mm=0.5)})


def test_figures_by_hand(by_hand):
    found = dataset_statistics(by_hand, "val")
    assert (found.num_images, found.num_groups, found.image_size, found.channels) == (3, 2, (2, 2), 1)
    assert found.graders_an_image == {1: 1, 2: 1, 3: 1}
    assert found.presence == pytest.approx({"all": 1 / 3, "some": 1 / 3, "none": 1 / 3})
    # image 0: one pixel by A and B, one by A alone; image 1: two pixels by both
    assert found.graders_a_pixel == pytest.approx({1: 1 / 4, 2: 3 / 4, 3: 0})
    # pairs of image 0: AB 1/2, A0 and B0 0; of image 1: 1; each image counts the same
    assert found.pairs == pytest.approx({
        "iou": (0.5 / 3 + 1) / 2, "distance": 1 - (0.5 / 3 + 1) / 2, "both": (1 / 3 + 1) / 2, "one": (2 / 3) / 2,
        "neither": 0, "iou_both": (0.5 / 3 + 1) / (1 / 3 + 1),
    })
    assert found.grader_diversity == pytest.approx(2 * (0.5 + 1 + 1) / 9 / 3)
    lesion = (3 / 12 + 2 / 4) / 3  # share of pixels: 2, 1 and 0 of 4 in image 0, 2 of 4 in image 1
    assert found.classes == {
        "background": pytest.approx({"pixels": 1 - lesion, "images": 1}),
        "lesion": pytest.approx({"pixels": lesion, "images": 2 / 3}),
    }
    assert found.ignored == 0
    # areas 2 and 1 with weight 1/3 each, 2 and 2 with 1/2 each
    assert found.area == dict(zip(QUANTILES, (1, 1, 2, 2, 2, 2, 2), strict=True))
    assert found.area_mm2 == pytest.approx({quantile: area / 4 for quantile, area in found.area.items()})
    assert found.intensity == pytest.approx(dict(zip(QUANTILES, (0, 0, 0, 0.2, 0.4, 1, 1), strict=True)))


def test_text_and_json_say_these_figures(by_hand):
    found = dataset_statistics(by_hand, "val")
    said = text(found)
    assert said.startswith("Split val: 3 images of 2 groups, 2x2 pixels, 1 channel.")
    assert "by 1 25.0 %, by 2 75.0 %" in said and "some of them in 33.3 %" in said and "mean IoU 0.583" in said
    assert "have no label" not in said and "area, mm2" in said
    assert all(line == line.rstrip() and len(line) < 121 for line in said.splitlines())
    written = json.loads(json.dumps(found.to_dict()))
    assert written["area"]["0.5"] == 2 and written["pairs"]["iou"] == found.pairs["iou"]


def test_one_grader_who_draws_nothing(tmp_path, write_dataset):
    found = dataset_statistics(write_dataset(tmp_path / "d", {"val": records([NOTHING])}), "val")
    assert (found.pairs, found.area, found.area_mm2, found.graders_a_pixel) == (None, None, None, {})
    assert found.grader_diversity == 0 and "marked pixels   none" in text(found)


def test_ignored_pixels_are_neither_class_nor_foreground(tmp_path, write_dataset):
    masks = [[[255, 1], [0, 2]]]
    info = write_dataset(tmp_path / "d", {"val": records(masks)}, classes=("background", "one", "two"))
    found = dataset_statistics(info, "val")
    assert found.ignored == 0.25 and "25.000 % of pixels have no label." in text(found)
    assert [shares["pixels"] for shares in found.classes.values()] == pytest.approx([1 / 3] * 3)
    assert found.area[0.5] == 2


def test_spacing_that_one_record_lacks_is_left_out(tmp_path, write_dataset):
    without = Record(np.zeros((2, 2, 1), np.uint8), np.array([A], np.uint8), "x", "x")
    some = [*records([A], pixel_spacing_mm=0.5), without]
    assert dataset_statistics(write_dataset(tmp_path / "d", {"val": some}), "val").area_mm2 is None


def test_intensity_of_16_bits_is_exact(tmp_path, write_dataset):
    stored = np.array([[[0], [1]], [[40000], [65535]]], np.uint16)
    encoding = ImageEncoding(bits=16, scale=0.1, offset=-1000.0, unit="HU", low=-1000.0, high=400.0)
    info = write_dataset(tmp_path / "d", {"val": records([A], image=stored)}, image=encoding)
    found = dataset_statistics(info, "val").intensity
    values = encoding.to_float(stored).numpy().ravel()
    assert [found[0.0], found[0.5], found[0.75], found[1.0]] == values.tolist()


def test_limit_and_crop(tiny_info):
    found = dataset_statistics(tiny_info, "train", limit=5, crop_size=(16, 20))
    assert (found.num_images, found.image_size) == (5, (16, 20))


def test_progress_and_batches_change_nothing(tiny_info, monkeypatch):
    whole, calls = dataset_statistics(tiny_info, "val").to_dict(), []
    monkeypatch.setattr(statistics, "MOST_IMAGES", 3)
    small = dataset_statistics(tiny_info, "val", progress=lambda *call: calls.append(call)).to_dict()
    assert calls == [(3, 8), (6, 8), (8, 8)]
    assert small.pop("grader_diversity") == pytest.approx(whole.pop("grader_diversity"))
    assert small.pop("pairs") == pytest.approx(whole.pop("pairs"))
    for name, value in small.items():
        assert value == (pytest.approx(whole[name]) if not isinstance(value, dict) or name == "presence" else value)
    assert small["area"] == whole["area"] and small["intensity"] == whole["intensity"]


@pytest.mark.parametrize("arguments, message", [
    (dict(split="tset"), "No split 'tset'"),
    (dict(split="val", crop_size=(64, 64)), "larger than images"),
    (dict(split="val", limit=0), "limit must be at least 1"),
])
def test_wrong_arguments(tiny_info, arguments, message):
    with pytest.raises(ValueError, match=message):
        dataset_statistics(tiny_info, **arguments)


def test_images_of_different_size_need_a_crop(tmp_path, write_dataset):
    larger = Record(np.zeros((3, 4, 1), np.uint8), np.zeros((1, 3, 4), np.uint8), "x", "x")
    info = write_dataset(tmp_path / "d", {"val": [*records([A]), larger]})
    with pytest.raises(ValueError, match="differ in size: pass a crop_size"):
        dataset_statistics(info, "val")
    assert dataset_statistics(info, "val", crop_size=(2, 2)).num_images == 2


@settings(max_examples=25)
@given(st.data())
def test_any_batch_against_brute_force(tiny_info, data):
    """Weights of any size, padding, several graders: loops over images, graders and pairs."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    images, graders = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    masks = (rng.random((images, graders, 3, 4)) < rng.choice([0, 0.3], (images, graders, 1, 1))).astype(np.int32)
    numbers = rng.integers(1, graders + 1, images)
    weights = np.zeros((images, graders), np.float32)
    for image, number in enumerate(numbers):
        weights[image, :number] = rng.dirichlet(np.ones(number))
        masks[image, number:] = 255
    tally = Tally(tiny_info)
    for part in (slice(0, 1), slice(1, None)):
        if len(masks[part]):
            tally.add({"image": np.zeros((len(masks[part]), 3, 4, 1), np.float32), "segmentations": masks[part],
                       "grader_weights": weights[part], "group": np.array([b"g"] * len(masks[part])),
                       "source_id": np.array([b"s"] * len(masks[part]))})
    found = tally.close(None)

    votes, iou, both, iou_both, diversity, pixels = {}, [], [], [], 0, 0
    for image, number in enumerate(numbers):
        real = masks[image, :number] == 1
        chances = weights[image, :number].astype(float) / weights[image, :number].sum(dtype=float)
        pixels += sum(chance * mask.mean() for chance, mask in zip(chances, real, strict=True)) / images
        for count in real.sum(axis=0).ravel():
            votes[count] = votes.get(count, 0) + 1
        value = lambda a, b: (a & b).sum() / (a | b).sum() if (a | b).any() else 1.0  # noqa: E731
        diversity += sum(chances[a] * chances[b] * (1 - value(real[a], real[b]))
                         for a, b in itertools.product(range(number), repeat=2)) / images
        pairs = list(itertools.permutations(range(number), 2))
        if pairs:
            chance = np.array([chances[a] * chances[b] for a, b in pairs])
            drew = np.array([real[a].any() and real[b].any() for a, b in pairs])
            values = np.array([value(real[a], real[b]) for a, b in pairs])
            for sums, what in ((iou, values), (both, drew), (iou_both, values * drew)):
                sums.append((chance * what).sum() / chance.sum())
    votes.pop(0, None)
    assert {n: share for n, share in found["graders_a_pixel"].items() if share} == pytest.approx(
        {int(n): count / sum(votes.values()) for n, count in votes.items()})
    assert found["grader_diversity"] == pytest.approx(diversity, abs=1e-12)
    assert found["classes"]["lesion"]["pixels"] == pytest.approx(pixels, abs=1e-12)
    assert found["ignored"] == 0
    if iou:
        assert found["pairs"]["iou"] == pytest.approx(np.mean(iou))
        assert found["pairs"]["both"] == pytest.approx(np.mean(both))
        if any(both):
            assert found["pairs"]["iou_both"] == pytest.approx(np.mean(iou_both) / np.mean(both))
    else:
        assert found["pairs"] is None


def test_grader_diversity_is_that_of_the_evaluation(tiny_info):
    expected = []
    for batch in evaluation_dataset(tiny_info, "train", 1).as_numpy_iterator():
        masks = batch["segmentations"]
        expected.append(pairwise_distance(masks, masks, num_classes=2).mean())
    assert dataset_statistics(tiny_info, "train").grader_diversity == pytest.approx(np.mean(expected))


def test_the_page_about_data_agrees_with_the_evaluation_of_the_same_images():
    """docs/data.md prints E d(Y,Y') and presence of the crops that docs/results measured a model on."""
    docs = Path(__file__).parents[1] / "docs"
    measured = json.loads((docs / "results" / "lidc_reference" / "val_64.json").read_text())["images"]
    said = (docs / "data.md").read_text()
    share = measured["presence_disagreed"]["num_images"] / measured["all"]["num_images"]
    assert re.search(r"^E d\(Y,Y'\) +(\S+),", said, re.M)[1] == f"{measured['all']['grader_diversity']:.4f}"
    assert f"some of them in {100 * share:.1f} %" in said


def test_modes_of_flips_are_compared_over_the_classes_that_evaluation_scores(tmp_path, write_dataset):
    """All five classes present: E d(Y,Y') of the 32 modes is 0.57982, and evaluation's floor is that / n."""
    truth = np.array([[0, 1, 8], [11, 13, 2]], np.uint8)
    record = Record(np.zeros((2, 3, 1), np.uint8), truth[None], "a", "a")
    info = write_dataset(tmp_path / "data", {"val": [record]}, classes=[f"class {label}" for label in range(24)],
                         flips=CITYSCAPES_FLIPS)
    assert dataset_statistics(info, "val").grader_diversity == pytest.approx(0.57982, abs=5e-6)
