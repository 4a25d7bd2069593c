"""Which versions are served, as folders and models.config change: nothing is loaded here but what a test makes up."""

import logging
import shutil

import pytest

from tf_probunet.serving.model_config import NAME
from tf_probunet.serving.server.catalogue import AVAILABLE, END, Catalogue
from tf_probunet.serving.server.refusal import Refusal


class Loader:
    """Stands for TensorFlow: remembers what it was asked for, and refuses a version whose file says so."""

    def __init__(self):
        self.asked = []

    def __call__(self, model, number, folder):
        self.asked.append((model, number))
        if (folder / "file").read_text() == "broken":
            raise ValueError("it is broken")
        return f"{model}/{number}"


@pytest.fixture
def loader():
    return Loader()


@pytest.fixture
def catalogue(tmp_path, loader):
    return Catalogue(tmp_path, loader, logging.getLogger("tests"))


def put(folder, model, number, text="whole"):
    (folder / model / str(number)).mkdir(parents=True)
    (folder / model / str(number) / "file").write_text(text)


def configure(folder, policy, labels=""):
    (folder / NAME).write_text(f"model_config_list {{ config {{ name: 'lung' base_path: '/models/lung' "
                               f"model_version_policy {{ {policy} }} {labels} }} }}")


def available(catalogue, model="lung"):
    return sorted(number for (name, number), state in catalogue.states.items()
                  if name == model and state.state == AVAILABLE)


def test_the_newest_is_served_and_replaced_only_when_the_next_is_there(catalogue, loader, tmp_path):
    put(tmp_path, "lung", 1)
    catalogue.refresh()
    assert catalogue.find("lung") == "lung/1"
    put(tmp_path, "lung", 3)
    loading = []
    catalogue.load = lambda *args: (loading.append(catalogue.find("lung")), loader(*args))[1]
    catalogue.refresh()
    assert loading == ["lung/1"], "the old one answers while the new one loads"
    assert available(catalogue) == [3] and catalogue.find("lung") == "lung/3"


def test_a_broken_version_is_refused_once_until_its_files_change(catalogue, loader, tmp_path):
    put(tmp_path, "lung", 1)
    put(tmp_path, "lung", 2, "broken")
    for _ in range(3):
        catalogue.refresh()
    assert loader.asked.count(("lung", 2)) == 1
    assert catalogue.find("lung") == "lung/1"
    assert catalogue.status("lung")[2].state == END and "it is broken" in catalogue.status("lung")[2].error
    (tmp_path / "lung" / "2" / "file").write_text("whole again")
    catalogue.refresh()
    assert available(catalogue) == [2]


def test_the_last_that_answers_stays_when_its_folder_goes_and_the_rest_is_broken(catalogue, tmp_path):
    put(tmp_path, "lung", 2)
    catalogue.refresh()
    put(tmp_path, "lung", 3, "broken")
    shutil.rmtree(tmp_path / "lung" / "2")
    catalogue.refresh()
    assert available(catalogue) == [2]
    put(tmp_path, "lung", 1)
    catalogue.refresh()
    assert available(catalogue) == [1], "back to an older one, as TensorFlow Serving goes"


def test_a_model_whose_folder_goes_is_gone(catalogue, tmp_path):
    put(tmp_path, "lung", 1)
    put(tmp_path, "street", 1)
    catalogue.refresh()
    assert catalogue.models() == ["lung", "street"]
    shutil.rmtree(tmp_path / "lung")
    catalogue.refresh()
    assert catalogue.models() == ["street"]
    with pytest.raises(Refusal, match="any version of model lung. Models with an available version: street"):
        catalogue.find("lung")


@pytest.mark.parametrize("policy, expected", [
    ("all {}", [1, 2, 3, 5]), ("latest { num_versions: 2 }", [3, 5]), ("specific { versions: 2 versions: 9 }", [2]),
    ("", [5]),
])
def test_policies_of_models_config(catalogue, tmp_path, policy, expected):
    for number in (1, 2, 3, 5):
        put(tmp_path, "lung", number)
    configure(tmp_path, policy)
    catalogue.refresh()
    assert available(catalogue) == expected


def test_labels_move_with_the_file_and_a_damaged_file_changes_nothing(catalogue, tmp_path, caplog):
    for number in (1, 2):
        put(tmp_path, "lung", number)
    configure(tmp_path, "all {}", "version_labels { key: 'stable' value: 1 }")
    catalogue.refresh()
    assert catalogue.find("lung", label="stable") == "lung/1"
    configure(tmp_path, "all {}", "version_labels { key: 'stable' value: 2 }")
    catalogue.refresh()
    assert catalogue.find("lung", label="stable") == "lung/2"
    (tmp_path / NAME).write_text("model_config_list {")
    for _ in range(3):
        catalogue.refresh()
    assert catalogue.find("lung", label="stable") == "lung/2"
    assert sum("models.config is not followed" in record.message for record in caplog.records) == 1


def test_a_label_stays_where_it_is_until_the_version_that_it_is_to_name_answers(catalogue, tmp_path):
    put(tmp_path, "lung", 1)
    put(tmp_path, "lung", 2, "broken")
    configure(tmp_path, "all {}", "version_labels { key: 'stable' value: 1 }")
    catalogue.refresh()
    configure(tmp_path, "all {}", "version_labels { key: 'stable' value: 2 }")
    catalogue.refresh()
    assert catalogue.find("lung", label="stable") == "lung/1"
    (tmp_path / "lung" / "2" / "file").write_text("mended")
    catalogue.refresh()
    assert catalogue.find("lung", label="stable") == "lung/2"
    configure(tmp_path, "all {}")
    catalogue.refresh()
    with pytest.raises(Refusal, match="label: stable"):
        catalogue.find("lung", label="stable")


def test_what_is_coming_is_what_will_be_loaded(catalogue, tmp_path):
    put(tmp_path, "lung", 1)
    catalogue.refresh()
    put(tmp_path, "lung", 2)
    assert catalogue.is_coming("lung", 2)
    assert not catalogue.is_coming("lung", 1), "it is the newest that will be served"
    for other in (("lung", 3), ("other", 2), ("..", 1), ("lung", None), ("lung", None, "stable")):
        assert not catalogue.is_coming(*other)
    put(tmp_path, "lung", 3, "broken")
    catalogue.refresh()
    assert not catalogue.is_coming("lung", 3), "it was refused"
    shutil.rmtree(tmp_path)
    assert not catalogue.is_coming("lung", 4), "nothing comes out of a folder that is gone"


def test_codes_are_tensorflow_servings(catalogue, tmp_path):
    put(tmp_path, "lung", 1)
    configure(tmp_path, "all {}", "version_labels { key: 'next' value: 2 }")
    catalogue.refresh()
    for arguments, code in [(("lung", 2), "NOT_FOUND"), (("other",), "NOT_FOUND"), (("",), "INVALID_ARGUMENT"),
                            (("lung", None, "stable"), "INVALID_ARGUMENT"), (("lung", None, "next"), "NOT_FOUND")]:
        with pytest.raises(Refusal) as caught:
            catalogue.find(*arguments)
        assert caught.value.code == code
    with pytest.raises(Refusal, match="Could not find version 2 of model lung"):
        catalogue.status("lung", 2)


def test_hidden_folders_and_those_without_numbers_are_no_models(catalogue, loader, tmp_path):
    put(tmp_path, ".hidden", 1)
    put(tmp_path, "lung", ".2.partial-7")
    (tmp_path / "notes").mkdir()
    catalogue.refresh()
    assert loader.asked == [] and catalogue.models() == []


def test_watching_follows_by_itself_and_survives_a_folder_that_goes(tmp_path, loader):
    folder = tmp_path / "models"
    put(folder, "lung", 1)
    catalogue = Catalogue(folder, loader, logging.getLogger("tests"))
    catalogue.refresh()
    thread = catalogue.watch(0.01)
    folder.rename(tmp_path / "away")
    import time

    time.sleep(0.1)
    assert catalogue.find("lung") == "lung/1" and thread.is_alive()
    (tmp_path / "away").rename(folder)
    put(folder, "lung", 2)
    end = time.monotonic() + 10
    while catalogue.find("lung") != "lung/2" and time.monotonic() < end:
        time.sleep(0.01)
    assert catalogue.find("lung") == "lung/2"
    catalogue.stop()
    thread.join(10)
    assert not thread.is_alive()
