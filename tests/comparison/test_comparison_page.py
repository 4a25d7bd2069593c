"""The page: made of records alone, its numbers those of the records, its figures there and looked at by their sizes."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.stats import wilcoxon

from tf_probunet.comparison import text
from tf_probunet.comparison.page import write_page
from tf_probunet.comparison.plan import load_plan
from tf_probunet.comparison.published import TABLES
from tf_probunet.evaluation import Evaluation
from tf_probunet.metrics import bootstrap_interval, floor, holm


def quiet(_):
    pass


@pytest.fixture(scope="module")
def page(tiny_comparison, tmp_path_factory):
    """Folder with the records alone of the tiny comparison, and its page."""
    folder = tmp_path_factory.mktemp("page") / "elsewhere"
    folder.mkdir()
    shutil.copy(tiny_comparison[0] / "plan.json", folder)
    shutil.copytree(tiny_comparison[0] / "records", folder / "records")
    path = write_page(folder, quiet)
    assert path == folder / "README.md"
    return folder


@pytest.fixture(scope="module")
def words(page):
    return (page / "README.md").read_text()


@pytest.fixture(scope="module")
def evaluations(page):
    return {path.name: Evaluation.load(path) for path in (page / "records").iterdir() if path.is_dir()}


def row(words, heading, label):
    """Cells of the row of a model in the table whose first head is `heading`."""
    table = re.search(rf"^\| {re.escape(heading)} \|.*?\n\n", words, re.S | re.M)[0]
    line = next(line for line in table.splitlines() if line.startswith(f"| {label} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


class TestNumbers:
    def test_energy_distances_are_those_of_the_records(self, words, evaluations):
        one, two = (evaluations[f"probabilistic-seed{seed}"] for seed in (0, 1))
        for cell, count in zip(row(words, "energy distance", "**Probabilistic U-Net**"), (1, 4, 8, 16), strict=True):
            both = np.stack([one.energy_distance[count], two.energy_distance[count]])
            low, high = bootstrap_interval(both.mean(axis=0), one.groups, seed=5)
            seeds = "; ".join(f"seed {seed}: {mean:.3f}" for seed, mean in enumerate(both.mean(axis=1)))
            assert cell == f"{both.mean():.3f} ({low:.3f} to {high:.3f})<br>{seeds}"

    def test_heads_are_those_made_for_so_many_samples(self, words, evaluations):
        cells = row(words, "energy distance", "M-Heads")
        for cell, count, variant in zip(cells, (1, 4, 8, 16), (4, 4, 16, 16), strict=True):
            found = evaluations[f"heads-{variant}-seed0"].energy_distance[count].mean()
            assert cell.startswith(f"{found:.3f} (")

    def test_floor(self, words, evaluations):
        diversity = evaluations["two-seed0"].grader_diversity.mean()
        assert row(words, "energy distance", "*floor: a perfect sampler*") == [
            f"*{floor(diversity, count):.3f}*" for count in (1, 4, 8, 16)]

    def test_tests_against_the_reference(self, words, evaluations):
        differences = []
        for count, variant in zip((1, 4, 8, 16), (4, 4, 16, 16), strict=True):
            mine, *theirs = (evaluations[name].energy_distance[count] for name in (
                f"heads-{variant}-seed0", "probabilistic-seed0", "probabilistic-seed1"))
            differences.append(mine - np.mean(theirs, axis=0))
        expected = holm([wilcoxon(difference, zero_method="pratt").pvalue for difference in differences])
        for cell, difference, p_value in zip(row(words, "difference", "M-Heads"), differences, expected, strict=True):
            assert cell.startswith(f"{difference.mean():+.3f} (") and f", p {p_value:.2g}<br>groups: p " in cell
        assert "by Holm over all 4 tests" in words

    def test_measures(self, words, evaluations, page):
        found = evaluations["heads-16-seed0"]
        cells = row(words, "model", "M-Heads")
        assert cells[:3] == [f"{found.cross.mean():.3f}", f"{found.sample_diversity.mean():.3f}",
                             f"{found.matched_iou[16].mean():.3f}"]
        assert cells[3] == "-"  # heads have no posterior
        facts = json.loads((page / "records" / "heads-16-seed0" / "record.json").read_text())
        assert cells[7:] == [f"{facts['training']['parameters']:,}", text.duration(facts["training"]["seconds"])]

    def test_json_has_them_all(self, page, evaluations):
        numbers = json.loads((page / "comparison.json").read_text())
        assert [entry["name"] for entry in numbers["entries"]] == ["probabilistic", "heads"]
        assert numbers["missing"] == [] and numbers["num_images"] == 8
        found = numbers["entries"][1]["energy_distance"]["16"]["mean"]
        assert found == pytest.approx(evaluations["heads-16-seed0"].energy_distance[16].mean())
        assert len(numbers["entries"][0]["runs"]) == 2 and len(numbers["entries"][1]["runs"]) == 2


class TestWords:
    def test_tell_how_it_was_made(self, words, page):
        facts = json.loads((page / "records" / "two-seed0" / "record.json").read_text())
        for said in ("# A tiny comparison", "Made by the tests.", "8 images of 4 groups, split val, central 32x32",
                     "4 steps of batch 4", "$ probunet compare --plan tiny.json", facts["machine"]["processor"],
                     "Licence: CC0", "2 images, spread evenly over the split", "Samples: seed 5"):
            assert said in words
        for run in ("probabilistic-seed0", "heads-4-seed0"):
            sha256 = json.loads((page / "records" / run / "record.json").read_text())["weights_sha256"]
            assert row(words, "run", run)[-1] == f"`{sha256[:12]}`"

    def test_published_figures_stand_apart_with_their_source(self, words):
        cells = row(words, "published energy distance", "Image2Image VAE")
        assert cells == ["1.03", "0.53", "0.45", "0.41", "Kohl et al. 2018, figure 4a, read off the plot, +-0.01"]
        assert "not to be compared to the digit" in words
        for table in TABLES.values():
            assert all(len(values) == 4 and source for _, values, source in table["rows"])

    def test_no_folder_of_this_machine_is_named(self, words, page):
        assert str(page.parent) not in words + (page / "plan.json").read_text() + (page / "comparison.json").read_text()

    def test_lines_that_only_other_data_has(self):
        plan = load_plan("flips_comparison")
        assert "CamVid" in text.source(plan, {"data": {"source": "Street scenes."}})
        assert text.presence_section({"presence": {"agreed": {}}}) == [
            "Graders agree on the presence of a foreground class in every image: there is nothing to set apart."]
        agreement = {"total_variation": 0.125, "num_hit": 31.5, "num_modes": 32.0, "expected_total_variation": 0.01,
                     "log_correlation": 0.9}
        rule = {"against_probabilities": agreement | {"total_variation": 0.25}, "against_truth": agreement,
                "total_variation_without": [0.0625]}
        flip = {"from": "road", "to": "road 2", "probability": 4 / 17, "rate": None, "met": 0.0,
                "recovered": None}
        entry = {"label": "a", "role": "ablation", "modes": {"first": rule, "split": rule}, "pixel_flip_rates": [flip]}
        assert text.mode_table([entry]).splitlines()[-1] == (
            "| a *(ablation)* | 31.5 of 32 | 0.250 (0.010) | 0.125 (0.010) | 0.125 (0.010) | 0.900 |")
        assert text.flip_table([entry]).splitlines()[2:] == [
            "| *true probability* | *0.235 (1.000)* |", "| a *(ablation)* | - (0.000) |"]
        assert text.without_table([entry]).splitlines() == [
            "| TV, perfect sampler | all flips | without road |", "|---|---:|---:|",
            "| a *(ablation)* | 0.125 | 0.062 |"]
        assert text.recovery_table([entry]) == ""  # no posterior
        knowing = {"label": "b", "role": "baseline", "pixel_flip_rates": [flip | {"recovered": 0.75}]}
        assert text.recovery_table([entry, knowing]).splitlines()[2:] == ["| b | 0.750 |"]


class TestFigures:
    def test_all_that_the_page_shows_are_there_and_not_empty(self, words, page):
        shown = re.findall(r"!\[[^]]+\]\(([^)]+)\)", words)
        assert shown == ["energy_distance.png", "samples_1.png", "samples_2.png", "presence.png", "latent_plane.png",
                         "training.png"]
        for name in shown:
            with Image.open(page / name) as image:
                assert min(image.size) > 250 and np.asarray(image.convert("L")).std() > 5, name
        assert {path.suffix for path in page.iterdir() if path.is_file()} == {".png", ".md", ".json"}

    def test_a_sheet_has_a_row_for_each_model_of_the_tables(self, page):
        with Image.open(page / "samples_1.png") as image:
            height = image.size[1]
        assert height == pytest.approx(128 + 2 * 130 + 140, abs=20)  # graders, two models, words


class TestAgain:
    def test_the_same_records_make_the_same_page(self, page, words):
        names = [path.name for path in page.iterdir() if path.is_file()]
        before = {name: (page / name).read_bytes() for name in names}
        write_page(page, quiet)
        assert {name: (page / name).read_bytes() for name in names} == before

    def test_notes_stand_on_it(self, copied):
        (copied / "notes.md").write_text("## What it means\n\nNothing yet.\n")
        words = write_page(copied, quiet).read_text()
        assert "\n\n## What it means\n\nNothing yet.\n\n## Energy distance" in words

    def test_what_lacks_is_named(self, copied):
        shutil.rmtree(copied / "records" / "heads-4-seed0")
        shutil.rmtree(copied / "records" / "two-seed0")
        words = write_page(copied, quiet).read_text()
        assert "**Not there yet:** heads-4-seed0, two-seed0." in words
        assert "| M-Heads |" not in words.split("## Published")[0] and "latent_plane.png" not in words

    def test_nothing_to_show(self, copied):
        for name in ("probabilistic-seed0", "probabilistic-seed1", "heads-4-seed0"):
            shutil.rmtree(copied / "records" / name)
        with pytest.raises(ValueError, match="No model of tiny is recorded whole yet.*Lacking: probabilistic-seed0"):
            write_page(copied, quiet)

    def test_records_of_another_plan_or_other_settings_are_refused(self, copied):
        path = copied / "plan.json"
        content = json.loads(path.read_text())
        for change, message in (({"settings": content["settings"] | {"limit": 3}}, "limit was None, now 3"),
                                ({"plan": content["plan"] | {"base": content["plan"]["base"] | {"steps": 9}}},
                                 "made by another plan.*steps: 4 here, 9 there")):
            path.write_text(json.dumps(content | change))
            with pytest.raises(ValueError, match=message):
                write_page(copied, quiet)

    @pytest.mark.parametrize("name", ["cases.npz", "two-seed0/pictures.npz", "two-seed0/evaluation.npz"])
    def test_a_damaged_record_is_named(self, copied, name):
        (copied / "records" / name).write_bytes(b"PK half a file")
        with pytest.raises(OSError, match=f"{name} is missing or damaged.*Take it from a copy"):
            write_page(copied, quiet)
