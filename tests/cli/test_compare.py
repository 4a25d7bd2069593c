"""probunet compare: from a plan to a page, the page alone, and what goes wrong."""

import json
import shutil

import pytest

from tf_probunet.cli import main as cli
from tf_probunet.comparison import compare

HEADS = {"name": "heads", "role": "reference", "fields": {"model": "mheads_unet"},
         "by_num_samples": {"4": {"num_heads": 4}, "16": {"num_heads": 16}}}
PLAN = {
    "name": "solo", "title": "One model",
    "base": {"preset": "demo", "channels": [4, 8], "num_convs": 1, "latent_dim": 2, "combiner_channels": [6],
             "crop_size": [32, 32], "batch_size": 4, "steps": 40, "steps_per_epoch": 2, "validation_images": 4,
             "validation_samples": 2},
    "entries": [{"name": "only", "label": "The only one", "role": "reference"}],
}


def run(capsys, *arguments):
    status = cli.main(["compare", *map(str, arguments)])
    said = capsys.readouterr()
    return status, said.out, said.err


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "solo.json"
    path.write_text(json.dumps(PLAN))
    return path


def test_from_a_plan_to_a_page_and_the_page_alone(capsys, plan, tiny_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["--plan", "solo.json", "--data", tiny_folder, "--output", "out", "--runs", "elsewhere",
                 "--num_cases", 1, "--set", "steps=2", "--limit", 6]
    status, out, err = run(capsys, *arguments)
    assert status == 0, err
    assert out.startswith("Run 1 of 1: only-seed0: train, then evaluate.\n") and out.endswith("Page: out/README.md\n")
    assert (tmp_path / "elsewhere" / "only-seed0" / "best.weights.h5").is_file()
    assert not (tmp_path / "out" / "runs").exists()
    page = tmp_path / "out" / "README.md"
    words = page.read_text()
    # The folder of this machine is left out; everything else would do the same again.
    assert (f"$ probunet compare --plan solo.json --data {tiny_folder.name} --output out --runs elsewhere --limit 6 "
            "--num_cases 1 --set steps=2\n") in words
    assert "6 images of " in words and "2 steps of batch 4" in words

    shutil.rmtree(tmp_path / "elsewhere")
    files = {path: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file()}
    for path in files:
        if path.name != "plan.json":
            path.unlink()
    assert run(capsys, "--output", "out", "--page_only")[:2] == (0, "Page: out/README.md\n")
    assert {path: path.read_bytes() for path in files} == files
    assert run(capsys, *arguments)[:2] == (0, "Run 1 of 1: only-seed0: done.\nPage: out/README.md\n")

    status, _, err = run(capsys, *arguments[:-4], "--set", "steps=3", "--limit", 6)
    assert status == 1 and "was made by another plan. It differs in steps: 2 here, 3 there" in err


def test_a_run_alone_that_makes_no_row_yet_is_no_failure(capsys, plan, tiny_folder, tmp_path):
    plan.write_text(json.dumps(PLAN | {"entries": [HEADS]}))
    output = tmp_path / "out"
    status, out, err = run(capsys, "--plan", plan, "--data", tiny_folder, "--output", output, "--num_cases", 1, "--set",
                           "steps=2", "--limit", 6, "--only", "heads-4-seed0")
    assert status == 0, err
    assert out.endswith("No page yet. No model of solo is recorded whole yet, so there is nothing to show. Lacking: "
                        "heads-16-seed0.\n")
    status, _, err = run(capsys, "--output", output, "--page_only")
    assert status == 1 and "No model of solo is recorded whole yet" in err


def test_a_training_that_fails_keeps_the_page_of_all_others(capsys, plan, tiny_folder, tmp_path, monkeypatch):
    failing = {"name": "failing", "role": "baseline", "fields": {"model": "dropout_unet"}}
    plan.write_text(json.dumps(PLAN | {"entries": [*PLAN["entries"], failing]}))
    train = compare.train

    def fail(experiment, *arguments, **options):
        if experiment.model == "dropout_unet":
            raise FloatingPointError("Training stopped: loss is not finite.")
        return train(experiment, *arguments, **options)

    monkeypatch.setattr(compare, "train", fail)
    status, out, err = run(capsys, "--plan", plan, "--data", tiny_folder, "--output", tmp_path / "out", "--num_cases",
                           1, "--set", "steps=2", "--limit", 6)
    assert status == 1 and "training of failing-seed0 failed; all else is done" in err
    page = tmp_path / "out" / "README.md"
    assert out.endswith(f"Page: {page}\n") and "**Not there yet:** failing-seed0." in page.read_text()


@pytest.mark.parametrize("arguments, message", [
    (["--plan", "solo.json"], "--data is needed, unless --page_only"),
    (["--data", "{data}"], "--plan is needed, unless --page_only"),
    (["--page_only"], "Not a comparison: out has no plan.json"),
    (["--plan", "lidc_comparsion", "--data", "{data}"], "Did you mean lidc_comparison"),
    (["--plan", "solo.json", "--data", "nowhere"], "Not a dataset: nowhere"),
    (["--plan", "solo.json", "--data", "{data}", "--set", "steps"], "--set is FIELD=VALUE"),
    (["--plan", "solo.json", "--data", "{data}", "--set", "stps=3"], "Did you mean steps"),
    (["--plan", "solo.json", "--data", "{data}", "--only", "other"], "Unknown entry or run 'other'"),
    (["--plan", "solo.json", "--data", "{data}", "--split", "tset"], "No split 'tset'"),
    (["--plan", "lidc_comparison", "--data", "{data}"], "larger than images"),
])
def test_failures_are_one_clear_line(capsys, plan, tiny_folder, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, _, err = run(capsys, "--output", "out", *[word.format(data=tiny_folder) for word in arguments])
    assert status == 1 and err.startswith("probunet: ") and message in err and "Traceback" not in err
    assert not list(tmp_path.rglob("*weights*"))
