"""The model that ships: whole, small, documented by its own figures, and as good on real CT as they say."""

import io
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tf_probunet.export.exported import ExportedModel
from tf_probunet.metrics import energy_distance

ROOT = Path(__file__).parents[1]
VERSION = ROOT / "saved_models" / "lidc" / "1"
RESULTS = ROOT / "docs" / "results" / "lidc_reference"


@pytest.fixture(scope="module")
def model():
    return ExportedModel(VERSION)  # checks every file against the manifest


@pytest.fixture(scope="module")
def crops(shared_data):
    """Every 30th validation crop: images [B, 64, 64, 1] in 0..1 and masks [B, 4, 64, 64], central crops."""
    images, masks = [], []
    with zipfile.ZipFile(shared_data / "lidc_crops" / "val.zip") as archive:
        names = sorted(name for name in archive.namelist() if "/images/" in name and name.endswith(".png"))[::30]

        def read(name):
            return np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("L"))[32:96, 32:96]

        for name in names:
            stem = name.replace("/images/", "/gt/").removesuffix(".png")
            images.append(read(name)[..., None] / np.float32(255))
            masks.append(np.stack([read(f"{stem}_l{grader}.png") > 0 for grader in range(4)]))
    return np.stack(images), np.stack(masks).astype(np.uint8)


def figures(size, folder="."):
    return json.loads((RESULTS / folder / f"val_{size}.json").read_text())["images"]


def in_words(distance):
    low, high = distance["interval_95"]
    return f"{distance['mean']:.3f} ({low:.3f} to {high:.3f})"


def test_is_small_and_says_what_it_is(model):
    size = sum(path.stat().st_size for path in VERSION.rglob("*") if path.is_file())
    assert size < 10e6
    assert model.manifest["experiment"]["name"] == "lidc_small" and model.manifest["data"]["licence"] == "CC BY 3.0"
    card = (VERSION.parent / "README.md").read_text()
    assert "Not for diagnosis" in card and "10.7937/K9/TCIA.2015.LO9QL9SX" in card


def test_pages_repeat_the_figures_that_were_measured():
    small, large = (figures(size)["all"]["energy_distance"]["16"] for size in (64, 128))
    for page in (ROOT / "docs" / "results" / "lidc_reference.md", VERSION.parent / "README.md"):
        text = page.read_text()
        assert in_words(small) in text and in_words(large) in text
    (said,) = re.findall(r"energy distance\s+of (\d\.\d+) on validation patients", (ROOT / "README.md").read_text())
    assert said == f"{small['mean']:.3f}"


def test_what_each_change_gave_is_what_was_measured():
    text = (ROOT / "docs" / "results" / "lidc_reference.md").read_text()
    for folder in ("first", "one_size", "."):
        small, large = (figures(size, folder)["all"]["energy_distance"]["16"] for size in (64, 128))
        assert f"| {in_words(small)} | {in_words(large)} |" in text


def test_takes_any_multiple_of_16(model):
    for height, width in ((64, 64), (128, 128), (48, 80)):
        segmentations, probabilities = model.sample(np.full((1, height, width, 1), 0.3, np.float32), num_samples=2)
        assert segmentations.shape == (1, 2, height, width) and np.isfinite(probabilities).all()


def test_draws_real_lesions_as_well_as_its_figures_say(model, crops):
    images, masks = crops
    samples = np.concatenate([
        model.sample(images[start : start + 16], num_samples=16, seed=(0, start))[0]
        for start in range(0, len(images), 16)
    ])
    distance = energy_distance(samples, masks, 2).energy_distance
    expected = figures(64)["all"]["energy_distance"]["16"]["mean"]
    # Four standard errors of the mean over this part of the split.
    assert abs(distance.mean() - expected) < 4 * distance.std() / np.sqrt(len(distance))
    disagreed, both = (filled.any(1) & ~filled.all(1) for filled in (masks.any((2, 3)), samples.any((2, 3))))
    assert disagreed.sum() > 20 and both[disagreed].mean() > 0.8
