"""probunet explore: flags that do not go together, and what comes before the page."""

import re
import shlex
from pathlib import Path

import pytest

from tf_probunet.cli import explore as verb
from tf_probunet.cli import main as cli
from tf_probunet.export.exported import ExportedModel

ROOT = Path(__file__).parents[2]


def explore(capsys, *arguments):
    status = cli.main(["explore", *map(str, arguments)])
    said = capsys.readouterr()
    return status, said.out, said.err


@pytest.mark.parametrize("arguments, status, message", [
    (["--saved_model", "x"], 2, "either --data or --image is needed"),
    (["--saved_model", "x", "--data", "d", "--image", "i.png"], 2, "either --data or --image is needed"),
    (["--data", "d"], 2, "--saved_model is needed, or --server"),
    (["--data", "d", "--server", "localhost:1"], 2, "--server needs --model"),
    (["--data", "d", "--saved_model", "x", "--model", "lidc"], 2, "--model goes with --server"),
    (["--data", "d", "--server", "localhost:1", "--model", "m"], 2, "give --combiner FILE.tflite"),
    (["--data", "d", "--saved_model", "absent"], 1, "absent does not exist. Expected a folder that"),
    (["--data", "d", "--server", "localhost:1", "--model", "m", "--combiner", "absent.tflite", "--timeout", "0.5"], 1,
     "localhost:1"),
])
def test_failures_are_one_clear_line(capsys, arguments, status, message):
    found, _, err = explore(capsys, *arguments)
    assert found == status and err.startswith("probunet: ") and message in err and "Traceback" not in err


def test_what_the_page_is_given(capsys, monkeypatch, tiny_folder):
    seen, model = {}, ROOT / "saved_models" / "lidc"

    def run(session, *, port, open_browser, report):
        seen.update(session=session, port=port, open_browser=open_browser)
        report("as run would")

    monkeypatch.setattr("tf_probunet.explore.run.run", run)
    status, out, err = explore(capsys, "--data", tiny_folder, "--saved_model", model, "--noopen_browser",
                               "--num_samples", 8, "--seed", 3)
    assert status == 0 and "as run would" in out, err
    session = seen["session"]
    assert (session.num_samples, session.seed, seen["port"], seen["open_browser"]) == (8, 3, 0, False)
    assert session.cases.crop_size == (64, 64) == session.model.trained_size
    status, *_ = explore(capsys, "--data", tiny_folder, "--saved_model", model, "--crop_size", "16", "--split", "train")
    assert status == 0
    assert seen["session"].cases.crop_size == (16, 16) and len(seen["session"].cases) == 24 and seen["open_browser"]
    assert (seen["session"].cases.info.image.low, seen["session"].cases.info.image.high) == (0, 255)  # the dataset's

    monkeypatch.setattr(ExportedModel, "window", (20, 120))  # of --window in training: the model sees its own
    assert explore(capsys, "--data", tiny_folder, "--saved_model", model)[0] == 0
    assert (seen["session"].cases.info.image.low, seen["session"].cases.info.image.high) == (20, 120)


def test_the_guides_commands_are_understood():
    lines = [line for page in ("README.md", "docs/explore.md")
             for line in re.findall(r"^probunet explore (.*)$", (ROOT / page).read_text(), re.M)]
    assert len(lines) >= 4
    for line in lines:
        for name in verb.FLAGS:
            verb.FLAGS[name].unparse()
        assert verb.FLAGS(["explore", *shlex.split(line)])[1:] == [], line
        verb.check(verb.FLAGS)
