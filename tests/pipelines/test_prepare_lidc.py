"""The whole way from DICOM files to a dataset, without a download: real annotations over made-up pixels."""

import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import dicom_files
import numpy as np
import pytest
import tensorflow as tf
from tf_probunet.pipelines.prepare_lidc import prepare_lidc
from tf_probunet.pipelines.units import run_on_beam

from tf_probunet.cli.main import main
from tf_probunet.data import lidc
from tf_probunet.data.contours import rasterize
from tf_probunet.data.dataset import load_info
from tf_probunet.data.lidc_split import draw_split
from tf_probunet.data.units import Remarks, Unit
from tf_probunet.data.pylidc_adapter import cluster_nodules, read_scans
from tf_probunet.data.reading import evaluation_dataset
from tf_probunet.data.verify import verify

pytest.importorskip("pydicom")
GRID = lidc.Grid(size=48)


@pytest.fixture(scope="module")
def scans():
    """Four scans with few annotated slices, of patients of all three splits."""
    split = draw_split({scan.patient_id for scan in read_scans()})
    chosen, wanted = [], ["train", "train", "val", "test"]
    for scan in read_scans():
        if split[scan.patient_id] in wanted and 2 <= len(dicom_files.annotated(scan)) <= 4:
            wanted.remove(split[scan.patient_id])
            chosen.append(scan)
    return chosen


@pytest.fixture(scope="module")
def archive(scans, tmp_path_factory):
    """The scans' annotated slices, as a download would have them, and what else lies in one. Not to be changed."""
    root = tmp_path_factory.mktemp("archive")
    for number, scan in enumerate(scans):
        dicom_files.write_series(root / "LIDC-IDRI" / f"study{number}" / scan.series_instance_uid, scan, unsigned=True)
    (root / "LICENSE").write_text("CC BY 3.0")
    return root


@pytest.fixture
def own(archive, tmp_path):
    """A copy of the archive that a test may damage."""
    return Path(shutil.copytree(archive, tmp_path / "archive"))


@pytest.fixture(scope="module")
def prepared(archive, tmp_path_factory):
    """The dataset of the archive, and what was said."""
    folder, said = tmp_path_factory.mktemp("prepared") / "lidc", []
    prepare_lidc(archive, folder, grid=GRID, report=said.append)
    return folder, said


def attempt(dicom, output, **options):
    """Prepares; returns (error text or None, lines said, rows of the rejects file)."""
    said, error = [], None
    try:
        prepare_lidc(dicom, output, grid=GRID, report=said.append, **options)
    except ValueError as raised:
        error = str(raised)
    rejects = output.with_name(output.name + ".rejects.csv")
    rows = list(csv.DictReader(rejects.open(newline=""))) if rejects.is_file() else []
    return error, said, rows


def files_of(folder):
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def series_folder(root, scan):
    return next(root.rglob(scan.series_instance_uid))


class TestWhatIsMade:
    def test_counts_are_those_of_the_annotations(self, prepared, scans):
        info = load_info(prepared[0])
        expected = sum(len(nodule.z_mm()) for scan in scans for nodule in cluster_nodules(scan))
        assert sum(split.num_images for split in verify(info).values()) == expected
        assert {name: len(split["groups"]) for name, split in info.splits.items()} == {"train": 2, "val": 1, "test": 1}
        assert info.image == lidc.IMAGE and info.classes == ("background", "lesion")

    def test_the_manifest_names_every_patient(self, prepared):
        lines = (prepared[0] / "splits.csv").read_text().splitlines()
        assert lines[0] == "patient,split" and len(lines) == 1011

    def test_pixels_and_masks(self, prepared, scans):
        """Against a resampling of our own: bilinear by explicit weights."""
        info = load_info(prepared[0])
        by_series = {scan.series_instance_uid: scan for scan in scans}
        for split in info.splits:
            raws = tf.data.TFRecordDataset([str(path) for path in info.shard_paths(split)]).as_numpy_iterator()
            for raw, parsed in zip(raws, evaluation_dataset(info, split, 1), strict=True):
                feature = tf.train.Example.FromString(raw).features.feature
                scan = by_series[feature["provenance/series_instance_uid"].bytes_list.value[0].decode()]
                ids = [int(one) for one in feature["provenance/annotation_ids"].bytes_list.value[0].decode().split(";")]
                z_mm = feature["provenance/z_mm"].float_list.value[0]
                z_mm = scan.slice_z_mm[np.abs(scan.slice_z_mm - z_mm).argmin()]
                center = [feature[f"provenance/crop_center_{axis}"].float_list.value[0] for axis in ("row", "column")]
                image = tf.io.decode_png(feature["image/encoded"].bytes_list.value[0], dtype=tf.uint16).numpy()[..., 0]
                expected = bilinear(dicom_files.hounsfield(scan, z_mm), center, scan.pixel_spacing_mm)
                assert abs(image - 1024.0 - expected).max() <= 0.51 + 1e-3
                masks = parsed["segmentations"][0].numpy()
                assert len(masks) == 4 and masks.any()
                for slot, mask in enumerate(masks):
                    drawn = np.zeros((512, 512))
                    if slot < len(ids):
                        (annotation,) = (one for one in scan.annotations if one.annotation_id == ids[slot])
                        drawn = rasterize(annotation.contours_at(z_mm), (512, 512)).astype(float)
                    share = bilinear(drawn, center, scan.pixel_spacing_mm)
                    clear = abs(share - 0.5) > 1e-3
                    np.testing.assert_array_equal(mask[clear], share[clear] > 0.5)

    def test_whole_pixels_are_cut_out_where_the_scans_grid_is_kept(self, archive, scans):
        scan = scans[0]
        nodule = cluster_nodules(scan)[0]
        z_mm = nodule.z_mm()[0]
        grid, center = lidc.Grid(40, None), lidc.lesion_center(nodule)
        top, left = np.round(center).astype(int) - 20
        image = dicom_files.hounsfield(scan, z_mm)
        crop = lidc.resample(image, center, (0.7, 0.7), grid)
        np.testing.assert_array_equal(crop, image[top : top + 40, left : left + 40])

    def test_the_window_is_an_option_of_reading(self, prepared):
        info = load_info(prepared[0])
        wide, narrow = (next(iter(evaluation_dataset(info.with_window(window), "val", 1)))["image"].numpy()
                        for window in (None, (-200.0, 200.0)))
        assert wide.min() >= 0 and wide.max() <= 1
        np.testing.assert_allclose(narrow, np.clip((wide * 1400 - 1000 + 200) / 400, 0, 1), atol=1e-4)

    def test_nothing_of_the_header_is_carried_along(self, prepared, archive):
        """Neither names nor dates nor free text: each is put into every file, none may be in the dataset."""
        folder, said = prepared
        secrets = [value.encode() for value in dicom_files.SECRETS.values()] + [b"secret", b"SECRET", b"Secret"]
        assert all(secret in next(archive.rglob("*.dcm")).read_bytes() for secret in secrets)
        found = b"".join(files_of(folder).values()) + "".join(said).encode()
        assert not [secret for secret in secrets if secret in found]
        assert str(archive).encode() not in found

    def test_only_documented_provenance(self, prepared):
        info = load_info(prepared[0])
        raw = next(tf.data.TFRecordDataset(str(info.shard_paths("val")[0])).as_numpy_iterator())
        assert set(tf.train.Example.FromString(raw).features.feature) == {
            "image/encoded", "image/height", "image/width", "image/source_id", "group", "segmentation/encoded",
            *(f"provenance/{name}" for name in (
                "series_instance_uid", "sop_instance_uid", "z_mm", "pixel_spacing_mm", "scan_pixel_spacing_mm",
                "crop_center_row", "crop_center_column", "annotation_ids"))
        }


def bilinear(pixels, center, spacing_mm):
    """Four taps a pixel, by explicit weights; 0 HU or nothing beyond the border is not reached here."""
    places = [np.asarray(middle) + (np.arange(GRID.size) - (GRID.size - 1) / 2) * 0.5 / spacing_mm for middle in center]
    rows, columns = np.meshgrid(*places, indexing="ij")
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    down, right = rows - top, columns - left
    padded = np.pad(pixels.astype(float), 1, mode="edge")[1:, 1:]
    return ((1 - down) * (1 - right) * pixels[top, left] + (1 - down) * right * padded[top, left + 1]
            + down * (1 - right) * padded[top + 1, left] + down * right * padded[top + 1, left + 1])


class TestWhatIsWrong:
    def test_a_missing_annotated_slice(self, own, scans, tmp_path):
        sorted(series_folder(own, scans[0]).iterdir())[1].unlink()
        error, _, rows = attempt(own, tmp_path / "data")
        assert "1 inputs could not be used" in error and "--allow_rejects" in error
        assert [(row["kind"], row["what"]) for row in rows] == [("rejected", scans[0].series_instance_uid)]
        assert "annotated slices are missing, first z = " in rows[0]["reason"]
        assert not (tmp_path / "data").exists()

    def test_what_is_repaired_is_made_and_what_was_whole_is_kept(self, own, archive, prepared, scans, tmp_path):
        victim = sorted(series_folder(own, scans[0]).iterdir())[1]
        content = victim.read_bytes()
        victim.write_bytes(content[:3000])
        error, _, rows = attempt(own, tmp_path / "data")
        assert error and any("Download it again" in row["reason"] for row in rows)
        victim.write_bytes(content)
        error, said, rows = attempt(own, tmp_path / "data")
        assert error is None and rows == [] and any("3 of 4 units are finished already" in line for line in said)
        assert files_of(tmp_path / "data") == files_of(prepared[0])
        assert not list(tmp_path.glob(".data*"))

    def test_rejects_can_be_left_out(self, own, scans, tmp_path):
        sorted(series_folder(own, scans[0]).iterdir())[0].write_bytes(b"not DICOM any more")
        error, _, rows = attempt(own, tmp_path / "data", allow_rejects=True)
        assert error is None and len(rows) == 1
        info = load_info(tmp_path / "data")
        assert info.preparation["num_rejected"] == 1
        assert scans[0].patient_id not in {group for split in info.splits.values() for group in split["groups"]}
        error, said, _ = attempt(own, tmp_path / "data", allow_rejects=True)
        assert error is None and "is whole already, but for 1 inputs left out" in said[-1]

    def test_pixels_that_are_cut_off(self, own, scans, tmp_path):
        victim = sorted(series_folder(own, scans[1]).iterdir())[0]
        victim.write_bytes(victim.read_bytes()[:-1000])
        error, _, rows = attempt(own, tmp_path / "data")
        assert rows[0]["what"] == scans[1].series_instance_uid and victim.name in rows[0]["reason"]

    def test_a_series_that_lidc_does_not_have(self, own, scans, tmp_path):
        dicom_files.write_series(own / "more", scans[0], series="1.2.3.4", unsigned=True)
        error, _, rows = attempt(own, tmp_path / "data")
        assert rows[0]["what"] == "1.2.3.4" and "a series that LIDC-IDRI does not have" in rows[0]["reason"]

    def test_other_pictures_under_the_uid(self, own, scans, tmp_path):
        folder = series_folder(own, scans[0])
        shutil.rmtree(folder)
        dicom_files.write_series(folder, scans[0], spacing=scans[0].pixel_spacing_mm * 1.1, unsigned=True)
        _, _, rows = attempt(own, tmp_path / "data")
        assert "other pictures under its UID" in rows[0]["reason"]

    def test_places_that_disagree_are_dropped_as_the_paper_does(self, own, scans, tmp_path):
        import pydicom

        victim = sorted(series_folder(own, scans[0]).iterdir())[0]
        ct = pydicom.dcmread(victim)
        ct.SliceLocation = "12345"
        ct.save_as(victim)
        error, _, rows = attempt(own, tmp_path / "data")
        assert error is None
        assert rows == [{"kind": "dropped", "what": scans[0].series_instance_uid,
                         "reason": "SliceLocation and ImagePositionPatient disagree"}]

    def test_a_slice_twice(self, own, prepared, scans, tmp_path):
        folder = series_folder(own, scans[0])
        first = sorted(folder.iterdir())[0]
        shutil.copy(first, own / "the same again.dcm")
        z_mm = dicom_files.annotated(scans[0])[0]
        other = dicom_files.dataset(scans[0], z_mm, 99, unsigned=True)
        other.PixelData = bytes(len(other.PixelData))
        other.save_as(folder / "double.dcm", enforce_file_format=True)
        error, said, _ = attempt(own, tmp_path / "data")
        assert error is None and any("the one of lower InstanceNumber is taken" in line for line in said)
        ours, theirs = files_of(tmp_path / "data"), files_of(prepared[0])
        assert all(ours[name] == theirs[name] for name in theirs if name.endswith(".tfrecord"))

    def test_series_are_found_wherever_their_files_lie(self, own, prepared, tmp_path):
        mixed = tmp_path / "mixed"
        mixed.mkdir()
        for number, path in enumerate(sorted(own.rglob("*.dcm"), key=lambda path: hash(path.name))):
            path.rename(mixed / f"{number % 7}-{number}")
        error, _, _ = attempt(mixed, tmp_path / "data")
        assert error is None and files_of(tmp_path / "data") == files_of(prepared[0])

    def test_nothing_there(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="does not exist. Expected the folder into which"):
            prepare_lidc(tmp_path / "nowhere", tmp_path / "data")
        (tmp_path / "empty").mkdir()
        with pytest.raises(FileNotFoundError, match="holds no files"):
            prepare_lidc(tmp_path / "empty", tmp_path / "data")
        (tmp_path / "empty" / "readme.txt").write_text("hello")
        with pytest.raises(ValueError, match="None of the 1 files in .*empty is a CT image. Expected the DICOM files"):
            prepare_lidc(tmp_path / "empty", tmp_path / "data", report=lambda line: None)
        assert not (tmp_path / "data").exists()

    def test_something_else_under_the_name_is_told_before_any_file_is_read(self, tmp_path):
        (tmp_path / "data").mkdir()
        with pytest.raises(FileExistsError, match="data already exists and is never written over"):
            prepare_lidc(tmp_path / "nowhere", tmp_path / "data")

    def test_a_second_folder_is_not_passed_over(self, archive, tmp_path, capsys):
        assert main(["prepare", "lidc", "--dicom", str(archive), "more", "--output", str(tmp_path / "data")]) == 1
        assert "--dicom takes one folder, whatever the folders in it. Received more: more." in capsys.readouterr().err

    def test_a_second_run(self, archive, prepared, scans, own, tmp_path):
        said = []
        prepare_lidc(archive, prepared[0], grid=GRID, report=said.append)
        assert "is whole already: nothing to do" in said[-1]
        shutil.rmtree(series_folder(own, scans[0]))
        with pytest.raises(FileExistsError, match="it differs in num_scans, series_sha256"):
            prepare_lidc(own, prepared[0], grid=GRID, report=said.append)

    def test_a_flipped_byte_is_named_by_file_and_record(self, prepared, tmp_path):
        folder = shutil.copytree(prepared[0], tmp_path / "data")
        shard = sorted(folder.glob("train-*.tfrecord"))[0]
        content = bytearray(shard.read_bytes())
        content[len(content) // 2] ^= 1
        shard.write_bytes(content)
        with pytest.raises(OSError, match=rf"{shard.name} is damaged at record \d+"):
            verify(load_info(folder))

    def test_one_preparation_at_a_time(self, archive, tmp_path):
        from tf_probunet.data.parts import parts_folder

        with parts_folder(tmp_path / "data"), pytest.raises(OSError, match="Another process is preparing"):
            prepare_lidc(archive, tmp_path / "data", grid=GRID)


class TestAtScale:
    def test_two_processes_write_the_same_bytes(self, archive, prepared, tmp_path):
        def execute(make, units):
            run_on_beam(make, units, num_processes=2)

        prepare_lidc(archive, tmp_path / "data", grid=GRID, execute=execute, report=lambda line: None)
        assert files_of(tmp_path / "data") == files_of(prepared[0])

    def test_killed_and_started_again(self, archive, prepared, tmp_path):
        """As soon as it has begun to write, then at moments by lot, until it comes through: the same bytes."""
        script = (
            "import sys; from tf_probunet.data.lidc import Grid\n"
            "from tf_probunet.pipelines.prepare_lidc import prepare_lidc\n"
            "print('ready', flush=True); prepare_lidc(sys.argv[1], sys.argv[2], grid=Grid(48))"
        )
        command, moments = [sys.executable, "-c", script, archive, tmp_path / "data"], random.Random(0)
        kills = 0
        while not (tmp_path / "data").is_dir():
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
                process.stdout.readline()
                while not list(tmp_path.glob(".data*")) and process.poll() is None:
                    time.sleep(0.002)
                try:
                    process.wait(moments.uniform(0, 2) if 0 < kills < 3 else None if kills else 0)
                except subprocess.TimeoutExpired:
                    os.kill(process.pid, signal.SIGKILL)
                    kills += 1
        assert kills >= 1 and files_of(tmp_path / "data") == files_of(prepared[0])
        assert not list(tmp_path.glob(".data*"))

    def test_the_command(self, archive, tmp_path, capsys):
        status = main(["prepare", "lidc", "--dicom", str(archive), "--output", str(tmp_path / "data"), "--size", "48",
                       "--num_processes", "1"])
        said = capsys.readouterr().out
        assert status == 0 and "4 of LIDC-IDRI's 1,018 CT series, 1 files without a CT image" in said
        assert main(["verify", "--data", str(tmp_path / "data")]) == 0

    def test_the_command_ends_with_an_error_where_something_was_rejected(self, own, scans, tmp_path, capsys):
        sorted(series_folder(own, scans[0]).iterdir())[0].unlink()
        arguments = ["prepare", "lidc", "--dicom", str(own), "--output", str(tmp_path / "data"), "--size", "48",
                     "--num_processes", "1"]
        assert main(arguments) == 1
        assert "data.rejects.csv lists them with the reasons" in capsys.readouterr().err
        assert main([*arguments, "--allow_rejects"]) == 0


def test_images_are_counted_without_the_archive(scans):
    split = dict(zip((scan.patient_id for scan in scans), ("train", "train", "val", "test"), strict=True))
    expected = {
        name: sum(len(nodule.z_mm()) for scan in scans if split[scan.patient_id] == name
                  for nodule in cluster_nodules(scan))
        for name in ("train", "val", "test")
    }
    counts = lidc.count_images(read_scans(), split)
    assert {name: count["images"] for name, count in counts.items()} == expected
    assert {name: count["patients"] for name, count in counts.items()} == {"train": 2, "val": 1, "test": 1}


def test_no_records_without_annotations():
    scan = next(scan for scan in read_scans() if not scan.annotations)
    remarks = Remarks()
    work = {"patient": scan.patient_id, "size": 48, "spacing_mm": 0.5, "slices": {scan.series_instance_uid: []}}
    unit = Unit(scan.patient_id, work, given=[scan])
    assert list(lidc.patient_records(unit, remarks)) == [] and remarks == Remarks()


@pytest.mark.parametrize("center", [(31.3, 40.8), (3.2, 77.1), (60.0, -4.0), (-30.0, 5.0)])
def test_a_crop_is_the_same_whatever_lies_beyond_it(center):
    """Only what the crop shows is resampled; scipy on the whole slice says what must come out, beyond its border too."""
    from scipy.ndimage import affine_transform

    image, grid, spacing = np.random.default_rng(0).integers(-1000, 1000, (64, 80)), lidc.Grid(24, 0.5), (0.7, 0.65)
    step = grid.spacing_mm / np.asarray(spacing)
    expected = affine_transform(image.astype(float), step, np.asarray(center) - 11.5 * step, (24, 24), order=1,
                                mode="constant", cval=-7.0)
    np.testing.assert_allclose(lidc.resample(image, center, spacing, grid, fill=-7.0), expected, atol=1e-9)


@pytest.mark.parametrize("wrong", [{"size": 0}, {"spacing_mm": -1.0}, {"spacing_mm": float("nan")}])
def test_a_grid_that_cannot_be(wrong):
    with pytest.raises(ValueError, match="The paper's are 180 and 0.5"):
        lidc.Grid(**wrong)
