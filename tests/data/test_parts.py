"""Parts: what is whole is kept, what changed or was damaged is made anew, what failed leaves nothing of itself."""

import dataclasses
import errno
import os

import numpy as np
import pytest
import tensorflow as tf

from tf_probunet.data.dataset import ImageEncoding, load_info
from tf_probunet.data.parts import PartMaker, join_parts, parts_folder
from tf_probunet.data.units import Unit
from tf_probunet.data.verify import verify
from tf_probunet.data.writer import DatasetWriter, EncodedRecord, Record

MADE = []  # the work that was done, in order


def record(name, value=0):
    return Record(np.full((4, 4, 1), value, np.uint8), np.zeros((2, 4, 4), np.uint8), name, "group")


def records(unit, remarks):
    work = unit.work
    MADE.append(work)
    for number in range(work["count"]):
        if number == work.get("fails_at"):
            raise work.get("error", ValueError)(*work.get("arguments", ["this scan is broken"]))
        yield record(f"{work['name']}{number}", work.get("value", 0))
    remarks.rejects += work.get("rejects", [])


@pytest.fixture
def maker(tmp_path):
    MADE.clear()
    return PartMaker(str(tmp_path), records, {"rules": 1}, ImageEncoding(), 2)


def unit(**work):
    return Unit("one", {"name": "a", "count": 3, **work}, (("file", 10, 1),))


def test_a_whole_part_is_made_once(maker):
    maker(unit())
    maker(unit())
    assert len(MADE) == 1 and maker.finished(unit())["num_records"] == 3


@pytest.mark.parametrize("change", [
    lambda maker, one: (dataclasses.replace(maker, settings={"rules": 2}), one),
    lambda maker, one: (maker, dataclasses.replace(one, work={**one.work, "value": 7})),
    lambda maker, one: (maker, dataclasses.replace(one, files=(("file", 10, 2),))),
    lambda maker, one: (maker, dataclasses.replace(one, files=(("file", 11, 1),))),
])
def test_what_changed_is_made_anew(maker, change):
    maker(unit())
    maker, other = change(maker, unit())
    assert maker.attempted(other) is None and maker.finished(other) is None
    maker(other)
    assert len(MADE) == 2 and maker.finished(other)


def test_a_damaged_part_is_made_anew(maker):
    maker(unit())
    part, description = maker.paths(unit())
    whole = part.read_bytes()
    part.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert maker.finished(unit()) is None
    maker(unit())
    assert part.read_bytes() == whole
    description.write_text("{")
    maker(unit())
    assert len(MADE) == 3 and maker.finished(unit())


def test_rejects_are_tried_again(maker):
    one = unit(rejects=[["scan", "is broken"]])
    maker(one)
    assert maker.attempted(one)["rejects"] and maker.attempted(one)["num_records"] == 3
    maker(one)
    assert len(MADE) == 2


@pytest.mark.parametrize("error, arguments, reason", [
    (ValueError, ["this scan is broken"], "this scan is broken"), (OSError, ["gone"], "gone"),
    (KeyError, ["surprise"], "KeyError: 'surprise'"),
])
def test_of_a_unit_that_fails_nothing_is_kept(maker, error, arguments, reason):
    one = Unit("one", {"name": "a", "count": 3, "fails_at": 2})
    failing = dataclasses.replace(maker, records=lambda unit, remarks: records(
        dataclasses.replace(unit, work={**unit.work, "error": error, "arguments": arguments}), remarks))
    failing(one)
    said = failing.attempted(one)
    assert said["rejects"] == [["one", reason]] and said["num_records"] == 0
    assert not list(tf.data.TFRecordDataset(str(failing.paths(one)[0])))


def test_a_record_that_cannot_be_used_is_a_failure_of_its_unit(maker):
    wrong = dataclasses.replace(maker, records=lambda unit, remarks: [record("a"), dataclasses.replace(
        record("b"), segmentations=np.full((2, 4, 4), 9, np.uint8))])
    wrong(unit())
    assert "labels [9] that are no class" in wrong.attempted(unit())["rejects"][0][1]
    assert wrong.attempted(unit())["num_records"] == 0


def test_a_full_disk_is_no_reject(maker, tmp_path):
    full = dataclasses.replace(maker, records=lambda unit, remarks: records(
        dataclasses.replace(unit, work={**unit.work, "fails_at": 1, "error": OSError,
                                        "arguments": [errno.ENOSPC, os.strerror(errno.ENOSPC)]}), remarks))
    with pytest.raises(OSError, match="disk is full"):
        full(unit())
    assert list(tmp_path.iterdir()) == []


def test_parts_become_a_dataset(maker, tmp_path):
    units = [Unit(name, {"name": name, "count": count}) for name, count in (("b", 2), ("a", 3), ("none", 0))]
    for one in reversed(units):
        maker(one)
    with DatasetWriter(tmp_path / "data", classes=("background", "lesion"), splits=("train",), source="tests",
                       licence="CC0", preparation={}, records_per_shard=2) as writer:
        join_parts(writer, maker, "train", units)
    info = load_info(tmp_path / "data")
    verify(info)
    names = [EncodedRecord.parse(raw).source_id for path in info.shard_paths("train")
             for raw in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()]
    assert names == ["b0", "b1", "a0", "a1", "a2"]


def test_a_part_that_is_damaged_later_is_named(maker, tmp_path):
    maker(unit())
    part, _ = maker.paths(unit())
    part.write_bytes(part.read_bytes()[:-5])
    with pytest.raises(OSError, match="one.tfrecord was damaged after it was made. Run the command again"):
        with DatasetWriter(tmp_path / "data", classes=("background", "lesion"), splits=("train",), source="tests",
                           licence="CC0", preparation={}) as writer:
            join_parts(writer, maker, "train", [unit()])
    assert maker.attempted(unit()) is None and not (tmp_path / "data").exists()


def test_a_folder_of_parts_has_one_user_and_is_kept_while_something_is_in_it(tmp_path):
    with parts_folder(tmp_path / "data") as folder, pytest.raises(OSError, match="Another process is preparing"):
        with parts_folder(tmp_path / "data"):
            pass
    assert not folder.exists()
    with parts_folder(tmp_path / "data") as folder:
        (folder / "one.tfrecord").write_bytes(b"")
    assert (folder / "one.tfrecord").exists()


def test_an_encoded_record_is_read_back():
    encoded = EncodedRecord.of(record("a"))
    assert EncodedRecord.parse(encoded.example) == encoded
    assert (encoded.source_id, encoded.group, encoded.size, encoded.num_graders) == ("a", "group", (4, 4), 2)
