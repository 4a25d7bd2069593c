"""The dataset format: what is in it, that it holds every bit, and what of its description is refused."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from records import record
from tf_probunet.checksums import sha256_of
from tf_probunet.data.dataset import ImageEncoding, load_info
from tf_probunet.data.reading import evaluation_dataset
from tf_probunet.data.verify import verify
from tf_probunet.data.writer import Record


def examples(info, split):
    paths = [str(path) for path in info.shard_paths(split)]
    return [tf.train.Example.FromString(raw).features.feature
            for raw in tf.data.TFRecordDataset(paths).as_numpy_iterator()]


def content(folder):
    return json.loads((folder / "dataset.json").read_text())


class TestFormat:
    def test_a_record_has_every_field_of_the_contract(self, tmp_path, write_dataset):
        facts = {"series_instance_uid": "1.2.3", "z_mm": -12.5, "slice": 7}
        one = record("p1/n0", "p1", graders=3, provenance=facts)
        (feature,) = examples(write_dataset(tmp_path / "data", {"train": [one]}), "train")
        assert sorted(feature) == [
            "group", "image/encoded", "image/height", "image/source_id", "image/width",
            "provenance/series_instance_uid", "provenance/slice", "provenance/z_mm", "segmentation/encoded",
        ]
        assert feature["image/height"].int64_list.value == [8]
        assert feature["image/width"].int64_list.value == [6]
        assert feature["image/source_id"].bytes_list.value == [b"p1/n0"]
        assert feature["group"].bytes_list.value == [b"p1"]
        assert len(feature["segmentation/encoded"].bytes_list.value) == 3
        assert feature["image/encoded"].bytes_list.value[0].startswith(b"\x89PNG")
        assert feature["provenance/series_instance_uid"].bytes_list.value == [b"1.2.3"]
        assert feature["provenance/z_mm"].float_list.value == [-12.5]
        assert feature["provenance/slice"].int64_list.value == [7]

    def test_dataset_json_has_every_field_of_the_contract(self, tmp_path, write_dataset):
        encoding = ImageEncoding(bits=16, scale=1.0, offset=-1024.0, unit="HU", low=-1000.0, high=400.0)
        deep = [record(name, name[0], image=np.zeros((8, 6, 1), np.uint16), graders=graders)
                for name, graders in (("a1", 1), ("a2", 4), ("b1", 4))]
        write_dataset(tmp_path / "data", {"train": deep[:2], "val": deep[2:]}, image=encoding, ignore_label=254,
                      preparation={"seed": 3}, records_per_shard=1)
        found = content(tmp_path / "data")
        shards = found["splits"]["train"].pop("shards")
        assert found["splits"].pop("train") == {
            "num_images": 2, "num_groups": 1, "num_graders": {"1": 1, "4": 1}, "image_sizes": [[8, 6]], "groups": ["a"],
        }
        assert [shard["name"] for shard in shards] == ["train-00000-of-00002.tfrecord", "train-00001-of-00002.tfrecord"]
        for shard in shards:
            assert shard["num_images"] == 1
            assert shard["sha256"] == sha256_of(tmp_path / "data" / shard["name"])
        assert list(found.pop("splits")) == ["val"]
        assert found == {
            "format": "tf_probunet.dataset/1", "source": "made by the tests", "licence": "CC0",
            "preparation": {"seed": 3}, "classes": ["background", "lesion"], "ignore_label": 254,
            "image": {"channels": 1, "bits": 16, "scale": 1.0, "offset": -1024.0, "unit": "HU", "low": -1000.0,
                      "high": 400.0},
        }
        assert sorted(os.listdir(tmp_path / "data")) == [
            "dataset.json", *(shard["name"] for shard in shards), "val-00000-of-00001.tfrecord",
        ]

    def test_info_says_what_was_written(self, tiny_info):
        assert tiny_info.classes == ("background", "lesion") and tiny_info.num_classes == 2
        assert (tiny_info.num_images("train"), tiny_info.num_images("val")) == (24, 8)
        assert tiny_info.image_size("train") == (32, 32)
        assert [path.name for path in tiny_info.shard_paths("val")] == [
            "val-00000-of-00002.tfrecord", "val-00001-of-00002.tfrecord",
        ]
        assert json.loads(json.dumps(tiny_info.facts()))["num_images"] == {"train": 24, "val": 8}

    def test_two_runs_write_the_same_bytes(self, tmp_path, write_dataset):
        records = [record(name, value=index, provenance={"b": 1, "a": "x", "c": 0.1})
                   for index, name in enumerate("abcdefg")]
        first, second = (write_dataset(tmp_path / name, {"train": records}).folder for name in ("one", "two"))
        assert sorted(os.listdir(first)) == sorted(os.listdir(second))
        for name in os.listdir(first):
            assert (first / name).read_bytes() == (second / name).read_bytes(), name
        # Another process may iterate over the fields in another order: only the sorted one is the same everywhere.
        (raw,) = tf.data.TFRecordDataset(str(first / "train-00000-of-00002.tfrecord")).take(1).as_numpy_iterator()
        places = [raw.index(b"\n" + bytes([len(key)]) + key.encode()) for key in sorted(
            tf.train.Example.FromString(raw).features.feature)]
        assert places == sorted(places)

    @settings(max_examples=25)
    @given(data=st.data(), bits=st.sampled_from([8, 16]), channels=st.sampled_from([1, 3]),
           height=st.integers(1, 9), width=st.integers(1, 9), graders=st.integers(1, 5))
    def test_every_bit_comes_back(self, tmp_path_factory, write_dataset, data, bits, channels, height, width, graders):
        image = data.draw(arrays(f"uint{bits}", (height, width, channels)))
        masks = data.draw(arrays("uint8", (graders, height, width), elements=st.sampled_from([0, 1, 2, 255])))
        encoding = ImageEncoding(channels=channels, bits=bits)
        info = write_dataset(
            tmp_path_factory.mktemp("bits") / "data", {"train": [Record(image, masks, "a", "a")]}, image=encoding,
            classes=("background", "core", "rim"),
        )
        (feature,) = examples(info, "train")
        (png,) = feature["image/encoded"].bytes_list.value
        np.testing.assert_array_equal(tf.io.decode_png(png, dtype=f"uint{bits}").numpy(), image)
        pngs = feature["segmentation/encoded"].bytes_list.value
        np.testing.assert_array_equal([tf.io.decode_png(png)[..., 0].numpy() for png in pngs], masks)
        verify(info)

    @pytest.mark.parametrize("bits, channels", [(8, 1), (8, 3), (16, 1), (16, 3)])
    def test_every_bit_comes_back_through_the_reader(self, tmp_path, write_dataset, bits, channels):
        image = np.random.default_rng(0).integers(0, 1 << bits, (9, 7, channels)).astype(f"uint{bits}")
        masks = np.random.default_rng(1).choice(np.array([0, 1, 255], np.uint8), (3, 9, 7))
        encoding = ImageEncoding(channels=channels, bits=bits, low=0.0, high=float(2**bits - 1))
        info = write_dataset(tmp_path / "data", {"train": [Record(image, masks, "a", "a")]}, image=encoding)
        (batch,) = evaluation_dataset(info, "train", 1)
        found = batch["image"][0].numpy().astype(np.float64) * (2**bits - 1)
        np.testing.assert_array_equal(np.rint(found), image)
        np.testing.assert_array_equal(batch["segmentations"][0].numpy(), masks)

    def test_physical_values(self):
        encoding = ImageEncoding(bits=16, scale=0.5, offset=-1000.0, low=-800.0, high=200.0)
        stored = np.array([400, 2400, 1400, 0, 60000], np.uint16)
        np.testing.assert_allclose(encoding.to_float(stored), [0.0, 1.0, 0.5, 0.0, 1.0])  # beyond the window: cut

    @pytest.mark.parametrize("wrong", [
        {"bits": 12}, {"channels": 2}, {"low": 1.0, "high": 1.0}, {"scale": 0.0}, {"offset": float("nan")},
    ])
    def test_an_encoding_that_cannot_be_is_refused(self, wrong):
        with pytest.raises(ValueError, match="Received|scale must not"):
            ImageEncoding(**wrong)


def mutated(content, path, change):
    """A copy of `content` where the value at `path` is replaced, or removed when `change` is `...`."""
    copy = json.loads(json.dumps(content))
    place = copy
    for key in path[:-1]:
        place = place[key]
    if change is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = change
    return copy


def paths_of(value, prefix=()):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*prefix, key)
        yield from paths_of(item, (*prefix, key))


class TestLoadInfo:
    def edited(self, tmp_path, folder, text):
        copy = tmp_path / "copy"
        copy.mkdir(exist_ok=True)
        for path in folder.glob("*.tfrecord"):
            if not (copy / path.name).exists():
                os.link(path, copy / path.name)
        (copy / "dataset.json").write_bytes(text)
        return copy

    def test_what_is_no_dataset(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="nothing does not exist. Expected a folder.*probunet prepare"):
            load_info(tmp_path / "nothing")
        with pytest.raises(FileNotFoundError, match="has no dataset.json. Expected a folder.*probunet prepare"):
            load_info(tmp_path)

    @pytest.mark.parametrize("text, message", [
        (b"{", "not valid JSON.*prepare it anew"), (b"\xff\xfe", "not valid JSON.*prepare it anew"),
        (b"[" * 100_000, "not valid JSON"), (b"[1]", "format None; expected 'tf_probunet.dataset/1'"),
        (b'{"format": "other/2"}', "format 'other/2'; expected 'tf_probunet.dataset/1'. Prepare it again"),
    ])
    def test_what_is_no_dataset_json(self, tmp_path, tiny_folder, text, message):
        with pytest.raises(ValueError, match=message):
            load_info(self.edited(tmp_path, tiny_folder, text))

    def test_a_missing_shard(self, tmp_path, tiny_folder):
        copy = self.edited(tmp_path, tiny_folder, (tiny_folder / "dataset.json").read_bytes())
        (copy / "train-00001-of-00005.tfrecord").unlink()
        with pytest.raises(FileNotFoundError, match="lacks 1 of the shards.*train-00001.*Copy the folder whole"):
            load_info(copy)

    def test_every_field_that_is_removed_is_missed(self, tmp_path, tiny_folder):
        good = content(tiny_folder)
        for path in paths_of(good):
            if isinstance(path[-1], int) or path[0] == "preparation" and len(path) > 1:
                continue
            copy = self.edited(tmp_path, tiny_folder, json.dumps(mutated(good, path, ...)).encode())
            with pytest.raises(ValueError, match="dataset.json.*(P|p)repare it"):
                verify(load_info(copy))

    @settings(max_examples=60)
    @given(data=st.data())
    def test_an_edited_field_gives_a_clear_error_or_none(self, tmp_path_factory, tiny_folder, data):
        good = content(tiny_folder)
        path = data.draw(st.sampled_from(list(paths_of(good))))
        value = data.draw(st.one_of(st.none(), st.integers(-2, 300), st.text(max_size=3), st.just([]), st.just({}),
                                    st.just([[]]), st.just(float("nan")), st.booleans()))
        text = json.dumps(mutated(good, path, value)).encode()
        copy = self.edited(tmp_path_factory.mktemp("edited"), tiny_folder, text)
        try:
            load_info(copy)
        except (ValueError, OSError) as error:
            assert str(copy) in str(error)

    def test_an_unknown_split_names_those_that_exist(self, tiny_info):
        with pytest.raises(ValueError, match="No split 'test' in .*It has: train, val"):
            tiny_info.num_images("test")
