"""A dataset appears whole or not at all, whatever happens to who writes it."""

import errno
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from records import SETTINGS, record
from tf_probunet.data.dataset import load_info
from tf_probunet.data.verify import verify
from tf_probunet.data.writer import DatasetWriter


BAD_RECORDS = {
    "NaN image": (dict(image=np.full((8, 6, 1), np.nan)), r"b: image is float64 \[8, 6, 1\]; expected uint8 \[H, W, 1"),
    "two channels": (dict(image=np.zeros((8, 6, 2), np.uint8)), r"\[8, 6, 2\]; expected uint8 \[H, W, 1\].*ImageEnc"),
    "no channels": (dict(image=np.zeros((8, 6), np.uint8)), r"\[8, 6\]; expected"),
    "16 bits": (dict(image=np.zeros((8, 6, 1), np.uint16)), "uint16.*expected uint8"),
    "no pixels": (dict(size=(0, 6)), r"\[0, 6, 1\]; expected"),
    "mask size": (dict(segmentations=np.zeros((2, 6, 8), np.uint8)), r"\[2, 6, 8\]; expected \[R, 8, 6\].*one size"),
    "one mask": (dict(segmentations=np.zeros((8, 6), np.uint8)), r"\[8, 6\]; expected \[R, 8, 6\]"),
    "no mask": (dict(graders=0), r"\[0, 8, 6\]; expected.*R >= 1"),
    "a label": (dict(segmentations=np.full((2, 8, 6), 7, np.uint8)), r"labels \[7\].*0\.\.1 or 255.*Map the labels"),
    "int mask": (dict(segmentations=np.zeros((2, 8, 6), np.int64)), "segmentations are int64; expected uint8"),
    "NaN mask": (dict(segmentations=np.full((2, 8, 6), np.nan)), "segmentations are float64.*expected uint8"),
    "same name": (dict(name="a"), "source_id 'a' was written twice. Give each image its own"),
    "no name": (dict(name=""), "source_id must be text that is not empty. Received: ''"),
    "number as name": (dict(name=3, group="b"), "source_id must be text.*Received: 3"),
    "no group": (dict(group=7), "group must be text.*Received: 7"),
    "NaN fact": (dict(provenance={"z": float("nan")}), "provenance 'z' is nan; expected text or a finite number"),
    "list fact": (dict(provenance={"z": []}), r"provenance 'z' is \[\]; expected.*Leave out"),
    "no fact": (dict(provenance={"z": None}), "provenance 'z' is None; expected"),
    "shared group": (dict(group="a"), "Group 'a' is in split 'val' and in 'train'.*Write the whole group to one"),
}


class TestWriter:
    @pytest.mark.parametrize("case", BAD_RECORDS)
    def test_a_bad_record_is_refused_and_the_next_one_written(self, tmp_path, case):
        changes, message = BAD_RECORDS[case]
        with DatasetWriter(tmp_path / "data", splits=("train", "val"), **SETTINGS) as writer:
            writer.write("val", record("a"))
            with pytest.raises(ValueError, match=message):
                writer.write("train", record(**({"name": "b"} | changes)))
            writer.write("train", record("b"))  # nothing of the refused record is remembered
        assert load_info(tmp_path / "data").num_images("train") == 1
        verify(load_info(tmp_path / "data"))

    def test_an_unknown_split_and_a_closed_writer(self, tmp_path):
        writer = DatasetWriter(tmp_path / "data", splits=("train",), **SETTINGS)
        with pytest.raises(ValueError, match="not open"):
            writer.write("train", record())
        with pytest.raises(ValueError, match="No image was written to split train"), writer:
            with pytest.raises(ValueError, match="Unknown split 'test'; this writer has train"):
                writer.write("test", record())
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("wrong, message", [
        (dict(classes=()), "classes must be 1 to 255 names"),
        (dict(ignore_label=1), r"ignore_label must be.*2\.\.255. Received: 1"),
        (dict(splits=()), "splits must be names"),
        (dict(splits=("a/b",)), "splits must be names"),
        (dict(records_per_shard=0), "records_per_shard must be at least 1. Received: 0"),
        (dict(preparation={"x": float("nan")}), "JSON values.*Received"),
        (dict(preparation={"x": np.zeros(2)}), "JSON values.*Received.*lists"),
    ])
    def test_settings_that_no_reader_could_use_are_refused_at_once(self, tmp_path, wrong, message):
        with pytest.raises(ValueError, match=message):
            DatasetWriter(tmp_path / "data", **({"splits": ("train",)} | SETTINGS | wrong))

    def test_an_existing_output_is_refused_and_left_alone(self, tmp_path):
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "mine").write_text("x")
        with pytest.raises(FileExistsError, match="data already exists and is never written over"):
            with DatasetWriter(tmp_path / "data", splits=("train",), **SETTINGS):
                pass
        assert os.listdir(tmp_path) == ["data"] and os.listdir(tmp_path / "data") == ["mine"]

    def test_an_output_that_appears_meanwhile_is_left_alone(self, tmp_path):
        with pytest.raises(OSError), DatasetWriter(tmp_path / "data", splits=("train",), **SETTINGS) as writer:
            writer.write("train", record())
            (tmp_path / "data").mkdir()
            (tmp_path / "data" / "mine").write_text("x")
        assert os.listdir(tmp_path) == ["data"] and os.listdir(tmp_path / "data") == ["mine"]

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
    def test_an_error_in_the_block_leaves_nothing(self, tmp_path, error):
        with pytest.raises(error), DatasetWriter(tmp_path / "data", splits=("train",), **SETTINGS) as writer:
            writer.write("train", record())
            assert not (tmp_path / "data").exists()
            raise error
        assert os.listdir(tmp_path) == []

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
    @pytest.mark.parametrize("name", ["train-00000.open", "train-00001.open", "dataset.json"])
    @pytest.mark.parametrize("side", [8, 512])  # fails in close, fails in write
    def test_a_full_disk_leaves_nothing(self, tmp_path, name, side):
        noise = np.random.default_rng(0).integers(0, 256, (side, side, 1)).astype(np.uint8)
        writer = DatasetWriter(tmp_path / "data", splits=("train",), records_per_shard=1, **SETTINGS)
        with pytest.raises(OSError, match="disk is full: could not write .*data.*free some space") as caught, writer:
            (staging,) = tmp_path.iterdir()
            (staging / name).symlink_to("/dev/full")
            for index in range(3):
                writer.write("train", record(f"{index}", image=noise, size=(side, side)))
        assert caught.value.errno == errno.ENOSPC
        assert os.listdir(tmp_path) == []


# Children of a process that has imported TensorFlow and run nothing of it yet: a fork is quick then, and safe.
KILLED = """
    import os, random, signal, sys, time
    from pathlib import Path
    import numpy as np
    from tf_probunet.data import writer as module

    def write(folder, kill_at):
        count = 0
        def moment():
            nonlocal count
            count += 1
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            if kill_at == "any time":
                time.sleep(0.02)
        def counted(function):
            def call(*args, **options):
                moment()
                result = function(*args, **options)
                moment()
                return result
            return call
        module._encode = counted(module._encode)
        module.os.rename = counted(os.rename)
        Path.write_text = counted(Path.write_text)
        with module.DatasetWriter(folder, classes=("background", "lesion"), splits=("train", "val"), source="tests",
                                  licence="CC0", preparation={}, records_per_shard=3) as writer:
            for index in range(10):
                one = module.Record(np.full((16, 16, 1), index, np.uint8), np.zeros((2, 16, 16), np.uint8),
                                    str(index), str(index))
                writer.write("val" if index > 7 else "train", one)
        return count

    def child(folder, kill_at=None):
        pid = os.fork()
        if pid == 0:
            total = write(folder, kill_at)
            Path(folder.parent.parent / "total").write_bytes(str(total).encode())
            os._exit(0)
        return pid

    root = Path(sys.argv[1])
    assert os.waitpid(child(root / "a" / "data"), 0)[1] == 0
    total = int((root / "total").read_text())
    rng = random.Random(0)
    killed = 0
    for moment in [*rng.sample(range(1, total), 6), total - 1, "any time", "any time", "any time"]:
        pid = child(root / "b" / "data", moment)
        if moment == "any time":
            time.sleep(rng.uniform(0.0, 0.5))  # of at least 0.64 seconds
            os.kill(pid, signal.SIGKILL)
        killed += os.waitpid(pid, 0)[1] == signal.SIGKILL
        assert not (root / "b" / "data").exists(), moment
        assert len(os.listdir(root / "b")) <= 1, os.listdir(root / "b")  # the next run sweeps what this one left
    assert os.waitpid(child(root / "b" / "data"), 0)[1] == 0
    print(total, killed, *os.listdir(root / "b"))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_process_leaves_no_dataset_and_the_next_run_succeeds(tmp_path):
    (tmp_path / "b").mkdir()
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    total, killed, *names = done.stdout.split()
    # 10 records, 4 shards, dataset.json and the folder, each with a before and an after
    assert (int(total), int(killed), names) == (32, 10, ["data"])
    assert verify(load_info(tmp_path / "b" / "data"))["train"].num_images == 8
