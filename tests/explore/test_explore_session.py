"""What the page is told: records, image files, features, noise, and words for what does not fit."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tf_probunet.data.dataset import ImageEncoding, load_info
from tf_probunet.data.record import read_record
from tf_probunet.data.writer import Record
from tf_probunet.edge.tflite_file import TfliteFile
from tf_probunet.explore.cases import DatasetCases, FileCases
from tf_probunet.explore.combiner_file import ConvertedCombiner, GivenCombiner, precision
from tf_probunet.explore.models import LocalModel
from tf_probunet.explore.payload import pack, unpack
from tf_probunet.explore.session import Session


def test_records_are_found_across_shards(tmp_path, write_dataset):
    rng = np.random.default_rng(0)
    records = [Record(rng.integers(0, 2**16, (8, 9, 1), np.uint16), rng.integers(0, 2, (index % 3 + 1, 8, 9), np.uint8),
                      f"image{index}", f"patient{index}", {"series_instance_uid": f"1.2.{index}", "z_mm": index / 2})
               for index in range(1, 13)]
    info = write_dataset(tmp_path / "data", {"train": records}, image=ImageEncoding(bits=16))
    for index in (0, 4, 5, 11):  # five to a shard
        found = read_record(info, "train", index)
        np.testing.assert_array_equal(found.image, records[index].image)
        np.testing.assert_array_equal(found.segmentations, records[index].segmentations)
        assert (found.source_id, found.group) == (f"image{index + 1}", f"patient{index + 1}")
        assert found.provenance == records[index].provenance
    with pytest.raises(IndexError, match="has 12 images. Received: 12"):
        read_record(info, "train", 12)


def test_payload_comes_back():
    arrays = {"a": np.arange(5, dtype=np.uint8), "b": np.array([[1.5, -2]], np.float32),
              "c": np.array([[[7]], [[65535]]], np.uint16), "none": np.zeros((0, 3, 3), np.uint8)}
    facts, found = unpack(pack({"name": "ä"}, arrays))
    assert facts == {"name": "ä"} and list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_an_image_travels_with_what_the_model_makes_of_it(phantom_session, lidc, phantom_folder):
    facts, arrays = unpack(phantom_session.image(1))
    case = phantom_session.cases[1]
    assert facts["name"] == case.name and facts["whole_size"] == [128, 128] and facts["encoding"]["high"] == 255
    assert 0.3 < facts["spacing_mm"] < 1.2
    assert arrays["image"].shape == (64, 64, 1) and arrays["segmentations"].shape == (4, 64, 64)
    np.testing.assert_array_equal(arrays["image"], case.stored)
    noise = unpack(phantom_session.noise(6, 3))[1]["noise"]
    latents = arrays["prior_mean"] + arrays["prior_stddev"] * noise
    logits = lidc.signatures["combiner"](features=arrays["features"][None], latents=latents[None])["logits"].numpy()[0]
    segmentations, _ = lidc.sample(case.network_input[None], 64, seed=(3, 0))
    np.testing.assert_array_equal(logits.argmax(-1), segmentations[0])
    mean = lidc.signatures["combiner"](features=arrays["features"][None], latents=arrays["prior_mean"][None, None])
    np.testing.assert_allclose(arrays["reference"], mean["logits"].numpy()[0, 0], atol=1e-5)


@pytest.mark.parametrize("stored, encoding, expected", [
    (np.uint8, ImageEncoding(), (8, 1.0)),
    (np.uint16, ImageEncoding(), (16, 1.0)),
    (np.uint16, ImageEncoding(bits=16, offset=-1024.0, unit="HU", low=-1000.0, high=400.0), (16, None)),
    (np.float32, ImageEncoding(), (None, 1.0)),
])
def test_image_files_keep_their_own_numbers(tmp_path, stored, encoding, expected):
    pixels = np.array([[0, 1], [2, 3]], stored)
    pixels = pixels / np.float32(3) if stored == np.float32 else pixels * (np.iinfo(stored).max // 3)
    np.save(tmp_path / "image.npy", pixels)
    case = FileCases([tmp_path / "image.npy"], encoding)[0]
    np.testing.assert_array_equal(case.stored[..., 0], pixels)
    assert (case.encoding and case.encoding.bits) == expected[0]
    assert case.spacing_mm is None and case.segmentations.shape == (0, 2, 2)
    if expected[1]:
        np.testing.assert_allclose(case.network_input[1, 1, 0], expected[1], atol=1e-4)
    else:  # 65535 - 1024 HU is above the window, 0 - 1024 below
        assert case.encoding == encoding and case.network_input[..., 0].tolist() == [[0, 1], [1, 1]]


def test_what_does_not_fit_is_told(tmp_path, lidc, phantom_session, phantom_folder, grey):
    with pytest.raises(IndexError, match="There are 3 images. Received: 3"):
        phantom_session.image(3)
    with pytest.raises(ValueError, match="A seed is a whole number"):
        phantom_session.noise(6, -1)
    with pytest.raises(ValueError, match="num_samples must lie between 2 and 256. Received: 1"):
        Session(phantom_session.model, phantom_session.combiner, phantom_session.cases, num_samples=1)
    with pytest.raises(ValueError, match="No split 'tset'"):
        DatasetCases(load_info(phantom_folder), "tset")
    with pytest.raises(FileNotFoundError, match="No such image"):
        FileCases([tmp_path / "absent.png"], ImageEncoding())
    with pytest.raises(ValueError, match="The model sees images of 1 channels. Received: 3"):
        phantom_session.model.trunk(np.zeros((1, 64, 64, 3), np.float32))
    Image.fromarray(grey[:60, :50]).save(tmp_path / "odd.png")
    odd = Session(LocalModel(lidc), ConvertedCombiner(lidc), FileCases([tmp_path / "odd.png"], lidc.image))
    with pytest.raises(ValueError, match="multiples of 16"):
        odd.image(0)


def test_combiner_files(tmp_path, lidc, combiner_of):
    made = ConvertedCombiner(lidc)
    assert made.of_size((32, 48)) is made.of_size((32, 48))
    assert made.of_size((32, 48)).inputs == {"features": (1, 32, 48, 32), "latents": (1, 1, 1, 6)}
    assert made.of_size((32, 48)).metadata["saved_model_sha256"] == LocalModel(lidc).fingerprint
    for name, content in {"a8": combiner_of(64, 64, num_samples=8), "b1": combiner_of(64, 64),
                          "c": combiner_of(32, 32)}.items():
        (tmp_path / f"{name}.tflite").write_bytes(content)
    given = GivenCombiner(tmp_path)
    assert given.of_size((64, 64)).inputs["latents"] == (1, 1, 1, 6), "the one for the fewest samples"
    assert given.of_size((32, 32)).inputs["features"] == (1, 32, 32, 32)
    assert given.of_size((16, 16)).inputs["features"][1:3] in ((64, 64), (32, 32)), "for the page to refuse"
    assert precision(given.of_size((32, 32))) == "float32"
    (tmp_path / "int8").write_bytes(TfliteFile(combiner_of(64, 64)).with_metadata({"precision": "int8"}))
    assert precision(GivenCombiner(tmp_path / "int8").of_size((64, 64))) == "int8"
    with pytest.raises(FileNotFoundError, match="absent.tflite does not exist"):
        GivenCombiner(tmp_path / "absent.tflite")
    (tmp_path / "text.tflite").write_text("no model")
    with pytest.raises(ValueError, match="text.tflite is no LiteRT model"):
        GivenCombiner(tmp_path / "text.tflite")


def test_a_model_of_another_kind_is_no_combiner(tmp_path):
    images = tf.TensorSpec((1, 4), name="images")
    double = tf.function(lambda images: {"twice": 2 * images}).get_concrete_function(images)
    (tmp_path / "double.tflite").write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([double]).convert())
    with pytest.raises(ValueError, match="double.tflite is no combiner: its inputs are "):
        GivenCombiner(tmp_path / "double.tflite")
