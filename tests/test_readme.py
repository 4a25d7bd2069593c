"""Every snippet of README.md and docs/*.md runs as it stands, but for fewer steps and smaller networks."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# What makes a snippet quick; its words are otherwise run to the letter.
QUICKER = {
    "steps_per_epoch=100, epochs=3": "steps_per_epoch=1, epochs=1",
    "channels=(16, 32, 64)": "channels=(4, 8)",
    "--preset lidc_small": "--preset lidc_small --channels 4,8 --steps 2 --steps_per_epoch 1 --batch_size 4 "
                           "--validation_images 2 --validation_samples 2",
    "--num_samples 1,8,16 --precision float32,float16,int8 --data data/lidc": "--num_samples 16",  # untrained: all ties
}
NOT_HERE = ("make ",)  # the two commands by which this very test is run


def snippets(language):
    for page in PAGES:
        for number, code in enumerate(re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.M | re.S)):
            if not code.startswith(NOT_HERE):
                yield pytest.param(code, id=f"{page.relative_to(ROOT)}-{number}")


def quicker(code):
    code = re.sub(r"^pip install .*$", "", code, flags=re.M)  # is
    for slow, quick in QUICKER.items():
        code = code.replace(slow, quick)
    return code


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with what the snippets take for granted: demo/data, crops/*.zip, crop.png."""
    folder = tmp_path_factory.mktemp("readme")
    from tf_probunet.data.phantom import prepare_phantom

    prepare_phantom(folder / "demo" / "data", num_train=10, num_val=4)
    rng = np.random.default_rng(0)
    (folder / "crops").mkdir()
    for split, patients in (("train", "ABC"), ("val", "DE")):
        with zipfile.ZipFile(folder / "crops" / f"{split}.zip", "w") as archive:
            for patient in patients:
                for kind, names in (("images", ["n0"]), ("gt", [f"n0_l{grader}" for grader in range(4)])):
                    for name in names:
                        with archive.open(f"{split}/{kind}/{patient}/{name}.png", "w") as file:
                            pixels = rng.integers(0, 256, (128, 128), np.uint8)
                            Image.fromarray(pixels if kind == "images" else pixels // 200 * 255).save(file, "PNG")
    Image.fromarray(rng.integers(0, 256, (64, 64), np.uint8)).save(folder / "crop.png")
    return folder


@pytest.mark.parametrize("code", list(snippets("sh")))
def test_shell_snippet_runs(code, workplace):
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    result = subprocess.run(["bash", "-euc", quicker(code)], cwd=workplace, capture_output=True, text=True,
                            env={"PATH": path, "HOME": str(workplace)})
    assert result.returncode == 0, result.stdout[-1000:] + result.stderr[-3000:]


@pytest.mark.parametrize("code", list(snippets("python")))
def test_python_snippet_runs(code, workplace):
    result = subprocess.run([sys.executable, "-c", quicker(code)], cwd=workplace, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]


def test_every_file_that_readme_names_exists():
    text = (ROOT / "README.md").read_text()
    named = set(re.findall(r"`(tf_probunet/[\w/.]+)`", text)) | set(re.findall(r"\]\(((?!http)[\w/.]+)\)", text))
    assert len(named) > 15
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
