"""The split of LIDC-IDRI's patients: the paper's numbers, reproducible, and read back as it was written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_probunet.data.lidc_split import SIZES, draw_split, from_csv, to_csv

PATIENTS = [f"LIDC-IDRI-{number:04d}" for number in range(1, 1011)]


def test_the_papers_numbers():
    split = draw_split(PATIENTS, seed=0)
    assert {name: list(split.values()).count(name) for name in SIZES} == {"train": 722, "val": 144, "test": 144}
    assert list(split) == PATIENTS


def test_the_seed_decides_and_the_order_of_patients_does_not():
    assert draw_split(PATIENTS, 3) == draw_split(PATIENTS[::-1], 3) != draw_split(PATIENTS, 4)


@given(number=st.integers(8, 60), seed=st.integers(0, 1000))
def test_every_patient_is_in_one_split_and_no_split_is_empty(number, seed):
    split = draw_split(PATIENTS[:number], seed)
    assert sorted(split) == PATIENTS[:number] and set(split.values()) == set(SIZES)


def test_a_manifest_is_read_back(tmp_path):
    split = draw_split(PATIENTS, 1)
    (tmp_path / "splits.csv").write_text(to_csv(split))
    assert from_csv(tmp_path / "splits.csv", PATIENTS) == split


@pytest.mark.parametrize("text, message", [
    ("patient,split\nLIDC-IDRI-0001,train\nLIDC-IDRI-0001,val\n", "line 3: 'LIDC-IDRI-0001' is listed twice"),
    ("patient,split\nLIDC-IDRI-0001,dev\n", "is in split 'dev'"),
    ("patient,split\nJohn,train\n", "'John' is a patient that LIDC-IDRI does not have"),
    ("id,fold\n1,2\n", "None is a patient"),
    ("patient,split\n", "names no patient"),
    ("", "names no patient"),
])
def test_a_manifest_that_cannot_be_used(tmp_path, text, message):
    (tmp_path / "splits.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        from_csv(tmp_path / "splits.csv", PATIENTS)


def test_no_manifest(tmp_path):
    with pytest.raises(FileNotFoundError, match="No manifest .*nothing.csv. Expected a CSV"):
        from_csv(tmp_path / "nothing.csv", PATIENTS)
