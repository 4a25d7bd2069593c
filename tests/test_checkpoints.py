"""Checkpoints: whole or not there, checked before use, the newest whole one taken."""

import pytest
import tensorflow as tf

from tf_probunet.checkpoints import Checkpoints


def saved(folder, steps):
    """Checkpoints of a variable that is ten times the step."""
    variable = tf.Variable(0)
    checkpoints = Checkpoints(folder, value=variable)
    for step in steps:
        variable.assign(10 * step)
        checkpoints.save(step)
    return checkpoints, variable


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_the_newest_two_are_kept_and_the_newest_is_taken(tmp_path):
    checkpoints, variable = saved(tmp_path, [1, 20, 3_000_000_000])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000020", "step-3000000000"]
    variable.assign(-1)
    assert checkpoints.steps() == [20, 3_000_000_000]


def test_none_changes_nothing(tmp_path):
    checkpoints, variable = saved(tmp_path / "none", [])
    assert checkpoints.restore() == 0 and variable.numpy() == 0


@pytest.mark.parametrize("name", ["state.index", "state.data-00000-of-00001", "sha256.json"])
@pytest.mark.parametrize("how", ["a bit", "half", "gone"])
def test_a_damaged_one_is_named_and_the_one_before_it_taken(tmp_path, name, how):
    checkpoints, variable = saved(tmp_path, [1, 2])
    path = tmp_path / "step-00000002" / name
    if how == "a bit":
        damage(path)
    elif how == "half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        path.unlink()
    lines = []
    assert checkpoints.restore(lines.append) == 1 and variable.numpy() == 10
    (line,) = lines
    assert "step-00000002 cannot be used" in line and "Taking the one before it" in line


def test_sums_that_name_no_state_are_damage(tmp_path):
    checkpoints, variable = saved(tmp_path, [1, 2])
    (tmp_path / "step-00000002" / "sha256.json").write_text("{}")
    assert checkpoints.restore(lambda line: None) == 1 and variable.numpy() == 10


def test_none_that_is_whole_is_an_error_with_a_remedy(tmp_path):
    checkpoints, _ = saved(tmp_path, [1])
    damage(tmp_path / "step-00000001" / "state.index")
    with pytest.raises(OSError, match="None of the 1 checkpoints .* is whole.*remove that folder"):
        checkpoints.restore(lambda line: None)


def test_a_save_that_fails_leaves_the_earlier_ones_and_nothing_else(tmp_path, monkeypatch):
    checkpoints, variable = saved(tmp_path, [1])

    def fails(path):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("tf_probunet.checkpoints.sha256_of", fails)
        with pytest.raises(OSError):
            checkpoints.save(2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    variable.assign(-1)
    assert checkpoints.restore() == 1 and variable.numpy() == 10
