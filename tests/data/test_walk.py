"""Files are found behind links to folders too, once, and a link that leads nowhere is told."""

import pytest

from tf_probunet.data.walk import files_below


@pytest.fixture
def archive(tmp_path):
    """One patient here, one on another disk, and a link in it that leads back."""
    for name in ("here/alice/1.png", "here/2.png", "disk/bob/3.png", "disk/bob/deep/4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "here" / "bob").symlink_to(tmp_path / "disk" / "bob")
    (tmp_path / "disk" / "bob" / "deep" / "up").symlink_to(tmp_path / "disk" / "bob")
    return tmp_path / "here"


def test_links_to_folders_are_followed_but_not_round_and_round(archive):
    found = [path.relative_to(archive).as_posix() for path in files_below(archive)]
    assert found == ["2.png", "alice/1.png", "bob/3.png", "bob/deep/4.png"]


def test_a_link_that_leads_nowhere_is_told(archive):
    (archive / "alice" / ".#lock").symlink_to("nobody")  # an editor's
    assert len(list(files_below(archive))) == 4
    (archive / "carol").symlink_to("/mnt/unmounted/carol")
    with pytest.raises(FileNotFoundError, match="carol is a link to /mnt/unmounted/carol, where nothing is. Bring"):
        list(files_below(archive))
