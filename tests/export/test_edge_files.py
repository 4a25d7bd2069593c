"""`probunet convert` keeps files that passed every check, with a report, and nothing at all otherwise."""

import json

import keras
import numpy as np
import pytest

from tf_probunet.cli.main import main
from tf_probunet.data.dataset import ImageEncoding, load_info
from tf_probunet.data.writer import Record
from tf_probunet.edge import Combiner
from tf_probunet.edge.tflite_file import TfliteFile
from tf_probunet.export import edge_checks, litert
from tf_probunet.export.edge_examples import LATENT_RANGE, calibration, examples_of
from tf_probunet.export.edge_files import convert
from tf_probunet.export.exported import ExportedModel
from tf_probunet.export.saved_model import export
from tf_probunet.models import ProbabilisticUNet


@pytest.fixture(scope="module")
def data(tiny_folder):
    return load_info(tiny_folder)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    keras.utils.set_random_seed(0)
    model = ProbabilisticUNet(num_classes=2, image_channels=1, channels=(4, 8), latent_dim=3, combiner_channels=(8, 8),
                              initializer="he_normal", image_mean=0.5, image_stddev=0.2)
    model.build()
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(variable + 0.2 * rng.standard_normal(variable.shape))
    folder = tmp_path_factory.mktemp("saved_models") / "tiny"
    return ExportedModel(export(model, folder, facts={"experiment": {"crop_size": [32, 32]}}, check_size=(32, 32)))


@pytest.fixture(scope="module")
def converted(exported, data, tmp_path_factory):
    lines = []
    folder = convert(exported, tmp_path_factory.mktemp("edge") / "files", num_samples=(1, 5),
                     precisions=("float32", "float16", "int8"), trunk=True, data=data, num_images=6,
                     report=lines.append)
    return folder, json.loads((folder / "report.json").read_text()), lines


def test_a_file_for_each_precision_and_number(converted):
    folder, report, lines = converted
    names = {f"combiner-32x32-{count}-{precision}.tflite" for count in (1, 5)
             for precision in ("float32", "float16", "int8")}
    names |= {f"trunk-32x32-{precision}.tflite" for precision in ("float32", "float16")}
    assert {path.name for path in folder.iterdir()} == names | {"report.json", "README.md"}
    assert {row["file"] for row in report["files"]} == names
    assert [line.split(":")[0] for line in lines if ".tflite" in line] == [row["file"] for row in report["files"]]
    assert "No trunk in int8: it is written in float32 and float16 alone." in lines


def test_the_report_tells_what_the_files_are(converted, exported, data):
    folder, report, _ = converted
    assert report["saved_model_sha256"] == litert.fingerprint(exported)
    assert report["checked_on"] == f"6 images of {data.folder.name}/val"
    page = (folder / "README.md").read_text()
    for row in report["files"]:
        content = (folder / row["file"]).read_bytes()
        file = TfliteFile(content)
        assert row["bytes"] == len(content)
        assert (row["num_operations"], row["operations"]) == (len(file.operations), file.operation_counts())
        assert file.metadata["saved_model_sha256"] == report["saved_model_sha256"]
        assert row["file"] in page and f"{len(content):,}" in page
        assert "difference" in row["gpu"] or "Vulkan" in row["gpu"]["why_not"]


def test_errors_are_within_their_bounds_and_not_by_chance(converted):
    errors = {row["file"]: row["error"] for row in converted[1]["files"]}
    assert 0 < errors["combiner-32x32-5-float32.tflite"] < 1e-5
    assert 1e-5 < errors["combiner-32x32-5-float16.tflite"] < 1e-2
    assert errors["combiner-32x32-5-int8.tflite"] > 1e-2


def test_8_bits_are_compared_by_energy_distance(converted):
    rows = [row for row in converted[1]["files"] if row["precision"] == "int8"]
    for row in rows:
        assert row["operations"] == "3 CONV_2D, 2 QUANTIZE, 1 ADD, 1 DEQUANTIZE"
        assert 0 < row["energy_distance"] < 0.05 and row["same_pixels"] > 0.95
        assert 0 <= row["clipped"] < 0.01
        assert abs(row["to_graders"] - row["float32_to_graders"]) < 0.05


def test_calibration_covers_the_whole_range_of_latents(converted, exported, data):
    examples = examples_of(exported, data, "train", (32, 32), 6)
    low = (examples.prior_mean - LATENT_RANGE * examples.prior_stddev).min()
    high = (examples.prior_mean + LATENT_RANGE * examples.prior_stddev).max()
    shown = np.concatenate([example["latents"] for example in calibration(examples, 5, (0, 0))])
    np.testing.assert_allclose([shown.min(), shown.max()], [low, high], rtol=1e-5)
    found = TfliteFile(converted[0] / "combiner-32x32-5-int8.tflite").quantized_range("latents")
    np.testing.assert_allclose(found, [low, high], atol=(high - low) / 100)
    assert TfliteFile(converted[0] / "combiner-32x32-5-float32.tflite").quantized_range("latents") is None


def test_clipped_latents_are_counted(converted, exported, data):
    file = TfliteFile(converted[0] / "combiner-32x32-5-int8.tflite")
    examples = examples_of(exported, data, "val", (32, 32), 6)
    wide = examples._replace(prior_stddev=10 * examples.prior_stddev)
    assert edge_checks.clipped_share(file, examples, (0, 0)) < 0.01 < edge_checks.clipped_share(file, wide, (0, 0))


def test_features_of_half_precision_are_taken(tmp_path):
    model = ProbabilisticUNet(num_classes=2, channels=(4, 8), latent_dim=3, combiner_channels=(8, 8))
    version = export(model, tmp_path / "half", check_size=(16, 16), half_features=True)
    folder = convert(ExportedModel(version), tmp_path / "files", num_samples=(2,), size=(16, 16), trunk=True,
                     report=print)
    assert Combiner(folder / "combiner-16x16-2-float32.tflite", "cpu").size == (16, 16)
    # To what the version rounded, the trunk cannot be nearer than the 11 bits of float16.
    error = json.loads((folder / "report.json").read_text())["files"][-1]["error"]
    assert error < edge_checks.HALF_FEATURES_BOUND


@pytest.mark.parametrize("arguments", [{"fixed_prior": True}, {"normalization": "filter_response"},
                                       {"normalization": "instance"}])
def test_every_exported_model_is_taken_with_its_trunk(tmp_path, arguments):
    model = ProbabilisticUNet(num_classes=2, channels=(4, 8), latent_dim=3, combiner_channels=(8, 8), **arguments)
    version = export(model, tmp_path / "other", check_size=(16, 16))
    folder = convert(ExportedModel(version), tmp_path / "files", num_samples=(2,), size=(16, 16), trunk=True,
                     precisions=("float32", "float16"), report=print)
    assert len(list(folder.glob("*.tflite"))) == 4


@pytest.mark.parametrize(("change", "words"), [
    ({"precisions": ("float64",)}, "float64.*float32"),
    ({"precisions": ("int8",), "data": None}, "int8 needs real images.*--data"),
    ({"num_samples": (0,)}, r"1 or more. Received: \[0\]"),
    ({"num_samples": ()}, "1 or more"),
    ({"size": (31, 32)}, "multiples of 2"),
])
def test_wrong_arguments_leave_nothing(exported, data, tmp_path, change, words):
    with pytest.raises(ValueError, match=words):
        convert(exported, tmp_path / "files", **{"data": data, "report": print, **change})
    assert list(tmp_path.iterdir()) == []


def test_a_size_is_needed_where_the_version_has_none(tmp_path):
    model = ProbabilisticUNet(num_classes=2, channels=(4, 8), latent_dim=3, combiner_channels=(8, 8))
    version = ExportedModel(export(model, tmp_path / "bare", check_size=(16, 16)))
    with pytest.raises(ValueError, match="does not say.*--size"):
        convert(version, tmp_path / "files")


def test_a_dataset_of_other_classes_is_refused(exported, data, tmp_path, write_dataset):
    def record(group):
        return Record(np.zeros((32, 32, 1), np.uint8), np.ones((4, 32, 32), np.uint8), f"{group}/0", group, {})

    other = write_dataset(tmp_path / "three", {"train": [record("a")], "val": [record("b")]},
                          classes=("background", "lesion", "vessel"))
    with pytest.raises(ValueError, match="segments 2 classes.*has 3"):
        convert(exported, tmp_path / "files", data=other)


def test_a_dataset_of_other_channels_is_refused(exported, tmp_path, write_dataset):
    def record(group):
        return Record(np.zeros((32, 32, 3), np.uint8), np.ones((4, 32, 32), np.uint8), f"{group}/0", group, {})

    other = write_dataset(tmp_path / "colour", {"train": [record("a")], "val": [record("b")]},
                          image=ImageEncoding(channels=3))
    with pytest.raises(ValueError, match="takes images of 1 channel, those of the dataset .* have 3"):
        convert(exported, tmp_path / "files", data=other)


def test_an_existing_folder_is_never_written_over(exported, converted):
    with pytest.raises(FileExistsError, match="never written over"):
        convert(exported, converted[0])


@pytest.mark.parametrize(("name", "value", "words"), [
    ("BOUNDS", {"float32": 1e-12}, "combiner-32x32-1-float32.tflite differs from Keras by"),
    ("COMBINER_OPERATIONS", {"float32": {"ADD"}}, "holds CONV_2D; expected ADD alone"),
])
def test_a_file_that_fails_is_not_kept(exported, tmp_path, monkeypatch, name, value, words):
    monkeypatch.setattr(edge_checks, name, value)
    with pytest.raises(ValueError, match=words):
        convert(exported, tmp_path / "files", num_samples=(1,), report=print)
    assert list(tmp_path.iterdir()) == []


def test_wrong_numbers_are_found(exported, tmp_path, monkeypatch):
    made = litert.combiner_function

    def wrong(model, *arguments):
        model.combiner.logits.bias.assign_add([1e-3, 0.0])
        return made(model, *arguments)

    monkeypatch.setattr(litert, "combiner_function", wrong)
    with pytest.raises(ValueError, match="differs from Keras by"):
        convert(exported, tmp_path / "files", num_samples=(1,), report=print)


def test_8_bits_that_change_too_much_are_refused(exported, data, tmp_path, monkeypatch):
    monkeypatch.setattr(edge_checks, "INT8_SAME_PIXELS", 1.0)
    with pytest.raises(ValueError, match="8 bits leave .* of the pixels.*Calibrate with more images"):
        convert(exported, tmp_path / "files", num_samples=(1,), precisions=("int8",), data=data, num_images=4)
    assert list(tmp_path.iterdir()) == []


def test_a_gpu_that_is_required_must_be_there(exported, tmp_path, monkeypatch):
    monkeypatch.setenv("VK_ICD_FILENAMES", "/nonexistent.json")
    with pytest.raises(ValueError, match="cannot run on the GPU: no driver of Vulkan"):
        convert(exported, tmp_path / "files", num_samples=(1,), require_gpu=True)


def test_from_the_command_line(exported, tmp_path, capfd):
    output = tmp_path / "files"
    arguments = ["convert", f"--saved_model={exported.folder}", f"--output={output}", "--num_samples=2", "--size=16,24"]
    assert main(arguments) == 0
    assert (output / "combiner-16x24-2-float32.tflite").is_file()
    assert "combiner-16x24-2-float32.tflite" in capfd.readouterr().out
    assert main(arguments) == 1
    assert "never written over" in capfd.readouterr().err
    assert main([*arguments[:2], "--output=new", "--num_samples=two"]) == 1
    assert "--num_samples is whole numbers" in capfd.readouterr().err
