"""NPZ files come back as they were; what does not fit is named."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tf_probunet.cli.main import main
from tf_probunet.data.arrays import prepare_arrays
from tf_probunet.data.dataset import load_info
from tf_probunet.data.encoding import ValueRange, store
from tf_probunet.data.labels import LabelMap
from tf_probunet.data.reading import evaluation_dataset
from tf_probunet.data.splits import split_by_group
from tf_probunet.data.verify import verify

RNG = np.random.default_rng(0)


def content(**changes):
    return {
        "images": RNG.integers(0, 256, (5, 16, 12)).astype(np.uint8),
        "segmentations": RNG.integers(0, 2, (5, 3, 16, 12)).astype(np.uint8),
        "groups": np.array(["p", "p", "q", "r", "r"]), **changes,
    }


def prepare(folder, arrays, **options):
    np.savez(folder / "mine.npz", **arrays)
    prepare_arrays(folder / "mine.npz", folder / "data", report=lambda line: None, **options)
    info = load_info(folder / "data")
    verify(info)
    return info


def test_everything_comes_back(tmp_path):
    mine = content(graded=np.array([[1, 1, 1], [1, 0, 1], [0, 0, 1], [1, 1, 1], [0, 1, 0]], bool))
    info = prepare(tmp_path, mine)
    seen = 0
    for split in info.splits:
        for batch in evaluation_dataset(info, split, 1):
            index = int(batch["source_id"][0].numpy().decode().removeprefix("mine/"))
            np.testing.assert_array_equal(np.rint(batch["image"][0].numpy()[..., 0] * 255), mine["images"][index])
            expected = mine["segmentations"][index][mine["graded"][index]]
            np.testing.assert_array_equal(batch["segmentations"][0].numpy(), expected)
            assert batch["group"][0].numpy().decode() == mine["groups"][index]
            seen += 1
    assert seen == 5


def test_splits_and_names(tmp_path):
    info = prepare(tmp_path, content(splits=np.array(["train", "train", "val", "test", "test"]),
                                     names=np.array(list("vwxyz")), groups=np.array([1, 1, 2, 3, 3])))
    assert {name: (split["num_images"], split["groups"]) for name, split in info.splits.items()} == {
        "train": (2, ["1"]), "val": (1, ["2"]), "test": (2, ["3"])
    }


def test_groups_in_bytes(tmp_path):
    info = prepare(tmp_path, content(groups=np.array([b"p", b"p", b"q", b"r", b"r"])))
    assert sorted(group for split in info.splits.values() for group in split["groups"]) == ["p", "q", "r"]


def test_colour_and_one_grader(tmp_path):
    info = prepare(tmp_path, content(images=RNG.integers(0, 4096, (5, 16, 12, 3)).astype(np.uint16),
                                     segmentations=RNG.integers(0, 2, (5, 16, 12))))
    assert (info.image.channels, info.image.bits, info.image.high) == (3, 16, 4095)
    assert info.split("train")["num_graders"] == {"1": info.num_images("train")}


def test_text_in_bytes(tmp_path):
    info = prepare(tmp_path, content(groups=np.array([b"p", b"p", b"q", b"r", b"r"])))
    assert sorted(group for split in info.splits.values() for group in split["groups"]) == ["p", "q", "r"]


@pytest.mark.parametrize("changes, message", [
    ({"segmentations": np.zeros((5, 3, 16, 11), np.uint8)}, r"images are \[5, 16, 12\] and segmentations"),
    ({"images": np.zeros((4, 16, 12), np.uint8)}, "images are"),
    ({"segmentations": np.zeros((5, 3, 16, 12))}, "segmentations are float64"),
    ({"segmentations": np.full((5, 3, 16, 12), 9)}, r"segmentations\[0\] holds \[9\], which stand for no class"),
    ({"groups": np.array(["p"])}, r"groups is \[1\]; expected \[5\]"),
    ({"names": np.array("p")}, r"names is \[\]; expected \[5\]"),
    ({"graded": np.zeros((5, 3), bool)}, "at least one grader for each image"),
    ({"images": np.full((5, 16, 12), np.inf)}, "NaN or infinite"),
    ({"images": np.zeros((5, 16, 12, 2), np.uint8)}, "2 channels"),
    ({"masks": np.zeros(3)}, "holds groups, images, masks, segmentations"),
    ({"groups": np.array(["p"] * 5)}, "Only one group"),
    ({"splits": np.array(["train", "val", "val", "val", "val"])}, "Group 'p' is in split"),
])
def test_what_does_not_fit(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        prepare(tmp_path, content(**changes))
    assert not list(tmp_path.glob("*data*"))


def test_two_files_of_one_name(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "mine.npz", **content())
    with pytest.raises(ValueError, match="mine.npz would give their images the same names, mine/000000.*`names`"):
        prepare_arrays([tmp_path / "a" / "mine.npz", tmp_path / "b" / "mine.npz"], tmp_path / "data")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match="No file"):
        prepare_arrays(tmp_path / "none.npz", tmp_path / "data")
    np.savez(tmp_path / "cut.npz", **content())
    (tmp_path / "cut.npz").write_bytes((tmp_path / "cut.npz").read_bytes()[:500])
    np.savez(tmp_path / "objects.npz", images=np.array([None, 1]), segmentations=np.zeros(2))
    (tmp_path / "text.npz").write_text("hello")
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    for name in ("cut", "objects", "text", "one"):
        with pytest.raises(OSError, match=f"{name}.npz cannot be read as NPZ"):
            prepare_arrays(tmp_path / f"{name}.npz", tmp_path / "data")


def test_the_command(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", **content())
    np.savez(tmp_path / "b.npz", **content(groups=np.array(list("stuvw"))))
    assert main(["prepare", "arrays", "--source", str(tmp_path / "a.npz"), str(tmp_path / "b.npz"), "--output",
                 str(tmp_path / "data"), "--val_fraction", "0.3"]) == 0
    assert "of 6 groups" in capsys.readouterr().out
    assert main(["prepare", "arrays", "--source", str(tmp_path / "a.npz"), "--output", str(tmp_path / "data")]) == 1
    capsys.readouterr()
    for flag, value in (("--ignore", "abc"), ("--window", "5,5"), ("--window", "1")):
        assert main(["prepare", "arrays", "--source", str(tmp_path / "a.npz"), "--output", str(tmp_path / "more"), flag,
                     value]) == 1
        assert f"{flag} is" in (said := capsys.readouterr().err) and f"Received: {value}" in said


@settings(max_examples=60)
@given(data=st.data(), dtype=st.sampled_from(["uint8", "uint16", "int16", "int8", "int32", "float32", "float64"]))
def test_what_is_stored_is_what_was_given(data, dtype):
    """Exactly, but for floats and wide integers, which are within half a step."""
    elements = {"float32": st.floats(-1e6, 1e6, width=32), "float64": st.floats(-1e6, 1e6)}.get(dtype)
    image = data.draw(arrays(dtype, (3, 4, 1), elements=elements))
    values = ValueRange()
    values.add(image, "here")
    encoding = values.encoding()
    physical = store(image, encoding).astype(float) * encoding.scale + encoding.offset
    exact = encoding.scale == 1.0 and dtype not in ("float32", "float64")
    allowed = 0 if exact else encoding.scale / 2 * (1 + 1e-6) + 1e-9 * abs(encoding.offset)
    assert abs(physical - image.astype(float)).max() <= allowed
    if dtype in ("uint8", "uint16", "int8", "int16"):
        assert exact
    network = encoding.to_float(store(image, encoding)).numpy()
    assert network.min() >= 0 and network.max() <= 1


@pytest.mark.parametrize("one, other, kinds", [
    ("uint8", "uint16", "a: 8 bit; b: wider integers"), ("uint16", "float32", "a: wider integers; b: floats"),
    ("uint8", "float64", "a: 8 bit; b: floats"),
])
def test_kinds_of_numbers_that_may_mean_other_things_are_not_mixed(one, other, kinds):
    values = ValueRange()
    values.add(np.ones((2, 2, 1), one), "a")
    values.add(np.ones((2, 2, 1), other), "b")
    with pytest.raises(ValueError, match=f"{kinds}. Convert them to one kind; or.*--window LOW,HIGH"):
        values.encoding()
    assert values.encoding((0, 4)).high == 4  # the user says that they mean the same


@pytest.mark.parametrize("labels", ["0:sky,255:car", "0:0,255:1", {0: "sky", 255: 1}])
def test_a_map_of_labels(labels):
    found = LabelMap.parse(("sky", "car"), labels, [7]).apply(np.array([[0, 255, 7]]), "here")
    np.testing.assert_array_equal(found, [[0, 1, 255]])


def test_the_map_that_is_proposed_is_whole():
    """Whoever pastes it must not meet the next value that it lacks."""
    mask = np.array([[0, 7, 255]])
    with pytest.raises(ValueError, match="--labels 0:sky,255:car, or --ignore 255 ") as caught:
        LabelMap.parse(("sky", "car"), None, [7]).apply(mask, "here")
    proposed = str(caught.value).split("--labels ")[1].split(", or")[0]
    np.testing.assert_array_equal(LabelMap.parse(("sky", "car"), proposed, [7]).apply(mask, "here"), [[0, 255, 1]])


@pytest.mark.parametrize("labels, message", [
    ("0:sky,0:car", "mapped twice"), ("0", "maps no value"), ("1:boat", "maps no value"), ("1:2", "no such class"),
    ("x:car", "maps no value"),
])
def test_a_map_that_cannot_be(labels, message):
    with pytest.raises(ValueError, match=message):
        LabelMap.parse(("sky", "car"), labels)


@given(number=st.integers(2, 40), fraction=st.floats(0.01, 0.99), seed=st.integers(0, 99))
def test_a_split_by_lot(number, fraction, seed):
    names = [f"p{index}" for index in range(number)]
    split = split_by_group(names, fraction, seed)
    assert set(split) == set(names) and set(split.values()) == {"train", "val"}
    assert split == split_by_group(names[::-1], fraction, seed)
    assert abs(list(split.values()).count("val") - fraction * number) <= 1
