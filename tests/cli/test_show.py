"""probunet show: figures alone, pages, JSON, and what goes wrong."""

import json

import pytest
from PIL import Image

from tf_probunet.cli import main as cli


def show(capsys, *arguments):
    status = cli.main(["show", *map(str, arguments)])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_figures_alone_write_nothing(capsys, tiny_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = show(capsys, "--data", tiny_folder)
    assert status == 0, err
    assert "Split val: 8 images of 4 groups, 32x32 pixels" in out and "E d(Y,Y')" in out
    assert list(tmp_path.iterdir()) == []


def test_sheet_figures_and_augmented_page(capsys, tiny_folder, tmp_path):
    sheet, views, figures = tmp_path / "new" / "sheet.png", tmp_path / "views.png", tmp_path / "figures.json"
    status, out, err = show(capsys, "--data", tiny_folder, "--split", "train", "--output", sheet, "--num_images", 7,
                            "--json", figures, "--limit", 6, "--crop_size", 24)
    assert status == 0 and out.endswith(f"Figures: {figures}\nPage: {sheet}\n"), err
    found = json.loads(figures.read_text())
    assert (found["split"], found["num_images"], found["image_size"]) == ("train", 6, [24, 24])
    assert f"{found['grader_diversity']:.4f}" in out
    status, out, err = show(capsys, "--data", tiny_folder, "--preset", "demo", "--crop_size", "24,24", "--output",
                            views, "--num_images", 2, "--views", 3)
    assert status == 0, err
    sizes = [Image.open(path).size for path in (sheet, views)]
    assert sizes[0][0] > sizes[1][0] > 4 * 240  # six columns, and four


@pytest.mark.parametrize("arguments, message", [
    (["--split", "tset"], "No split 'tset'"),
    (["--preset", "demmo", "--output", "x.png"], "Did you mean demo"),
    (["--preset", "demo", "--output", "x.png"], "Preset demo cuts crops of 64x64, but there are images of 32x32"),
    (["--preset", "demo"], "--preset draws a page. Say where to"),
    (["--crop_size", "64,64", "--output", "x.png"], "larger than images"),
    (["--output", "/dev/null/x.png"], "/dev/null: File exists. A file is where"),
    (["--json", "/dev/null/x.json"], "/dev/null: File exists. A file is where"),
])
def test_failures_are_one_clear_line(capsys, tiny_folder, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, _, err = show(capsys, "--data", tiny_folder, *arguments)
    assert status == 1 and err.startswith("probunet: ") and message in err and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
