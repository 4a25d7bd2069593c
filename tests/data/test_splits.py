"""A CSV of groups is read as it was meant, and refused where it could mean two things."""

import pytest

from tf_probunet.data.splits import read_groups


def read(tmp_path, text, **options):
    (tmp_path / "groups.csv").write_text(text, encoding="utf-8")
    return read_groups(tmp_path / "groups.csv", ["a", "deep/b", "c"], **options)


def test_endings_and_blanks_make_no_other_name(tmp_path):
    groups, splits = read(tmp_path, "image, group ,split\na.nii.gz,p1, train\n deep/b.png ,p1 ,train \nc, p2,val\n")
    assert groups == {"a": "p1", "deep/b": "p1", "c": "p2"}
    assert splits == {"a": "train", "deep/b": "train", "c": "val"}


def test_a_byte_order_mark(tmp_path):
    assert read(tmp_path, "\ufeffimage,group\na,p\ndeep/b,p\nc,q\n") == ({"a": "p", "deep/b": "p", "c": "q"}, {})


def test_images_left_out_may_be_listed_and_need_not(tmp_path):
    text = "image,group,split\na,p,train\ndeep/b,p,train\nc,q,val\n"
    for more in ("", "d.png,r,test\n"):
        groups, splits = read(tmp_path, text + more, left_out=["d"])
        assert set(groups) == set(splits) == {"a", "deep/b", "c"}
    with pytest.raises(ValueError, match="line 5: 'd.png' is no image"):
        read(tmp_path, text + "d.png,r,test\n")


@pytest.mark.parametrize("text, message", [
    ("", r"has the columns \(none\)"), ("file,patient\na,p\n", "has the columns file, patient. Expected image,group"),
    ("image,group\na,p\na.png,p\n", "line 3: 'a' is listed twice"), ("image,group\na\n", "'a' has no group"),
    ("image,group\na, \n", "'a' has no group"), ("image,group,split\na,p,\n", "'a' has no split"),
    ("image,group\na,p\nc,q\n", "lacks 1 of the 3 images, first 'deep/b'"),
])
def test_what_is_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, text)


def test_no_file_and_no_text(tmp_path):
    with pytest.raises(FileNotFoundError, match="No file .*none.csv"):
        read_groups(tmp_path / "none.csv", ["a"])
    (tmp_path / "binary.csv").write_bytes(b"image,group\n\xff\xfe,p\n")
    with pytest.raises(ValueError, match="binary.csv is no CSV in UTF-8"):
        read_groups(tmp_path / "binary.csv", ["a"])
