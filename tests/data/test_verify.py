"""Every kind of damage is found, and the file, the record and the remedy are named."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tf_probunet.checksums import sha256_of
from tf_probunet.data.dataset import ImageEncoding, load_info
from tf_probunet.data.reading import evaluation_dataset, explain_damage, training_dataset
from tf_probunet.data.verify import VerifiedSplit, find_damage, verify
from tf_probunet.data.writer import DatasetWriter, Record

REMEDY = "Copy the dataset again or prepare it anew"


@pytest.fixture
def copy(tmp_path, tiny_folder):
    """A copy of the tiny dataset that a test may damage: train has 5 shards of 5, 5, 5, 5 and 4 records."""
    return load_info(shutil.copytree(tiny_folder, tmp_path / "copy"))


def record_ends(path):
    """Where each record of a shard ends: 8 bytes length, 4 its checksum, the data, 4 their checksum."""
    sizes = [len(raw) + 16 for raw in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()]
    return np.cumsum(sizes)


def edit_json(info, change):
    path = info.folder / "dataset.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return load_info(info.folder)


def write_shard(info, split, index, records):
    """Replaces a shard by other records and corrects its checksum and count: only its content is wrong then."""
    path = info.shard_paths(split)[index]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return edit_json(info, lambda content: content["splits"][split]["shards"][index].update(
        sha256=sha256_of(path), num_images=len(records)))


def changed_first_record(info, change):
    """The dataset with `change` applied to the features of its first training record."""
    raws = list(tf.data.TFRecordDataset(str(info.shard_paths("train")[0])).as_numpy_iterator())
    example = tf.train.Example.FromString(raws[0])
    change(example.features.feature)
    return write_shard(info, "train", 0, [example.SerializeToString(), *raws[1:]])


def read_all(info):
    with explain_damage(info):
        for _ in evaluation_dataset(info, "train", 8):
            pass


class TestIntact:
    def test_what_is_counted(self, tiny_info):
        calls = []
        found = verify(tiny_info, lambda done, total: calls.append((done, total)))
        assert found == {"train": VerifiedSplit(24, 12, 96), "val": VerifiedSplit(8, 4, 32)}
        assert calls == [(done, 7) for done in range(1, 8)]

    def test_grader_numbers_may_differ(self, tmp_path, write_dataset):
        records = [Record(np.zeros((8, 8, 1), np.uint8), np.zeros((graders, 8, 8), np.uint8), f"{graders}", "a")
                   for graders in (1, 2, 4)]
        assert verify(write_dataset(tmp_path / "data", {"train": records}))["train"] == VerifiedSplit(3, 1, 7)


class TestDamagedShards:
    def test_a_flipped_bit_anywhere(self, copy):
        path = copy.shard_paths("train")[1]
        raw, ends = path.read_bytes(), record_ends(path)
        places = np.random.default_rng(0).integers(0, len(raw), 25)
        for place in [0, 8, 11, 12, len(raw) - 1, *places.tolist()]:
            damaged = bytearray(raw)
            damaged[place] ^= 1 << (place % 8)
            path.write_bytes(damaged)
            record = np.searchsorted(ends, place, side="right")
            with pytest.raises(OSError, match=f"{path.name} is damaged at record {record} .*{REMEDY}"):
                verify(copy)

    def test_a_truncated_shard(self, copy):
        path = copy.shard_paths("train")[1]
        raw, ends = path.read_bytes(), record_ends(path)
        for length, message in (
            (len(raw) - 1, "is damaged at record 4"), (ends[1] + 20, "is damaged at record 2"),
            (ends[1] + 5, "holds 2 records; dataset.json says 5"),  # in the length: TensorFlow takes it for the end
            (ends[1], "holds 2 records; dataset.json says 5"), (0, "holds 0 records; dataset.json says 5"),
        ):
            path.write_bytes(raw[:length])
            with pytest.raises(OSError, match=f"{path.name} {message}.*{REMEDY}"):
                verify(copy)

    def test_a_missing_shard(self, copy):
        path = copy.shard_paths("val")[0]
        path.unlink()
        with pytest.raises(OSError, match=f"{path.name} is missing.*{REMEDY}"):
            verify(copy)

    def test_swapped_shards(self, copy):
        first, second = copy.shard_paths("train")[:2]
        held = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(held)
        with pytest.raises(OSError, match=f"{first.name} is readable, but differs from its sha256.*{REMEDY}"):
            verify(copy)

    def test_a_file_beside_the_shards(self, tmp_path):
        with DatasetWriter(tmp_path / "data", classes=("background", "lesion"), splits=("train",), source="tests",
                           licence="CC0", preparation={}) as writer:
            writer.add_file("splits.csv", "patient,split\na,train\n")
            writer.write("train", Record(np.zeros((16, 16, 1), np.uint8), np.zeros((4, 16, 16), np.uint8), "a", "a"))
        info = load_info(tmp_path / "data")
        verify(info)
        (info.folder / "splits.csv").write_text("patient,split\na,val\n")
        with pytest.raises(OSError, match=f"splits.csv differs from its sha256 in dataset.json.*{REMEDY}"):
            verify(info)
        (info.folder / "splits.csv").unlink()
        with pytest.raises(OSError, match=f"splits.csv is missing.*{REMEDY}"):
            verify(info)

    def test_what_is_no_file(self, copy):
        path = copy.shard_paths("train")[0]
        path.unlink()
        path.mkdir()
        assert f"{path.name} cannot be read at record 0" in find_damage(path)

    def test_an_unnamed_shard(self, copy):
        (copy.folder / "test-00000-of-00001.tfrecord").touch()
        with pytest.raises(ValueError, match=f"does not name test-00000-of-00001.tfrecord.*{REMEDY}"):
            verify(copy)


class TestDamagedRecords:
    """The checksums are right here: whoever wrote the shard wrote it wrongly."""

    @pytest.mark.parametrize("key", ["image/encoded", "image/height", "image/width", "image/source_id", "group",
                                     "segmentation/encoded"])
    def test_a_missing_field(self, copy, key):
        info = changed_first_record(copy, lambda feature: feature.pop(key))
        with pytest.raises(ValueError, match=f"train-00000-of-00005.tfrecord, record 0: has no '{key}'.*{REMEDY}"):
            verify(info)

    @pytest.mark.parametrize("key, pixels, message", [
        ("image/encoded", np.zeros((32, 31, 1), np.uint8), r"image is \[32, 31, 1\]; expected \[32, 32, 1\]"),
        ("image/encoded", np.zeros((32, 32, 3), np.uint8), r"image is \[32, 32, 3\]; expected \[32, 32, 1\]"),
        ("image/encoded", np.zeros((32, 32, 1), np.uint16), "image has 16 bits; expected 8"),
        ("segmentation/encoded", np.zeros((31, 32, 1), np.uint8), r"segmentation 0 is \[31, 32, 1\]"),
        ("segmentation/encoded", np.full((32, 32, 1), 2, np.uint8), r"segmentation 0 .* \[2\]; .*among \[0, 1, 255\]"),
        ("segmentation/encoded", np.zeros((32, 32, 3), np.uint8), r"segmentation 0 is \[32, 32, 3\]"),
        ("segmentation/encoded", np.zeros((32, 32, 1), np.uint16), "segmentation 0 has 16 bits; expected 8"),
    ])
    def test_wrong_pixels(self, copy, key, pixels, message):
        png = tf.io.encode_png(pixels).numpy()
        info = changed_first_record(copy, lambda feature: feature[key].bytes_list.value.__setitem__(0, png))
        with pytest.raises(ValueError, match=f"record 0: {message}.*{REMEDY}"):
            verify(info)

    def test_a_damaged_png(self, copy):
        def cut(feature):
            pngs = feature["segmentation/encoded"].bytes_list.value
            pngs[1] = pngs[1][:-20]

        with pytest.raises(ValueError, match=f"record 0: segmentation 1 is no readable PNG.*{REMEDY}"):
            verify(changed_first_record(copy, cut))

    def test_what_is_no_example(self, copy):
        with pytest.raises(ValueError, match=f"record 0: is no tf.train.Example.*{REMEDY}"):
            verify(write_shard(copy, "train", 0, [b"\xff\xff"]))

    def test_a_group_of_two_splits(self, copy):
        def move(feature):
            feature["group"].bytes_list.value[0] = b"patient14"

        info = changed_first_record(copy, move)
        message = f"val-00000-of-00002.tfrecord, record 4: group 'patient14' is also in split 'train'.*{REMEDY}"
        with pytest.raises(ValueError, match=message):
            verify(info)

    def test_an_image_twice(self, copy):
        raws = list(tf.data.TFRecordDataset(str(copy.shard_paths("train")[0])).as_numpy_iterator())
        message = "00000-of.*, record 4: source_id 'patient00/000' is also that of .*record 0"
        with pytest.raises(ValueError, match=message):
            verify(write_shard(copy, "train", 0, [*raws[:4], raws[0]]))


class TestEditedDatasetJson:
    @pytest.mark.parametrize("field, value", [
        ("num_images", 23), ("num_groups", 3), ("groups", ["x"]), ("image_sizes", [[32, 32], [64, 64]]),
        ("num_graders", {"4": 12}),
    ])
    def test_a_count(self, copy, field, value):
        info = edit_json(copy, lambda content: content["splits"]["train"].update({field: value}))
        with pytest.raises(ValueError, match=f"dataset.json says {field} .* of split 'train'; .*{REMEDY}"):
            verify(info)

    @pytest.mark.parametrize("change", [{"num_images": 4}, {"sha256": "0" * 64}])
    def test_a_shard(self, copy, change):
        info = edit_json(copy, lambda content: content["splits"]["train"]["shards"][2].update(change))
        with pytest.raises(OSError, match=f"train-00002-of-00005.tfrecord .*dataset.json.*{REMEDY}"):
            verify(info)

    def test_the_classes(self, copy):
        info = edit_json(copy, lambda content: content.update(classes=["background"]))
        with pytest.raises(ValueError, match=rf"record 0: segmentation . is .*among \[0, 255\].*{REMEDY}"):
            verify(info)

    @pytest.mark.parametrize("change", [{"bits": 16}, {"channels": 3}])
    def test_the_encoding(self, copy, change):
        info = edit_json(copy, lambda content: content["image"].update(change))
        assert info.image == ImageEncoding(**change)
        with pytest.raises(ValueError, match=f"record 0: image .*expected .*{REMEDY}"):
            verify(info)


class TestExplainDamage:
    """The same errors while a dataset is read, instead of TensorFlow's."""

    def test_a_flipped_bit(self, copy):
        path = copy.shard_paths("train")[3]
        raw = bytearray(path.read_bytes())
        raw[record_ends(path)[1] + 40] ^= 4
        path.write_bytes(raw)
        message = f"{path.name} is damaged at record 2 .*{REMEDY}"
        with pytest.raises(OSError, match=message):
            read_all(copy)
        with pytest.raises(OSError, match=message):
            training_dataset(copy, "train", 4)

    def test_records_cut_off_at_the_end(self, copy):
        path = copy.shard_paths("train")[3]
        path.write_bytes(path.read_bytes()[: record_ends(path)[1]])
        message = f"{path.name} holds 2 records; dataset.json says 5.*{REMEDY}"
        with pytest.raises(OSError, match=message):
            read_all(copy)
        with pytest.raises(OSError, match=message):
            training_dataset(copy, "train", 4)

    def test_a_shard_removed_or_replaced(self, copy):
        first, second = copy.shard_paths("train")[:2]
        first.write_bytes(second.read_bytes()[:-3])
        with pytest.raises(OSError, match=f"{first.name} is damaged at record 4"):
            read_all(copy)
        first.unlink()
        with pytest.raises(OSError, match=f"{first.name} is missing.*{REMEDY}"):
            read_all(copy)

    def test_a_png_that_no_writer_of_ours_wrote(self, copy):
        def cut(feature):
            pngs = feature["image/encoded"].bytes_list.value
            pngs[0] = pngs[0][:-20]

        info = changed_first_record(copy, cut)
        broken = info.splits["train"]["shards"][0]
        broken["sha256"] = "0" * 64  # what dataset.json still said, had it not been corrected
        with pytest.raises(OSError, match=f"{broken['name']} is readable, but differs from its sha256.*{REMEDY}"):
            read_all(info)

    def test_errors_that_have_another_cause_pass_unchanged(self, tiny_info):
        error = tf.errors.InvalidArgumentError(None, None, "not the data")
        with pytest.raises(tf.errors.InvalidArgumentError) as caught, explain_damage(tiny_info):
            raise error
        assert caught.value is error
