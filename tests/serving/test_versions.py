"""Exported versions on disk: what is whole, what labels name, what may be deleted."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from tf_probunet.cli.main import main
from tf_probunet.export.manifest import write_manifest
from tf_probunet.export.saved_model import _next_number
from tf_probunet.export.version_numbers import version_numbers
from tf_probunet.serving.model_config import NAME, labels_of, read_config
from tf_probunet.serving.versions import delete_old, find_versions, label_version, roll_back

REFERENCE = Path(__file__).parents[2] / "saved_models"


def write_version(saved_models, model, number):
    """A folder with a manifest that fits it; what TensorFlow makes of the rest does not matter here."""
    folder = saved_models / model / str(number)
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph %d" % number)
    (folder / "variables" / "variables.index").write_bytes(b"weights %d" % number)
    write_manifest(folder, {"name": model, "version": number, "metrics": {"val_energy_distance": number / 10}})
    return folder


def damage(folder):
    (folder / "variables" / "variables.index").write_bytes(b"other")


@pytest.fixture
def models(tmp_path):
    """Versions 1, 2, 3 and 10 of lung, 1 of street, and what is no version."""
    for number in (1, 2, 3, 10):
        write_version(tmp_path, "lung", number)
    write_version(tmp_path, "street", 1)
    for other in ("lung/.11.partial-1", "lung/011", "lung/notes", "empty"):
        (tmp_path / other).mkdir()
    (tmp_path / "lung" / "4").write_text("a file")
    return tmp_path


def served(saved_models):
    return text_format.Parse((saved_models / NAME).read_text(), ModelServerConfig())


class TestFind:
    def test_finds_whole_versions_in_order_of_number(self, models):
        found = find_versions(models)
        assert [(version.model, version.number) for version in found] == [
            ("lung", 1), ("lung", 2), ("lung", 3), ("lung", 10), ("street", 1)]
        assert not any(version.problem or version.labels for version in found)
        assert found[0].size == sum(path.stat().st_size for path in (models / "lung/1").rglob("*") if path.is_file())
        assert found[3].manifest["metrics"] == {"val_energy_distance": 1.0}
        assert [version.model for version in find_versions(models, "street")] == ["street"]

    @pytest.mark.parametrize("harm, message", [
        (damage, "variables/variables.index was changed"),
        (lambda folder: (folder / "saved_model.pb").unlink(), "saved_model.pb is missing"),
        (lambda folder: (folder / "extra").touch(), "extra is not listed"),
        (lambda folder: (folder / "manifest.json").unlink(), "has no manifest.json"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "manifest.json was damaged"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "manifest.json has format []"),
        (lambda folder: (folder / "manifest.json").write_text('{"format": "tf_probunet.saved_model/1"}'),
         "with its files"),
    ])
    def test_tells_what_is_damaged(self, models, harm, message):
        harm(models / "lung" / "2")
        found = {version.number: version.problem for version in find_versions(models, "lung")}
        assert message in found.pop(2) and not any(found.values())

    def test_names_what_is_not_there(self, models, tmp_path):
        with pytest.raises(ValueError, match="Unknown model 'lnug'. Did you mean lung"):
            find_versions(models, "lnug")
        with pytest.raises(FileNotFoundError, match="none does not exist"):
            find_versions(tmp_path / "none")
        with pytest.raises(FileNotFoundError, match="holds no model.*It is a model itself: give the folder above it"):
            find_versions(models / "lung")

    def test_reads_what_export_wrote(self):
        (version,) = find_versions(REFERENCE)
        assert (version.model, version.number, version.problem) == ("lidc", 1, "")


class TestLabels:
    def test_are_in_the_configuration_that_the_server_reads(self, models):
        assert label_version(models, "lung", "stable", 2).number == 2
        assert label_version(models, "lung", "canary").number == 10
        label_version(models, "street", "stable", base_path="/srv/models/")
        lung, street = served(models).model_config_list.config
        assert (lung.name, lung.base_path, lung.model_platform) == ("lung", "/models/lung", "tensorflow")
        assert lung.model_version_policy.WhichOneof("policy_choice") == "all"
        assert dict(lung.version_labels) == {"stable": 2, "canary": 10}
        assert (street.base_path, dict(street.version_labels)) == ("/srv/models/street", {"stable": 1})
        assert {version.number: version.labels for version in find_versions(models, "lung") if version.labels} == {
            2: ("stable",), 10: ("canary",)}

    def test_leave_the_rest_of_the_configuration_alone(self, models):
        (models / NAME).write_text(
            'model_config_list { config { name: "lung" base_path: "/x" model_platform: "tensorflow" model_version_policy '
            '{ latest { num_versions: 3 } } version_labels { key: "b" value: 1 } } '
            'config { name: "other" base_path: "/other" } }')
        label_version(models, "lung", "stable", 3)
        lung, other = served(models).model_config_list.config
        assert (lung.base_path, lung.model_version_policy.latest.num_versions) == ("/x", 3)
        assert dict(lung.version_labels) == {"b": 1, "stable": 3} and other.base_path == "/other"

    @pytest.mark.parametrize("policy, served", [
        ("", "none: the newest alone.*only 10 is"),
        ("model_version_policy { latest { num_versions: 2 } }", "only 10, 3 is"),
        ("model_version_policy { specific { versions: 3 } }", "only 3 is"),
    ])
    def test_never_name_what_no_server_would_load(self, models, policy, served):
        text = f'model_config_list {{ config {{ name: "lung" base_path: "/x" model_platform: "tensorflow" {policy} }} }}'
        (models / NAME).write_text(text)
        with pytest.raises(ValueError, match=f"stable cannot name version 2 of lung.*{served} served. Set"):
            label_version(models, "lung", "stable", 2)
        assert (models / NAME).read_text() == text

    def test_newest_skips_what_is_damaged(self, models):
        damage(models / "lung" / "10")
        assert label_version(models, "lung", "canary").number == 3

    def test_never_name_what_is_damaged_or_absent(self, models):
        damage(models / "lung" / "3")
        with pytest.raises(ValueError, match="Version 3 of lung must not be served.*was changed"):
            label_version(models, "lung", "stable", 3)
        with pytest.raises(FileNotFoundError, match=r"lung has no version 4. There are: 1, 2, 3 \(damaged\), 10"):
            label_version(models, "lung", "stable", 4)
        assert not (models / NAME).exists()

    def test_a_broken_configuration_is_kept_and_named(self, models):
        (models / NAME).write_text("model_config_list { config { nmae")
        with pytest.raises(ValueError, match="models.config is no ModelServerConfig"):
            label_version(models, "lung", "stable", 3)
        assert (models / NAME).read_text() == "model_config_list { config { nmae"

    def test_of_many_processes_at_once_are_all_kept(self, models):
        code = ("import sys; from tf_probunet.serving.versions import label_version\n"
                "label_version(sys.argv[1], 'lung', sys.argv[2], 1)")
        processes = [subprocess.Popen([sys.executable, "-c", code, models, f"label{number}"]) for number in range(6)]
        assert [process.wait() for process in processes] == [0] * 6
        assert labels_of(read_config(models), "lung") == {f"label{number}": 1 for number in range(6)}


def test_an_export_never_takes_a_number_that_a_label_names(models):
    assert [_next_number(models / name) for name in ("lung", "street", "new")] == [11, 2, 1]
    label_version(models, "lung", "stable", 10)
    shutil.rmtree(models / "lung" / "10")  # taken away, as the guide says, but for its label
    assert _next_number(models / "lung") == 11


class TestRollback:
    def test_goes_to_the_version_before_that_is_whole(self, models):
        label_version(models, "lung", "stable", 10)
        damage(models / "lung" / "3")
        before, version = roll_back(models, "lung", "stable")
        assert (before, version.number) == (10, 2)
        assert labels_of(read_config(models), "lung") == {"stable": 2}
        assert roll_back(models, "lung", "stable")[1].number == 1
        with pytest.raises(ValueError, match="No version of lung before 1, which stable names"):
            roll_back(models, "lung", "stable")
        assert labels_of(read_config(models), "lung") == {"stable": 1}

    def test_from_a_version_that_is_gone(self, models):
        label_version(models, "lung", "stable", 10)
        shutil.rmtree(models / "lung" / "10")
        assert roll_back(models, "lung", "stable")[1].number == 3

    def test_of_an_unknown_label(self, models):
        with pytest.raises(ValueError, match="Unknown label 'stable'.*Set it first"):
            roll_back(models, "lung", "stable")


class TestDelete:
    def test_keeps_the_last_and_what_is_labelled(self, models):
        label_version(models, "lung", "stable", 1)
        assert [version.number for version in delete_old(models, "lung", 2)] == [2]
        assert version_numbers(models / "lung") == [1, 3, 10] and version_numbers(models / "street") == [1]
        assert not list((models / "lung").glob(".*deleted*"))
        assert delete_old(models, "lung", 2) == []

    def test_what_a_killed_deletion_left_goes_too(self, models):
        os.rename(models / "lung" / "1", models / "lung" / ".1.deleted")
        assert delete_old(models, "lung", 3) == []
        assert not (models / "lung" / ".1.deleted").exists() and version_numbers(models / "lung") == [2, 3, 10]

    def test_damaged_versions_do_not_count(self, models):
        damage(models / "lung" / "10")
        assert [version.number for version in delete_old(models, "lung", 1)] == [1, 2]
        assert version_numbers(models / "lung") == [3, 10]

    def test_nothing_goes_where_nothing_is_whole(self, models):
        for number in (1, 2, 3, 10):
            damage(models / "lung" / str(number))
        assert delete_old(models, "lung", 1) == []

    def test_at_least_one_is_kept(self, models):
        with pytest.raises(ValueError, match="At least one version must be kept"):
            delete_old(models, "lung", 0)


class TestCommandLine:
    def probunet(self, capsys, *arguments):
        status = main(["versions", *map(str, arguments)])
        said = capsys.readouterr()
        return status, said.out, said.err

    def test_from_canary_to_rollback(self, models, capsys):
        here = ("--saved_models", models)
        assert self.probunet(capsys, "label", *here, "--model", "lung", "--label", "stable", "--version", 2)[:2] == (
            0, f"stable of lung is version 2 in {models}/models.config.\n")
        assert self.probunet(capsys, "label", *here, "--model", "lung", "--label", "canary")[0] == 0
        status, out, _ = self.probunet(capsys, "list", *here)
        assert status == 0 and [line.split()[0] for line in out.splitlines()] == [
            "lung/1", "lung/2", "lung/3", "lung/10", "street/1"]
        assert "energy distance 0.2000" in out.splitlines()[1] and out.splitlines()[1].endswith("stable")
        assert self.probunet(capsys, "rollback", *here, "--model", "lung", "--label", "canary")[1] == (
            "canary of lung was version 10 and is version 3.\n")
        assert self.probunet(capsys, "delete", *here, "--model", "lung", "--keep", 1)[1] == (
            "Deleted versions of lung: 1.\n")
        assert self.probunet(capsys, "verify", *here)[:2] == (0, "Every file of 4 versions is as its manifest says.\n")

    def test_verify_fails_on_damage(self, models, capsys):
        damage(models / "lung" / "3")
        status, out, err = self.probunet(capsys, "verify", "--saved_models", models)
        assert status == 1 and "variables.index was changed" in out and "1 of 5 versions must not be served" in err
        assert "damaged" in self.probunet(capsys, "list", "--saved_models", models)[1].splitlines()[2]

    @pytest.mark.parametrize("arguments, status, message", [
        ([], 2, "versions what? versions list, versions verify, versions label, versions rollback, versions delete"),
        (["lits"], 2, "Unknown command 'versions lits'. Did you mean versions list"),
        (["list"], 2, "--saved_models is needed"),
        (["list", "--saved_models", "none"], 1, "none does not exist"),
        (["delete", "--saved_models", "none", "--model", "x", "--keep", "0"], 2, "keep"),
    ])
    def test_mistakes_are_one_clear_line(self, capsys, tmp_path, monkeypatch, arguments, status, message):
        monkeypatch.chdir(tmp_path)
        found, _, err = self.probunet(capsys, *arguments)
        assert found == status and message in err and "Traceback" not in err

    def test_needs_no_tensorflow(self, models):
        code = ("import sys; from tf_probunet.cli.main import main; main(sys.argv[1:]); "
                "assert 'tensorflow' not in sys.modules, 'slow'")
        done = subprocess.run([sys.executable, "-c", code, "versions", "list", "--saved_models", models],
                              capture_output=True, text=True, env={**os.environ, "PROBUNET_TRACEBACK": "1"})
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 5
