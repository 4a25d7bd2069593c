"""The public crop layout is read from folders and zips, bit for bit, and what is wrong with a source is named."""

import csv
import io
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from file_trees import save
from PIL import Image

from tf_probunet.data.dataset import load_info
from tf_probunet.data.lidc_crops import prepare_lidc_crops
from tf_probunet.data.verify import verify

PATIENTS = ("LIDC-IDRI-0001", "LIDC-IDRI-0002", "LIDC-IDRI-0003", "LIDC-IDRI-0004")


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def release(side=180, patients=PATIENTS, prefix="", drawn=255):
    """Files of a small release by name: two crops a patient, four masks each; 1 bit where `drawn` is True."""
    files = {}
    for patient in patients:
        for crop in range(2):
            rng = np.random.default_rng([int(patient[-1]), crop])
            name = f"{patient}/n00_s{crop:03d}"
            files[f"{prefix}images/{name}.png"] = png(rng.integers(0, 256, (side, side), dtype=np.uint8))
            for grader in range(4):
                mask = rng.random((side, side)) < 0.3 * grader  # the first drew nothing
                files[f"{prefix}gt/{name}_l{grader}.png"] = png(mask if drawn is True else np.uint8(drawn) * mask)
    return files


def read_back(info):
    """image, masks, feature by split and source_id."""
    found = {}
    for split in info.splits:
        paths = [str(path) for path in info.shard_paths(split)]
        for raw in tf.data.TFRecordDataset(paths).as_numpy_iterator():
            feature = tf.train.Example.FromString(raw).features.feature
            image = pixels(feature["image/encoded"].bytes_list.value[0])
            masks = [pixels(one) for one in feature["segmentation/encoded"].bytes_list.value]
            found[split, feature["image/source_id"].bytes_list.value[0].decode()] = image, np.stack(masks), feature
    return found


def pixels(content):
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


class TestLayouts:
    @pytest.mark.parametrize("source", ["release", "release.zip"])
    @pytest.mark.parametrize("side, drawn", [(180, 255), (128, True), (16, 1)])
    def test_a_release_without_splits(self, tmp_path, source, side, drawn):
        files = release(side, drawn=drawn)
        calls = []
        prepare_lidc_crops([save(files, tmp_path / source)], tmp_path / "data", val_fraction=0.5, seed=1,
                           progress=lambda done, total: calls.append((done, total)))
        info = load_info(tmp_path / "data")
        assert calls == [(done, 8) for done in range(1, 9)]
        assert info.classes == ("background", "lesion") and info.image_size("train") == (side, side)
        assert "Armato" in info.source and info.licence == "CC BY 3.0"
        assert {split: (one.num_images, one.num_groups) for split, one in verify(info).items()} == {
            "train": (4, 2), "val": (4, 2)
        }
        found = {name: one for (_, name), one in read_back(info).items()}
        assert len(found) == 8
        for name, (image, masks, feature) in found.items():
            np.testing.assert_array_equal(image, pixels(files[f"images/{name}.png"]))
            for grader, mask in enumerate(masks):
                np.testing.assert_array_equal(mask, pixels(files[f"gt/{name}_l{grader}.png"]) > 0)
            assert feature["group"].bytes_list.value[0].decode() == name.split("/")[0]

    @pytest.mark.parametrize("kind", ["one folder", "one zip", "a zip each", "zips of their names",
                                      "zips of one folder", "a split folder each"])
    def test_split_folders_name_the_splits(self, tmp_path, kind):
        train, val = release(16, PATIENTS[:3], "train/"), release(16, PATIENTS[3:], "val/")
        if kind == "one folder":
            sources = [save(train | val, tmp_path / "crops")]
        elif kind == "one zip":
            sources = [save(train | val, tmp_path / "crops.zip")]
        elif kind == "a zip each":
            sources = [save(train, tmp_path / "a.zip"), save(val, tmp_path / "b.zip")]
        elif kind.startswith("zips"):
            prefix = "lidc_crops/" if kind == "zips of one folder" else ""
            sources = [save(release(16, PATIENTS[:3], prefix) | {f"__MACOSX/{prefix}images/P/._n.png": b"Finder"},
                            tmp_path / "train.zip"),
                       save(release(16, PATIENTS[3:], prefix), tmp_path / "val.zip")]
        else:
            save(train | val, tmp_path / "crops")
            sources = [tmp_path / "crops" / "train", tmp_path / "crops" / "val"]
        prepare_lidc_crops(sources, tmp_path / "data")
        info = load_info(tmp_path / "data")
        assert info.split("train")["groups"] == list(PATIENTS[:3]) and info.split("val")["groups"] == [PATIENTS[3]]
        assert info.preparation["val_fraction"] is None

    def test_folder_and_zip_give_the_same_bytes_each_time(self, tmp_path):
        files = release(16)
        for number, source in enumerate(("crops", "crops.zip", "crops")):
            prepare_lidc_crops([save(files, tmp_path / source)], tmp_path / f"data{number}")
        for path in (tmp_path / "data0").iterdir():
            for other in ("data1", "data2"):
                assert path.read_bytes() == (tmp_path / other / path.name).read_bytes(), path.name

    def test_the_seed_and_the_fraction_decide_who_is_in_val(self, tmp_path):
        patients = [f"LIDC-IDRI-{number:04d}" for number in range(10)]
        source, groups = save(release(4, patients), tmp_path / "crops.zip"), []
        for number, (seed, fraction) in enumerate([(0, 0.3), (1, 0.3), (0, 0.01), (0, 0.99)]):
            prepare_lidc_crops(source, tmp_path / f"data{number}", seed=seed, val_fraction=fraction)
            groups.append(load_info(tmp_path / f"data{number}").split("val")["groups"])
        assert [len(one) for one in groups] == [3, 3, 1, 9]
        assert groups[0] != groups[1]

    @pytest.mark.parametrize("source", ["root", "root.zip", "split folder"])
    def test_index_csv_gives_the_provenance(self, tmp_path, source):
        files = release(16, PATIENTS[:2], "train/")
        text = io.StringIO()
        rows = csv.DictWriter(text, ["image", "patient_id", "series_instance_uid", "z_mm", "pixel_spacing_mm",
                                     "annotation_ids"])
        rows.writeheader()
        rows.writerow({"image": f"train/images/{PATIENTS[0]}/n00_s001.png", "series_instance_uid": "1.3.6",
                       "z_mm": "-12.5", "pixel_spacing_mm": "0.625", "annotation_ids": "84;85"})
        rows.writerow({"image": f"train/images/{PATIENTS[1]}/n00_s000.png", "z_mm": "3"})
        files["train/index.csv"] = text.getvalue().encode()
        path = save(files, tmp_path / ("root.zip" if source == "root.zip" else "root"))
        prepare_lidc_crops([path / "train" if source == "split folder" else path], tmp_path / "data")
        found = {
            name: {key: value for key, value in feature.items() if key.startswith("provenance/")}
            for (_, name), (_, _, feature) in read_back(load_info(tmp_path / "data")).items()
        }
        full = found.pop(f"{PATIENTS[0]}/n00_s001")
        assert full["provenance/series_instance_uid"].bytes_list.value == [b"1.3.6"]
        assert full["provenance/annotation_ids"].bytes_list.value == [b"84;85"]
        assert full["provenance/z_mm"].float_list.value == [-12.5]
        assert full["provenance/pixel_spacing_mm"].float_list.value == [0.625]
        assert found.pop(f"{PATIENTS[1]}/n00_s000")["provenance/z_mm"].float_list.value == [3.0]
        assert list(found.values()) == [{}, {}]


class TestErrors:
    @pytest.fixture(params=["crops", "crops.zip"])
    def refused(self, tmp_path, request):
        """A function that expects an error for files, and that nothing was left."""
        def check(files, error, message, **options):
            source = save(files, tmp_path / request.param)
            before = set(tmp_path.iterdir())
            with pytest.raises(error, match=message) as caught:
                prepare_lidc_crops([source], tmp_path / "data", **options)
            assert set(tmp_path.iterdir()) == before
            return str(caught.value)

        return check

    def test_a_mask_is_missing(self, refused):
        files = release(16)
        del files[f"gt/{PATIENTS[1]}/n00_s001_l2.png"]
        message = r"crops.*: images/.*2/n00_s001.png lacks 1 of its 4 masks, first gt/.*_l2.png. Expected"
        refused(files, ValueError, message)

    def test_masks_without_an_image(self, refused):
        files = release(16)
        del files[f"images/{PATIENTS[1]}/n00_s001.png"]
        refused(files, ValueError, "crops.*: 4 masks belong to no image, first gt/.*n00_s001_l0.png. Expected")

    @pytest.mark.parametrize("value", [7, 254])
    def test_a_mask_with_other_values(self, refused, value):
        files = release(16)
        mask = np.zeros((16, 16), np.uint8)
        mask[3, 3:5] = 255, value
        name = f"gt/{PATIENTS[1]}/n00_s001_l2.png"
        refused(files | {name: png(mask)}, ValueError, rf"{name} holds \[0, {value}, 255\]. Expected a mask")

    def test_sizes_that_do_not_match(self, refused):
        files = release(16)
        files[f"gt/{PATIENTS[1]}/n00_s001_l2.png"] = png(np.zeros((15, 16), np.uint8))
        refused(files, ValueError, "n00_s001_l2.png is 15x16, but its image .*n00_s001.png is 16x16. .*one size")

    @pytest.mark.parametrize("place", ["images/{}/n00_s000.png", "gt/{}/n00_s001_l3.png"])
    def test_a_png_cut_short_or_changed(self, refused, place):
        name = place.format(PATIENTS[2])
        whole = release(64)
        for damaged in (b"", b"x", whole[name][:-30], whole[name][: len(whole[name]) // 2], whole[name][:20],
                        whole[name].replace(b"IHDR", b"IHDX")):
            refused(whole | {name: damaged}, OSError, f"crops.*{name} is no readable PNG .*Copy the source again")

    def test_a_flipped_bit_of_a_png_is_an_error_or_changes_nothing(self, tmp_path):
        files = release(16, PATIENTS[:2])
        name = f"images/{PATIENTS[0]}/n00_s000.png"
        rng = np.random.default_rng(0)
        for number, place in enumerate(rng.integers(0, len(files[name]), 30)):
            damaged = bytearray(files[name])
            damaged[place] ^= 1 << rng.integers(8)
            source = save(files | {name: bytes(damaged)}, tmp_path / "crops")
            try:
                prepare_lidc_crops([source], tmp_path / f"data{number}")
            except (OSError, ValueError) as error:
                assert name in str(error) or PATIENTS[0] in str(error)
                continue
            found = {key[1]: one[0] for key, one in read_back(load_info(tmp_path / f"data{number}")).items()}
            np.testing.assert_array_equal(found[f"{PATIENTS[0]}/n00_s000"], pixels(files[name]))

    def test_more_than_8_bits(self, refused):
        files = release(16) | {f"images/{PATIENTS[0]}/n00_s000.png": png(np.full((16, 16), 3000, np.uint16))}
        refused(files, ValueError, "n00_s000.png has more than 8 bits. Expected 8 bit")

    def test_a_patient_in_two_splits(self, refused):
        files = release(16, PATIENTS[:2], "train/") | release(16, PATIENTS[1:3], "val/")  # the same crops
        refused(files, ValueError, f"{PATIENTS[1]}/n00_s000' was written twice")

    def test_a_patient_in_two_splits_by_other_crops(self, refused):
        val = {name.replace("n00", "n01"): content for name, content in release(16, PATIENTS[1:3], "val/").items()}
        message = f"Group '{PATIENTS[1]}' is in split 'train' and in 'val'"
        refused(release(16, PATIENTS[:2], "train/") | val, ValueError, message)

    def test_one_patient(self, refused):
        refused(release(16, PATIENTS[:1]), ValueError, f"Only one patient .{PATIENTS[0]}.*Expected two or more")

    def test_some_splits_are_named(self, refused):
        files = release(16, PATIENTS[:2], "train/") | release(16, PATIENTS[2:])
        refused(files, ValueError, r"name their split \(train\), others do not")

    def test_another_layout(self, refused):
        refused({"pictures/a.png": png(np.zeros((4, 4), np.uint8))}, ValueError,
                "crops.* holds no images/<patient>/.*png. Expected the layout")

    @pytest.mark.parametrize("text, message", [
        (b"image,z_mm\nimages/a.png,high\n", "index.csv, line 2: could not convert string to float: 'high'"),
        (b"image,z_mm\nimages/a.png,nan\n", "index.csv, line 2: z_mm is 'nan'"),
        (b"picture\nx\n", "index.csv, line 2: 'image'. Expected a column 'image'"),
        (b"image\n\xff\n", "index.csv is no CSV in UTF-8"),
    ])
    def test_a_bad_index(self, refused, text, message):
        refused(release(16) | {"index.csv": text}, ValueError, message)

    @pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
    def test_a_fraction_that_cannot_be(self, refused, fraction):
        refused(release(16), ValueError, "val_fraction must lie between 0 and 1. Received", val_fraction=fraction)

    def test_what_is_no_source(self, tmp_path):
        (tmp_path / "text.zip").write_text("not a zip")
        for source, message in (("nothing", "does not exist"), ("text.zip", "is no zip file")):
            with pytest.raises(OSError, match=f"{source} {message}. Expected a folder or zip with images/<patient>"):
                prepare_lidc_crops([tmp_path / source], tmp_path / "data")
        with pytest.raises(ValueError, match="No sources were given"):
            prepare_lidc_crops([], tmp_path / "data")

    def test_a_damaged_zip(self, tmp_path):
        whole = save(release(64), tmp_path / "whole.zip").read_bytes()
        with zipfile.ZipFile(tmp_path / "whole.zip") as archive:
            member = archive.getinfo(f"images/{PATIENTS[0]}/n00_s000.png")
        flipped = bytearray(whole)
        flipped[member.header_offset + 500] ^= 1
        for damaged, message in ((bytes(flipped), "cannot read images/.*n00_s000.png .*Copy the source again"),
                                 (whole[: len(whole) // 2], "is no zip file")):
            (tmp_path / "crops.zip").write_bytes(damaged)
            with pytest.raises(OSError, match=f"crops.zip.*{message}"):
                prepare_lidc_crops([tmp_path / "crops.zip"], tmp_path / "data")
            assert not (tmp_path / "data").exists()

    def test_an_existing_output(self, tmp_path):
        (tmp_path / "data").mkdir()
        with pytest.raises(FileExistsError, match="data already exists"):
            prepare_lidc_crops([save(release(16), tmp_path / "crops")], tmp_path / "data")


class TestRealCrops:
    @pytest.mark.parametrize("split, num_images, num_patients", [("train", 11_003, 625), ("val", 2_114, 125)])
    def test_the_archives_hold_what_their_readme_says(self, shared_data, split, num_images, num_patients):
        with zipfile.ZipFile(shared_data / "lidc_crops" / f"{split}.zip") as archive:
            images = [name for name in archive.namelist() if name.startswith(f"{split}/images/")]
        assert len(images) == num_images and len({name.split("/")[2] for name in images}) == num_patients

    def test_no_patient_is_in_both(self, shared_data):
        patients = []
        for split in ("train", "val"):
            with zipfile.ZipFile(shared_data / "lidc_crops" / f"{split}.zip") as archive:
                patients.append({name.split("/")[2] for name in archive.namelist() if "/images/" in name})
        assert not set.intersection(*patients)

    def test_every_validation_crop_is_what_its_pngs_are(self, shared_data, tmp_path):
        source = shared_data / "lidc_crops" / "val.zip"
        prepare_lidc_crops([source], tmp_path / "data")
        found = read_back(load_info(tmp_path / "data"))
        assert len(found) == 2_114
        with zipfile.ZipFile(source) as archive:
            for (split, name), (image, masks, feature) in found.items():
                np.testing.assert_array_equal(image, pixels(archive.read(f"{split}/images/{name}.png")))
                for grader, mask in enumerate(masks):
                    np.testing.assert_array_equal(mask, pixels(archive.read(f"{split}/gt/{name}_l{grader}.png")) > 0)
                assert masks.any() and feature["group"].bytes_list.value[0].decode() in name
                assert feature["provenance/annotation_ids"].bytes_list.value
                assert feature["provenance/pixel_spacing_mm"].float_list.value
