"""The phantom: real outlines, rendered images, no patient twice, and the same bytes from the same seed."""

import itertools
import json
import sys

import numpy as np
import pytest

pytest.importorskip("pylidc", reason="needs the lidc extra", exc_type=ImportError)

from tf_probunet.data import phantom  # noqa: E402
from tf_probunet.data.phantom_canvas import Canvas, random_scanner  # noqa: E402
from tf_probunet.data.phantom_render import render  # noqa: E402
from tf_probunet.data.pylidc_adapter import RATINGS, read_scans  # noqa: E402

SIZE = 64
USUAL = dict(zip(RATINGS, (4, 1, 6, 4, 4, 1, 1, 5, 3), strict=True))


def disc(radius, size=SIZE):
    rows, columns = np.indices((size, size)) - size // 2
    return np.hypot(rows, columns) <= radius


def picture(masks, seed=0, **ratings):
    scanner = random_scanner(np.random.default_rng(seed), 0.7, 2.0, contrast_used=False)
    return render(masks, USUAL | ratings, scanner, outward=(0, 100), rng=np.random.default_rng([seed, 1]))[..., 0]


def contrasts(masks, count=14, **ratings):
    """How much a lesion stands out of its surroundings, grey levels as the share of the range to soft tissue."""
    lesion = disc(3)
    around = disc(9) & ~disc(5)
    values = []
    for seed in range(count):
        image = picture(masks, seed, **ratings).astype(float)
        values.append((image[lesion].mean() - np.median(image[around])) / (image.std() + 1))
    return np.mean(values)


class TestRender:
    def test_an_image_is_uint8_and_uses_the_whole_range(self):
        image = picture(np.stack([disc(5)] * 4))
        assert (image.shape, image.dtype) == ((SIZE, SIZE), np.uint8)
        assert (image.min(), image.max()) == (0, 255)

    def test_the_same_seed_gives_the_same_image_and_another_seed_another(self):
        masks = np.stack([disc(5)] * 4)
        np.testing.assert_array_equal(picture(masks, seed=3), picture(masks, seed=3))
        assert (picture(masks, seed=3) != picture(masks, seed=4)).mean() > 0.5

    def test_a_lesion_that_few_readers_drew_is_fainter(self):
        lone = np.stack([disc(4)] + [disc(-1)] * 3)
        assert contrasts(np.stack([disc(4)] * 4)) > 1.3 * contrasts(lone)

    def test_ratings_show(self):
        masks = np.stack([disc(5)] * 4)
        usual = contrasts(masks)
        assert contrasts(masks, subtlety=1) < 0.8 * usual
        assert contrasts(masks, texture=1) < 0.7 * usual  # ground glass
        assert contrasts(masks, calcification=3) > 1.1 * usual

    def test_where_readers_differ_the_edge_is_between(self):
        # Two drew the core, two drew far beyond it: the rim must be brighter than lung and darker than the core.
        masks = np.stack([disc(4), disc(4), disc(10), disc(10)])
        profile = np.mean([picture(masks, seed).astype(float) for seed in range(16)], axis=0)
        core, rim, lung = (profile[area].mean() for area in (disc(2), disc(8) & ~disc(6), disc(18) & ~disc(14)))
        assert lung < rim < core

    def test_no_reader_is_an_error(self):
        with pytest.raises(ValueError, match="At least one reader.*Received: 4"):
            picture(np.zeros((4, SIZE, SIZE), bool))

    @pytest.mark.parametrize("size", [32, 45])
    def test_small_and_odd_sizes_and_a_lesion_that_fills_the_crop(self, size):
        assert picture(np.ones((4, size, size), bool)).shape == (size, size)
        assert picture(np.stack([disc(2, size)] * 4)).shape == (size, size)

    def test_noise_has_unit_deviation_at_every_grain(self):
        canvas = Canvas((64, 48), None, np.random.default_rng(0))
        for grain in (0.5, 4, (1, 12)):
            noise = canvas.noise(grain)
            assert noise.shape == (64, 48)
            np.testing.assert_allclose([noise.mean(), noise.std()], [0, 1], atol=1e-9)


@pytest.fixture(scope="module")
def scans():
    return read_scans([f"LIDC-IDRI-{number:04d}" for number in range(1, 21)])


@pytest.fixture
def few_scans(scans, monkeypatch):
    monkeypatch.setattr(phantom, "read_scans", lambda: scans)


def read(folder, split):
    tf = pytest.importorskip("tensorflow")
    files = sorted(str(path) for path in folder.glob(f"{split}-*.tfrecord"))
    for raw in tf.data.TFRecordDataset(files).as_numpy_iterator():
        features = tf.train.Example.FromString(raw).features.feature
        masks = [tf.io.decode_png(png).numpy()[..., 0] for png in features["segmentation/encoded"].bytes_list.value]
        yield features, tf.io.decode_png(features["image/encoded"].bytes_list.value[0]).numpy(), np.stack(masks)


def text(features, name):
    return features[name].bytes_list.value[0].decode()


class TestPrepare:
    def test_each_image_has_four_real_segmentations_and_its_origin(self, few_scans, scans, tmp_path):
        seen = []
        phantom.prepare_phantom(
            tmp_path / "phantom", 12, 4, size=SIZE, progress=lambda done, total: seen.append((done, total))
        )
        assert seen == [(done, 16) for done in range(1, 17)]
        info = json.loads((tmp_path / "phantom" / "dataset.json").read_text())
        assert info["classes"] == ["background", "lesion"]
        assert "rendered" in info["source"].lower() and "CC BY 3.0" in info["licence"]
        assert info["preparation"] == {
            "command": "prepare phantom", "num_train": 12, "num_val": 4, "slices_per_nodule": 2, "size": SIZE, "seed": 0
        }
        records = {split: list(read(tmp_path / "phantom", split)) for split in ("train", "val")}
        assert {split: len(items) for split, items in records.items()} == {"train": 12, "val": 4}
        groups = {split: {text(features, "group") for features, _, _ in items} for split, items in records.items()}
        assert not groups["train"] & groups["val"]
        annotations = {annotation.annotation_id: annotation for scan in scans for annotation in scan.annotations}
        nodules = []
        for features, image, masks in itertools.chain(*records.values()):
            assert (image.shape, masks.shape) == ((SIZE, SIZE, 1), (4, SIZE, SIZE))
            assert masks.any() and masks.max() == 1
            assert text(features, "image/source_id").startswith(f"phantom/{text(features, 'group')}/nodule")
            assert text(features, "provenance/image") == "rendered"
            nodules.append(text(features, "provenance/annotation_ids"))
            z_mm = features["provenance/z_mm"].float_list.value[0]
            origin = [features[f"provenance/crop_origin_{axis}"].int64_list.value[0] for axis in ("row", "column")]
            real = [
                phantom.rasterize(annotations[int(number)].contours_at(z_mm), (SIZE, SIZE), origin)
                for number in nodules[-1].split(";")
            ]
            drawn = sorted(mask.astype(bool).tobytes() for mask in masks if mask.any())
            assert drawn == sorted(mask.tobytes() for mask in real if mask.any())
        assert max(nodules.count(nodule) for nodule in nodules) <= 2

    def test_the_same_seed_writes_the_same_bytes(self, few_scans, tmp_path):
        for name, seed in (("a", 5), ("b", 5), ("c", 6)):
            phantom.prepare_phantom(tmp_path / name, 3, 2, size=32, seed=seed)
        files = {name: sorted(path.name for path in (tmp_path / name).iterdir()) for name in "abc"}
        assert files["a"] == files["b"]
        for file in files["a"]:
            assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
        shard = "train-00000-of-00001.tfrecord"
        assert (tmp_path / "a" / shard).read_bytes() != (tmp_path / "c" / shard).read_bytes()

    def test_readers_have_no_fixed_place(self, few_scans, tmp_path):
        phantom.prepare_phantom(tmp_path / "phantom", 40, 1, size=32)
        filled = np.mean([masks.any(axis=(1, 2)) for _, _, masks in read(tmp_path / "phantom", "train")], axis=0)
        assert filled.max() - filled.min() < 0.35  # packed slots would leave the last one nearly empty
        assert 0.3 < filled.mean() < 0.95

    @pytest.mark.parametrize(
        "wrong, message",
        [
            ({"num_train": 0}, "num_train must be 1 or more. Received: 0"),
            ({"num_val": -1}, "num_val must be 1 or more. Received: -1"),
            ({"size": 16}, "size must be 32 or more. Received: 16"),
            ({"slices_per_nodule": 0}, "slices_per_nodule must be 1 or more"),
            ({"num_train": 10_000}, "num_train=10000. Ask for fewer, or raise slices_per_nodule"),
        ],
    )
    def test_impossible_numbers_are_refused_and_leave_nothing(self, few_scans, tmp_path, wrong, message):
        with pytest.raises(ValueError, match=message):
            phantom.prepare_phantom(tmp_path / "phantom", **{"num_train": 2, "num_val": 1, "size": 32} | wrong)
        assert not (tmp_path / "phantom").exists()

    def test_without_pylidc_the_error_names_the_extra_and_leaves_nothing(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "pylidc", None)
        with pytest.raises(ImportError, match=r"pip install tf_probunet\[lidc\]"):
            phantom.prepare_phantom(tmp_path / "phantom", 2, 1, size=32)
        assert not (tmp_path / "phantom").exists()
