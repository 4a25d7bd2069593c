"""From an image file to files of samples: every kind of image, and every kind that is refused."""

import numpy as np
import pytest
from PIL import Image

from tf_probunet.data.dataset import ImageEncoding
from tf_probunet.export.exported import ExportedModel
from tf_probunet.sampling import palette, read_image, sample_to_folder

HOUNSFIELD = ImageEncoding(bits=16, scale=1.0, offset=-1024.0, unit="HU", low=-1000.0, high=400.0)
RGB = ImageEncoding(channels=3)


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (32, 48), np.uint8)


def write(path, array):
    np.save(path, array) if path.suffix == ".npy" else Image.fromarray(array).save(path)
    return path


def test_8_bit_png_and_npy_are_divided_by_255(tmp_path, pixels):
    for name in ("a.png", "a.npy"):
        image = read_image(write(tmp_path / name, pixels), ImageEncoding())
        np.testing.assert_allclose(image[..., 0], pixels / 255, rtol=1e-6)
        assert image.dtype == np.float32 and image.shape == (32, 48, 1)


def test_16_bit_png_is_scaled_by_its_full_range(tmp_path, pixels):
    image = read_image(write(tmp_path / "a.png", pixels.astype(np.uint16) * 257), ImageEncoding())
    np.testing.assert_allclose(image[..., 0], pixels / 255, rtol=1e-6)


def test_16_bit_physical_values_go_through_the_window(tmp_path):
    stored = np.array([[24, 1424], [724, 1024]], np.uint16)  # -1000, 400, -300, 0 HU
    for name in ("a.png", "a.npy"):
        image = read_image(write(tmp_path / name, stored), HOUNSFIELD)[..., 0]
        np.testing.assert_allclose(image, [[0, 1], [0.5, 1000 / 1400]], atol=1e-6)


def test_colour_and_grey(tmp_path, pixels):
    colour = np.stack([pixels, pixels[::-1], pixels], -1)
    np.testing.assert_allclose(read_image(write(tmp_path / "a.png", colour), RGB), colour / 255, rtol=1e-6)
    assert read_image(tmp_path / "a.png", ImageEncoding()).shape == (32, 48, 1)  # grey of a colour file


def test_floats_are_network_input_already(tmp_path, pixels):
    unit = (pixels / 255).astype(np.float64)
    np.testing.assert_allclose(read_image(write(tmp_path / "a.npy", unit), HOUNSFIELD)[..., 0], unit, rtol=1e-6)


@pytest.mark.parametrize("array, encoding, message", [
    (np.full((8, 8), 2.0), ImageEncoding(), r"floats from 2 to 2; expected 0\.\.1"),
    (np.full((8, 8), np.nan), ImageEncoding(), "finite"),
    (np.zeros((8, 8), np.int32), ImageEncoding(), "holds int32; expected uint8, uint16 or floats"),
    (np.zeros((8, 8, 2), np.uint8), ImageEncoding(), r"shape \[8, 8, 2\]; expected \[H, W, 1\]"),
    (np.zeros(8, np.uint8), ImageEncoding(), r"shape \[8\]; expected"),
    (np.zeros((8, 8), np.uint8), HOUNSFIELD, "is 8 bit; the model expects 16 bit images in HU"),
])
def test_wrong_arrays_are_refused(tmp_path, array, encoding, message):
    with pytest.raises(ValueError, match=message):
        read_image(write(tmp_path / "a.npy", array), encoding)


def test_missing_and_damaged_files(tmp_path, pixels):
    with pytest.raises(FileNotFoundError, match="No such image"):
        read_image(tmp_path / "none.png", ImageEncoding())
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(OSError, match="Cannot read .*text.png"):
        read_image(tmp_path / "text.png", ImageEncoding())
    cut = write(tmp_path / "cut.npy", pixels).read_bytes()[:200]
    (tmp_path / "cut.npy").write_bytes(cut)
    with pytest.raises(OSError, match="Cannot read .*cut.npy"):
        read_image(tmp_path / "cut.npy", ImageEncoding())


def test_folder_holds_what_the_model_drew(tmp_path, pixels, tiny_version):
    model = ExportedModel(tiny_version)
    write(tmp_path / "a.png", pixels)
    files = sample_to_folder(model, tmp_path / "a.png", tmp_path / "out", num_samples=5, seed=3)
    segmentations, probabilities = model.sample(pixels[None, ..., None] / np.float32(255), 5, seed=(3, 0))
    samples = np.load(tmp_path / "out" / "samples.npy")
    np.testing.assert_array_equal(samples, segmentations[0])
    for index, sample in enumerate(samples):
        with Image.open(tmp_path / "out" / f"sample_{index:02d}.png") as mask:
            assert mask.mode == "P"
            np.testing.assert_array_equal(np.asarray(mask), sample)
    np.testing.assert_allclose(np.load(tmp_path / "out" / "probabilities.npy"), probabilities[0])
    with Image.open(tmp_path / "out" / "probability.png") as probability:
        np.testing.assert_allclose(np.asarray(probability) / 65535, 1 - probabilities[0, ..., 0], atol=1e-5)
    assert {path.name for path in files} >= {"figure.png", "sample_04.png"} and len(files) == 5 + 4


class ManyClasses:
    """A model of 24 classes whose samples show each of them, one a pixel."""

    image, num_classes, title, source = ImageEncoding(), 24, "many", "nothing."

    def sample(self, images, num_samples, seed):
        maps = np.resize(np.arange(24, dtype=np.uint8), (1, num_samples, *images.shape[1:3]))
        return maps, np.full((1, *images.shape[1:3], 24), 1 / 24, np.float32)


def test_pngs_hold_every_class_and_a_colour_for_each(tmp_path, pixels):
    sample_to_folder(ManyClasses(), write(tmp_path / "a.png", pixels), tmp_path / "out", num_samples=1)
    with Image.open(tmp_path / "out" / "sample_00.png") as image:
        np.testing.assert_array_equal(image, np.load(tmp_path / "out" / "samples.npy")[0])
        colors = {tuple(color) for color in np.asarray(image.convert("RGB")).reshape(-1, 3).tolist()}
    assert len(colors) == 24
    assert len(palette()) == 3 * 256 and {*palette()} <= set(range(256))


def test_crop_is_the_middle(tmp_path, pixels, tiny_version):
    model = ExportedModel(tiny_version)
    write(tmp_path / "whole.png", pixels)
    write(tmp_path / "middle.png", pixels[8:24, 8:40])
    sample_to_folder(model, tmp_path / "whole.png", tmp_path / "a", num_samples=2, crop_size=(16, 32))
    sample_to_folder(model, tmp_path / "middle.png", tmp_path / "b", num_samples=2)
    first, second = (np.load(tmp_path / name / "probabilities.npy") for name in "ab")
    np.testing.assert_array_equal(first, second)
    with pytest.raises(ValueError, match="32x48, smaller than the crop of 64x64"):
        sample_to_folder(model, tmp_path / "whole.png", tmp_path / "c", crop_size=(64, 64))


def test_existing_output_stays_as_it_is(tmp_path, pixels, tiny_version):
    write(tmp_path / "a.png", pixels)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("kept")
    with pytest.raises(FileExistsError, match="already exists and is never written over"):
        sample_to_folder(ExportedModel(tiny_version), tmp_path / "a.png", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_size_that_does_not_divide_leaves_nothing(tmp_path, tiny_version):
    write(tmp_path / "a.png", np.zeros((31, 32), np.uint8))
    with pytest.raises(ValueError, match="multiples of 2"):
        sample_to_folder(ExportedModel(tiny_version), tmp_path / "a.png", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
