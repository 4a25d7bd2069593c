"""The command line: verbs, help, near names, exit statuses; and every verb on a tiny dataset."""

import errno
import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from tf_probunet.cli import main as cli
from tf_probunet.cli.main import in_words


@pytest.fixture
def probunet(capsys):
    """Runs a command line in this process: arguments to (status, stdout, stderr)."""

    def run(*arguments):
        status = cli.main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def test_help_lists_every_verb_at_once(tmp_path):
    start = time.monotonic()
    script = os.path.join(os.path.dirname(sys.executable), "probunet")
    shown = subprocess.run([script, "help"], capture_output=True, text=True, check=True)
    for verb, summary in cli.SUMMARIES.items():
        assert f"{verb} " in shown.stdout and summary in shown.stdout
    assert shown.stderr == "" and time.monotonic() - start < 60  # no TensorFlow is imported; this only says: no hang


@pytest.mark.parametrize("verb", cli.VERBS)
def test_verb_help_names_usage_and_every_required_flag(probunet, verb):
    status, out, err = probunet(*verb.split(), "--help")
    assert (status, err) == (0, "")
    assert out.startswith(f"probunet {verb} ")
    import importlib

    module = importlib.import_module(f"tf_probunet.cli.{cli.VERBS[verb]}")
    for name in getattr(module, "REQUIRED", ()):
        assert f"--{name}: " in out and f"--{name}" in module.USAGE
    assert len(out.splitlines()) < 25
    assert probunet("help", *verb.split())[1] == out


@pytest.mark.parametrize("arguments, message", [
    (["trian"], "Unknown command 'trian'. Did you mean train?"),
    (["prepare"], "prepare what? prepare phantom, prepare lidc, prepare lidc-crops"),
    (["prepare", "lidc-crop"], "Unknown command 'prepare lidc-crop'. Did you mean prepare lidc-crops"),
    (["evaluate", "--runn", "x"], "Unknown flag '--runn'. Did you mean --run"),
    (["train", "--learn_rate", "1"], "Unknown flag '--learn_rate'. Did you mean --learning_rate"),
    (["verify"], "--data is needed"),
    (["verify", "--data", "x", "stray"], "unexpected argument 'stray'"),
    (["evaluate", "--run", "x", "--data", "y", "--num_samples", "none"], "num_samples"),
])
def test_wrong_command_lines_exit_with_2_and_say_what_is_meant(probunet, arguments, message):
    status, out, err = probunet(*arguments)
    assert (status, out) == (2, "") and message in err and "See: probunet" in err or message.startswith("prepare")
    assert message in err


@pytest.mark.parametrize("arguments, message", [
    (["verify", "--data", "nowhere"], "Not a dataset: nowhere does not exist"),
    (["prepare", "lidc-crops", "--source", "nowhere.zip", "--output", "out"], "nowhere.zip does not exist"),
    (["evaluate", "--run", "nowhere", "--data", "{data}"], "Not a run: nowhere has no experiment.json"),
    (["export", "--run", "nowhere", "--output", "out"], "Not a run: nowhere"),
    (["prepare", "cityscapes", "--source", "nowhere.zip", "--output", "out"], "nowhere.zip does not exist"),
    (["sample", "--saved_model", "nowhere", "--image", "x.png", "--output", "out"], "nowhere does not exist"),
    (["train", "--data", "{data}", "--run", "out"], "--preset is needed"),
    (["train", "--data", "{data}", "--run", "out", "--preset", "lidc_smal"], "Did you mean lidc_small"),
    (["train", "--data", "{data}", "--run", "out", "--preset", "demo", "--beta", "much"], "Field beta must be float"),
    (["train", "--data", "{data}", "--run", "out", "--preset", "demo", "--crop_size", "64,64"], "larger than images"),
    (["train", "--data", "{data}", "--run", "out", "--preset", "cityscapes_official"], "has num_classes 24"),
    (["train", "--data", "{data}", "--run", "out", "--resume"], "Not a run: out"),
    (["presets", "lidc_papre"], "Did you mean lidc_paper"),
    (["show", "--data", "{data}", "--output", "{data}/dataset.json/page.png"],
     "dataset.json: File exists. A file is where a folder should be: choose another name."),
    (["prepare", "arrays", "--source", "x.npz", "--output", "out", "--classes", "background", "--classes", "lesion"],
     "--classes is one list, the background first: --classes background,lesion. Received: lesion."),
])
def test_failures_exit_with_1_one_clear_line_and_nothing_made(probunet, tiny_folder, tmp_path, monkeypatch, arguments,
                                                             message):
    monkeypatch.chdir(tmp_path)
    status, _, err = probunet(*[argument.format(data=tiny_folder) for argument in arguments])
    assert status == 1 and message in err and err.startswith("probunet: ") and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [".data.parts", ".data.parts/x.json", ".data.partial-123", "data"])
def test_errors_of_the_system_name_what_the_user_named(name):
    error = OSError(errno.EROFS, "Read-only file system", f"folder/{name}")
    expected = name.replace(".data.parts", "data").replace(".data.partial-123", "data")
    assert in_words(error) == f"folder/{expected}: Read-only file system. Choose a folder that can be written."


def test_traceback_on_request(probunet, monkeypatch):
    monkeypatch.setenv("PROBUNET_TRACEBACK", "1")
    with pytest.raises(FileNotFoundError):
        probunet("verify", "--data", "nowhere")


def test_presets_count_the_parameters_of_all_models(probunet):
    lines = {line.split()[0]: line.split()[1:] for line in probunet("presets", "demo", "--parameters")[1].splitlines()}
    assert int(lines["unet_ensemble"][0].replace(",", "")) == 16 * int(lines["deterministic_unet"][0].replace(",", ""))


def test_presets_show_values_and_sources(probunet):
    assert "lidc_paper" in probunet("presets")[1]
    lines = {line.split()[0]: line.split()[1:] for line in probunet("presets", "lidc_paper")[1].splitlines()}
    assert lines["channels"] == ["32,64,128,256,512", "paper"] and lines["batch_size"] == ["32", "paper"]


def test_the_whole_path(probunet, tiny_folder, tmp_path):
    """train, kill-free resume, evaluate, export, sample, as README has it, on tiny data."""
    tiny = ["--preset", "demo", "--channels", "4,8", "--crop_size", "32,32", "--crop_scales", "1,0.5", "--batch_size", "4",
            "--steps", "4", "--steps_per_epoch", "2", "--validation_images", "4", "--validation_samples", "2", "--precision", "float32"]
    run, models = tmp_path / "run", tmp_path / "saved_models" / "tiny"
    assert probunet("verify", "--data", tiny_folder)[0] == 0
    status, out, err = probunet("train", "--data", tiny_folder, "--run", run, *tiny)
    assert status == 0, err
    assert "epoch 2: cross-entropy" in out and "energy distance" in out
    status, _, err = probunet("train", "--data", tiny_folder, "--run", run, *tiny)
    assert status == 1 and "already exists. Use --resume" in err
    assert probunet("train", "--data", tiny_folder, "--run", run, "--resume")[0] == 0

    status, out, err = probunet("evaluate", "--run", run, "--data", tiny_folder, "--num_samples", "4", "--json",
                                tmp_path / "figures.json")
    assert status == 0, err
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["images"]["all"]["num_images"] == 8
    assert f"{figures['images']['all']['energy_distance']['4']['mean']:.4f}" in out
    assert (run / "evaluation-val.png").is_file()

    for number in (1, 2):
        status, out, err = probunet("export", "--run", run, "--output", models)
        assert status == 0 and f"{models / str(number)}: " in out, err
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8)).save(tmp_path / "image.png")
    status, out, err = probunet("sample", "--saved_model", models, "--image", tmp_path / "image.png", "--seed", 1,
                                "--num_samples", 3, "--output", tmp_path / "samples")
    assert status == 0, err
    assert len(list((tmp_path / "samples").glob("sample_*.png"))) == 3
    assert "was trained on" not in out  # the image is of that size, crops were of half of it too
    said = "The model was trained on 32x32 or 16x16 pixels, and its figures hold for 32x32: --crop_size 32,32 takes"
    status, out, err = probunet("sample", "--saved_model", models, "--image", tmp_path / "image.png", "--num_samples",
                                1, "--crop_size", "20,20", "--output", tmp_path / "small")
    assert status == 0 and said in out, err
    status, out, err = probunet("sample", "--saved_model", models, "--image", tmp_path / "image.png", "--num_samples",
                                1, "--crop_size", "16,16", "--output", tmp_path / "smaller")
    assert status == 0 and "was trained on" not in out, err
    status, _, err = probunet("sample", "--saved_model", models, "--image", tmp_path / "image.png", "--output",
                              tmp_path / "samples")
    assert status == 1 and "already exists" in err


def test_a_run_without_weights_says_so(probunet, tiny_run, tiny_folder, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(tiny_run / "experiment.json", run)
    status, _, err = probunet("evaluate", "--run", run, "--data", tiny_folder)
    assert status == 1 and "has no best.weights.h5 yet" in err
