"""Cityscapes' layout is found in folders and zips, split by city, and its label ids become classes."""

import io
import pickle
import sys

import numpy as np
import pytest
import tensorflow as tf
from file_trees import save
from PIL import Image
from tf_probunet.pipelines.prepare_cityscapes import prepare_cityscapes

from tf_probunet.data.cityscapes import label_classes, read_unit
from tf_probunet.data.cityscapes_layout import find_units
from tf_probunet.data.dataset import load_info
from tf_probunet.data.reading import training_dataset
from tf_probunet.data.verify import verify

HEIGHT, WIDTH = 16, 32
OFFICIAL = {"train": ("aachen", "darmstadt", "Monchengladbach", "ulm"), "val": ("frankfurt",), "test": ("berlin",)}
OTHER = {"train": ("a", "b"), "val": ("c",)}


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def layout(cities=OFFICIAL, frames=2, size=(HEIGHT, WIDTH)):
    """Files of a small tree by name, every label id of 0 to 33 in every picture."""
    files = {}
    for split, names in cities.items():
        for city in names:
            for frame in range(frames):
                rng = np.random.default_rng([len(files), frame])
                ids = rng.integers(0, 34, size).astype(np.uint8)
                ids.flat[:34] = np.arange(34)
                stem = f"{split}/{city}/{city}_000000_{frame:06d}"
                image = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
                files[f"leftImg8bit/{stem}_leftImg8bit.png"] = png(image)
                files[f"gtFine/{stem}_gtFine_labelIds.png"] = png(ids)
                files[f"gtFine/{stem}_gtFine_color.png"] = b"not read"
    return files


def pixels(content):
    with Image.open(io.BytesIO(content)) as image:
        return np.array(image)


def read_back(info):
    """image, segmentation, feature by split and source_id."""
    found = {}
    for split in info.splits:
        for raw in tf.data.TFRecordDataset([str(path) for path in info.shard_paths(split)]).as_numpy_iterator():
            feature = tf.train.Example.FromString(raw).features.feature
            (segmentation,) = feature["segmentation/encoded"].bytes_list.value
            name = feature["image/source_id"].bytes_list.value[0].decode()
            found[split, name] = pixels(feature["image/encoded"].bytes_list.value[0]), pixels(segmentation), feature
    return found


@pytest.fixture
def refused(tmp_path):
    """Preparation of these files fails with this error and makes nothing."""
    def check(files, error, message, **options):
        source = save(files, tmp_path / "source.zip")
        with pytest.raises(error, match=f"(?s){message}"):
            prepare_cityscapes([source], tmp_path / "data", scale=options.pop("scale", 1), **options)
        assert [path for path in tmp_path.iterdir() if not path.name.startswith((".data.parts", "data.rejects"))] == [
            source
        ]

    return check


class TestOfficial:
    @pytest.fixture(scope="class")
    def prepared(self, tmp_path_factory):
        """The official layout in two zips, as it is downloaded."""
        folder = tmp_path_factory.mktemp("official")
        files = layout()
        sources = [
            save({name: content for name, content in files.items() if name.startswith(kind)}, folder / f"{kind}.zip")
            for kind in ("leftImg8bit", "gtFine")
        ]
        said = []
        prepare_cityscapes(sources, folder / "data", scale=2, report=said.append)
        return files, load_info(folder / "data"), said

    def test_splits_are_those_of_the_paper(self, prepared):
        _, info, said = prepared
        assert {split: info.split(split)["groups"] for split in info.splits} == {
            "train": ["aachen"], "val": ["darmstadt", "monchengladbach", "ulm"], "test": ["frankfurt"]
        }
        assert said == ["Folder test is left out: it has no labels of use."]
        assert {split: one.num_images for split, one in verify(info).items()} == {"train": 2, "val": 6, "test": 2}

    def test_classes_and_flips(self, prepared):
        info = prepared[1]
        assert info.num_classes == 24 and info.classes[:2] == ("road", "sidewalk") and info.classes[18] == "bicycle"
        assert info.classes[19:] == ("sidewalk 2", "person 2", "car 2", "vegetation 2", "road 2")
        for flip, eighteenth in zip(info.flips, (8, 7, 6, 5, 4), strict=True):
            assert info.classes[flip.target] == f"{info.classes[flip.source]} 2"
            assert flip.probability == pytest.approx(eighteenth / 17)
        assert (info.ignore_label, info.image.channels, info.image.bits) == (255, 3, 8)
        assert info.preparation.items() >= {"command": "prepare cityscapes", "scale": 2, "flips": True,
                                            "val_cities": None, "split_within_cities": False}.items()
        assert "Cordts" in info.source and "non-commercial" in info.licence

    def test_pixels(self, prepared):
        files, info, *_ = prepared
        found = read_back(info)
        assert len(found) == 10
        for (_, name), (image, segmentation, feature) in found.items():
            folder, _, stem = name.split("/")
            city = feature["provenance/city"].bytes_list.value[0].decode()
            assert feature["provenance/frame"].bytes_list.value[0].decode() == stem
            place = next(key for key in files if key.endswith(f"{stem}_leftImg8bit.png")).split("/")[2]
            assert place.lower() == city and name.startswith(f"{folder}/{city}/")
            with Image.open(io.BytesIO(files[f"leftImg8bit/{folder}/{place}/{stem}_leftImg8bit.png"])) as whole:
                expected = np.asarray(whole.resize((WIDTH // 2, HEIGHT // 2), Image.Resampling.BILINEAR))
            np.testing.assert_array_equal(image, expected)
            ids = pixels(files[f"gtFine/{folder}/{place}/{stem}_gtFine_labelIds.png"])[1::2, 1::2]  # nearest
            np.testing.assert_array_equal(segmentation, label_classes()[1][ids])

    def test_the_command(self, tmp_path, capsys):
        from tf_probunet.cli.main import main

        files = layout()
        sources = [save({name: content for name, content in files.items() if name.startswith(kind)}, tmp_path / kind)
                   for kind in ("leftImg8bit", "gtFine")]
        status = main(["prepare", "cityscapes", "--source", str(sources[0]), str(sources[1]), "--output",
                       str(tmp_path / "data"), "--scale", "8", "--val_cities", "ulm,AACHEN"])
        out, err = capsys.readouterr()
        assert (status, err) == (0, "") and "Folder test is left out" in out
        assert "24 classes, twins included; flipped with probability: sidewalk 0.471, person 0.412" in out
        info = load_info(tmp_path / "data")
        assert info.split("val")["groups"] == ["aachen", "ulm"] and info.image_size("val") == (2, 4)
        assert info.preparation["val_cities"] == ["aachen", "ulm"]

    def test_without_flips_nineteen_classes(self, tmp_path):
        source = save(layout({"train": ("aachen", "ulm")}, frames=1), tmp_path / "source")
        prepare_cityscapes(source, tmp_path / "data", scale=1, flips=False)
        info = load_info(tmp_path / "data")
        assert info.num_classes == 19 and info.flips == () and info.preparation["flips"] is False
        assert info.num_images("train") == info.num_images("val") == 1


class TestLabels:
    def test_ids_become_the_nineteen_training_classes(self):
        names, lookup = label_classes()
        assert len(names) == 19 and lookup.shape == (256,)
        known = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13,
                 27: 14, 28: 15, 31: 16, 32: 17, 33: 18}  # cityscapesscripts' table, by heart
        for label_id in range(256):
            assert lookup[label_id] == known.get(label_id, 255 if label_id < 34 else -1), label_id

    def test_the_extra_is_named(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "cityscapesscripts.helpers.labels", None)
        with pytest.raises(ImportError, match=r"pip install 'tf_probunet\[cityscapes\]'"):
            label_classes()


class TestUnits:
    def test_a_unit_is_plain_data_and_reads_itself(self, tmp_path):
        source = save(layout(), tmp_path / "source.zip")
        units = find_units(source)
        assert [(unit.name, unit.split, unit.group, len(unit.frames)) for unit in units] == [
            ("train/aachen", "train", "aachen", 2), ("train/darmstadt", "val", "darmstadt", 2),
            ("train/monchengladbach", "val", "monchengladbach", 2), ("train/ulm", "val", "ulm", 2),
            ("val/frankfurt", "test", "frankfurt", 2),
        ]
        again = pickle.loads(pickle.dumps(units[2]))
        assert again == units[2]
        records = [list(read_unit(unit, 4)) for unit in (units[2], again)]
        assert [record.source_id for record in records[0]] == [
            f"train/monchengladbach/Monchengladbach_000000_{frame:06d}" for frame in range(2)
        ]
        for one, other in zip(*records, strict=True):
            assert one.image.shape == (4, 8, 3) and one.segmentations.shape == (1, 4, 8)
            np.testing.assert_array_equal(one.image, other.image)

    def test_folders_zips_and_where_they_start_make_no_difference(self, tmp_path):
        files = layout(OTHER)
        kinds = [{name: content for name, content in files.items() if name.startswith(kind)} for kind in ("l", "g")]
        save(files, tmp_path / "whole")
        arranged = [
            [tmp_path / "whole"], [save(files, tmp_path / "whole.zip")],
            [tmp_path / "whole" / "gtFine", tmp_path / "whole" / "leftImg8bit"],
            [save(kinds[0], tmp_path / "images"), save(kinds[1], tmp_path / "labels.zip")],
            [save({f"deep/down/{name}": content for name, content in files.items()}, tmp_path / "deep.zip")],
        ]
        found = [
            [(unit.name, unit.split, [frame.stem for frame in unit.frames]) for unit in find_units(sources)]
            for sources in arranged
        ]
        assert all(one == found[0] for one in found[1:])
        assert [one[:2] for one in found[0]] == [("train/a", "train"), ("train/b", "train"), ("val/c", "val")]

    def test_other_data_keep_their_split_folders(self, tmp_path):
        labelled = save(layout(OTHER | {"test": ("d",)}), tmp_path / "labelled")
        assert [unit.split for unit in find_units(labelled)] == ["train", "train", "val", "test"]
        files = {name: content for name, content in layout(OTHER | {"test": ("d",)}).items()
                 if not name.startswith("gtFine/test")}
        said = []
        units = find_units(save(files, tmp_path / "unlabelled"), report=said.append)
        assert [unit.split for unit in units] == ["train", "train", "val"] and "Folder test is left out" in said[0]

    def test_a_split_alone(self, tmp_path):
        for number, (folder, city, split) in enumerate(
            [("val", "frankfurt", "test"), ("val", "seq05", "val"), ("test", "seq05", "test"), ("train", "x", "train")]
        ):
            units = find_units(save(layout({folder: (city,)}), tmp_path / str(number)))
            assert [unit.split for unit in units] == [split], folder

    def test_chosen_cities(self, tmp_path):
        official, other = save(layout(), tmp_path / "official"), save(layout(OTHER), tmp_path / "other")
        units = find_units(official, val_cities=["AACHEN"])
        assert {unit.name: unit.split for unit in units} == {
            "train/aachen": "val", "train/darmstadt": "train", "train/monchengladbach": "train", "train/ulm": "train",
            "val/frankfurt": "test",
        }
        said = []
        units = find_units(other, val_cities=["b"], report=said.append)
        assert {unit.name: unit.split for unit in units} == {"train/a": "train", "train/b": "val"}
        assert said == ["Folder val is left out: val_cities names the cities of val."]
        for wrong in (["c"], ["a", "b"], [], ["a", "rome"]):
            with pytest.raises(ValueError, match="some, not all, of the cities in folder train: a, b. Received: "):
                find_units(other, val_cities=wrong)
        with pytest.raises(ValueError, match="contradict each other"):
            find_units(other, val_cities=["b"], split_within_cities=True)

    def test_a_city_in_two_splits(self, tmp_path):
        source = save(layout({"train": ("a", "b"), "val": ("B",)}), tmp_path / "source")
        message = "City b is in folder train .train. and in folder val .val.*--val_cities a .*--split_within_cities"
        with pytest.raises(ValueError, match=f"(?s){message}"):
            prepare_cityscapes(source, tmp_path / "data", scale=1)
        assert not (tmp_path / "data").exists()
        said = []
        prepare_cityscapes(source, tmp_path / "data", scale=1, split_within_cities=True, report=said.append)
        info = load_info(tmp_path / "data")
        assert info.split("train")["groups"] == ["train/a", "train/b"] and info.split("val")["groups"] == ["val/b"]
        assert info.preparation["split_within_cities"] is True and "optimistic" in said[0]
        verify(info)

    def test_coarse_images_and_what_macos_leaves_are_not_read(self, tmp_path):
        files = layout(OTHER) | {"leftImg8bit/train_extra/x/x_1_leftImg8bit.png": b"",
                                 "__MACOSX/leftImg8bit/train/a/._a_000000_000000_leftImg8bit.png": b""}
        said = []
        units = find_units(save(files, tmp_path / "source.zip"), report=said.append)
        assert sum(len(unit.frames) for unit in units) == 6 and said[0].startswith("1 images of train_extra")


IMAGE_NAME, LABEL_NAME = (
    f"{kind}/train/a/a_000000_000001_{ending}.png"
    for kind, ending in (("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_labelIds"))
)


class TestWhatIsWrong:
    @pytest.mark.parametrize("name, content, error, message", [
        (LABEL_NAME, None, ValueError, f"{IMAGE_NAME} has no labels. Expected {LABEL_NAME} .*gtFine_trainvaltest.zip"),
        (LABEL_NAME, png(np.zeros((8, 8), np.uint8)), ValueError,
         f"{LABEL_NAME} is 8x8, but its image {IMAGE_NAME} is 16x32"),
        (LABEL_NAME, png(np.full((HEIGHT, WIDTH), 99, np.uint8)), ValueError,
         rf"{LABEL_NAME} holds \[99\], which are no label ids of Cityscapes. Expected 0 to 33"),
        (LABEL_NAME, png(np.zeros((HEIGHT, WIDTH, 3), np.uint8)), ValueError,
         f"{LABEL_NAME} is a picture of mode RGB. Expected 8 bit numbers"),
        (LABEL_NAME, png(np.zeros((HEIGHT, WIDTH), np.uint16)), ValueError, f"{LABEL_NAME} has more than 8 bits"),
        (IMAGE_NAME, png(np.zeros((HEIGHT, WIDTH, 3), np.uint8))[:48], ValueError, f"{IMAGE_NAME} is no readable PNG"),
        (LABEL_NAME, b"\x89PNG", ValueError, f"{LABEL_NAME} is no readable PNG"),
        ("leftImg8bit/elsewhere/a/b_leftImg8bit.png", b"", ValueError,
         "elsewhere/a/b_leftImg8bit.png is in no folder <split>/<city> with a split of train, val, test"),
        ("again/train/A/a_000000_000001_leftImg8bit.png", b"", ValueError,
         "train/a/a_000000_000001_leftImg8bit.png is there twice"),
    ], ids=["no labels", "another size", "unknown id", "colours", "16 bit", "cut image", "cut labels", "no split",
            "twice"])
    def test_a_file(self, refused, name, content, error, message):
        files = layout(OTHER)
        if content is None:
            del files[name]
        else:
            files[name] = content
        refused(files, error, f"source.zip.*{message}" if "twice" not in message else message)

    def test_labels_without_their_image(self, refused):
        files = layout(OTHER)
        del files["leftImg8bit/train/a/a_000000_000001_leftImg8bit.png"]
        refused(files, ValueError, "1 labels have no image, first .*gtFine/train/a/a_000000_000001_gtFine_labelIds.png. "
                                   "Expected leftImg8bit/train/a/a_000000_000001_leftImg8bit.png", scale=1)

    def test_how_many_images_go_with_one_that_is_damaged(self, refused):
        files = layout(OTHER) | {"leftImg8bit/train/a/a_000000_000001_leftImg8bit.png": b"cut"}
        refused(files, ValueError, r"_000001_leftImg8bit.png is no readable PNG \(3 bytes\).* All 2 images of a go with it",
                scale=1)

    def test_sizes_that_the_scale_does_not_divide(self, refused):
        refused(layout(OTHER), ValueError, f"{IMAGE_NAME.replace('1_', '0_')} is 16x32, which scale 3 does not divide",
                scale=3)

    @pytest.mark.parametrize("scale", [0, -1, 1.5, True])
    def test_a_scale_that_cannot_be(self, refused, scale):
        refused(layout(OTHER), ValueError, "scale must be an integer of at least 1. Received: ", scale=scale)

    def test_no_images(self, refused, tmp_path):
        refused({"a.txt": b""}, ValueError, "No images in .*source.zip. Expected leftImg8bit/<split>/<city>")
        with pytest.raises(FileNotFoundError, match="nowhere does not exist. Expected a folder or zip with left"):
            prepare_cityscapes(tmp_path / "nowhere", tmp_path / "data")

    def test_nothing_but_a_test_without_labels(self, refused):
        files = {name: one for name, one in layout({"test": ("x",)}).items() if name.startswith("left")}
        refused(files, ValueError, "Nothing is left to write")


class TestCamVid:
    """Real street scenes in the layout, 128x96."""

    @pytest.fixture(scope="class")
    def camvid(self, shared_data, tmp_path_factory):
        folder = tmp_path_factory.mktemp("camvid") / "data"
        sources = [shared_data / "camvid" / f"{split}.zip" for split in ("train", "val")]
        with pytest.raises(ValueError, match="City 0016e5 is in folder train .train. and in folder val .val."):
            find_units(sources)
        prepare_cityscapes(sources, folder, scale=1, val_cities=["0006R0"])
        return load_info(folder)

    def test_counts_and_classes(self, camvid):
        assert {split: (one.num_images, one.num_groups) for split, one in verify(camvid).items()} == {
            "train": (266, 2), "val": (101, 1)
        }
        assert camvid.split("val")["groups"] == ["0006r0"] and camvid.image_size("train") == (96, 128)
        seen = np.unique(np.concatenate([np.unique(one) for _, one, _ in read_back(camvid).values()]))
        assert [camvid.classes[label] for label in seen if label != 255] == [
            "road", "sidewalk", "building", "fence", "pole", "traffic sign", "vegetation", "sky", "person", "car",
            "bicycle",
        ]
        assert seen[-1] == 255

    def test_training_and_evaluation_from_end_to_end(self, camvid, tmp_path):
        from tf_probunet.evaluation import evaluate
        from tf_probunet.presets import preset
        from tf_probunet.run_folder import load_run
        from tf_probunet.training import train

        experiment = preset("cityscapes_official").replace(
            channels=(4, 8), latent_dim=2, combiner_channels=(8, 8), crop_size=(32, 32), batch_size=4, steps=4,
            steps_per_epoch=2, validation_images=4, validation_samples=2, schedule_boundaries=(), schedule_values=(),
        )
        train(experiment, camvid, tmp_path / "run", report=lambda line: None)
        _, model = load_run(tmp_path / "run")
        summary = evaluate(model, camvid, num_samples=4, batch_size=4, crop_size=(32, 32), limit=8).summary()
        assert len(summary["scored_classes"]) == 10 and "sidewalk 2" in summary["scored_classes"]
        figures = summary["images"]["all"]
        assert figures["num_images"] == 8 and 0.2 < figures["grader_diversity"] < 0.6
        assert figures["energy_distance"]["4"]["mean"] > figures["energy_distance"]["4"]["floor"]

    def test_flips_are_seen_in_training(self, camvid):
        _, segmentations = next(training_dataset(camvid, "train", 266).as_numpy_iterator())
        for flip in camvid.flips:
            present = np.isin(segmentations, (flip.source, flip.target)).any((1, 2))
            happened = (segmentations == flip.target).any((1, 2))
            assert not ((segmentations == flip.source).any((1, 2)) & happened).any()
            spread = np.sqrt(flip.probability * (1 - flip.probability) / present.sum())
            assert abs(happened.sum() / present.sum() - flip.probability) < 4 * spread
