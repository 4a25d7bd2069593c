"""Images and one folder a grader, in every format, come back as they were; what does not fit is named."""

import csv

import numpy as np
import pytest
from PIL import Image

from tf_probunet.cli.main import main
from tf_probunet.data.dataset import load_info
from tf_probunet.data.folder import prepare_folder
from tf_probunet.data.reading import evaluation_dataset
from tf_probunet.data.verify import verify

nibabel = pytest.importorskip("nibabel")
tifffile = pytest.importorskip("tifffile")
RNG = np.random.default_rng(0)


def save(path, pixels, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith((".nii", ".nii.gz")):
        nibabel.save(nibabel.Nifti1Image(pixels, np.eye(4) if affine is None else affine), path)
    elif path.suffix == ".npy":
        np.save(path, pixels)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, pixels, photometric="rgb" if pixels.shape[-1] == 3 else "minisblack")
    else:
        Image.fromarray(pixels).save(path)


def tree(root, images, masks, ending=".png", mask_ending=".png"):
    """Writes images {name: pixels} and masks [{name: pixels}]; returns the arguments of `prepare_folder`."""
    for name, pixels in images.items():
        save(root / "images" / f"{name}{ending}", pixels)
    for grader, files in enumerate(masks):
        (root / f"grader{grader}").mkdir(exist_ok=True)
        for name, pixels in files.items():
            save(root / f"grader{grader}" / f"{name}{mask_ending}", pixels)
    return root / "images", [root / f"grader{grader}" for grader in range(len(masks))]


def pictures(dtype=np.uint8, high=256, shape=(8, 10), names="abcd"):
    return {name: RNG.integers(0, high, shape).astype(dtype) for name in names}


def drawings(names="abcd", shape=(8, 10), labels=2, graders=2):
    return [{name: RNG.integers(0, labels, shape).astype(np.uint8) for name in names} for _ in range(graders)]


def read_back(folder):
    """{source_id: (image, segmentations of its graders)} of all splits."""
    info = load_info(folder)
    verify(info)
    found = {}
    for split in info.splits:
        for batch in evaluation_dataset(info, split, 1):
            real = batch["grader_weights"][0].numpy() > 0
            found[batch["source_id"][0].numpy().decode()] = (batch["image"][0].numpy(),
                                                             batch["segmentations"][0].numpy()[real])
    return info, found


class TestFormats:
    @pytest.mark.parametrize("ending, dtype, high, seen_as_one", [
        (".png", np.uint8, 256, 255), (".png", np.uint16, 4096, 4095), (".png", np.uint16, 65536, 65535),
        (".tif", np.uint8, 256, 255), (".tif", np.uint16, 1000, 1023), (".npy", np.uint16, 16000, 16383),
        (".npy", np.uint8, 256, 255),
    ])
    def test_grey_images(self, tmp_path, ending, dtype, high, seen_as_one):
        images, masks = pictures(dtype, high), drawings()
        images["a"][0, 0] = high - 1
        prepare_folder(*tree(tmp_path, images, masks, ending), tmp_path / "data", report=lambda line: None)
        info, found = read_back(tmp_path / "data")
        assert (info.image.high, info.image.bits) == (seen_as_one, 8 if dtype == np.uint8 else 16)
        for name, (image, segmentations) in found.items():
            np.testing.assert_array_equal(np.rint(image[..., 0].astype(float) * seen_as_one), images[name])
            np.testing.assert_array_equal(segmentations, [files[name] for files in masks])

    @pytest.mark.parametrize("ending", [".png", ".tif", ".npy"])
    def test_colours(self, tmp_path, ending):
        images, masks = pictures(shape=(8, 10, 3)), drawings()
        prepare_folder(*tree(tmp_path, images, masks, ending, ".npy"), tmp_path / "data", report=lambda line: None)
        info, found = read_back(tmp_path / "data")
        assert info.image.channels == 3
        for name, (image, _) in found.items():
            np.testing.assert_array_equal(np.rint(image * 255), images[name])

    def test_signed_integers_lose_nothing(self, tmp_path):
        images = {name: RNG.integers(-1000, 3000, (8, 10)).astype(np.int16) for name in "abcd"}
        arguments = tree(tmp_path, images, drawings(), ".npy")
        prepare_folder(*arguments, tmp_path / "data", window=(-1000, 3000), report=lambda line: None)
        _, found = read_back(tmp_path / "data")
        for name, (image, _) in found.items():
            np.testing.assert_array_equal(np.rint(image[..., 0].astype(float) * 4000 - 1000), images[name])

    def test_floats_are_rounded_to_a_step_that_is_told(self, tmp_path):
        images, said = {name: RNG.normal(size=(8, 10)) for name in "abcd"}, []
        prepare_folder(*tree(tmp_path, images, drawings(), ".npy"), tmp_path / "data", report=said.append)
        values = np.concatenate([image.ravel() for image in images.values()])
        step = np.ptp(values) / 65535
        assert any(f"steps of {step:.3g}" in line for line in said)
        _, found = read_back(tmp_path / "data")
        for name, (image, _) in found.items():
            assert abs(image[..., 0] * np.ptp(values) + values.min() - images[name]).max() < step

    def test_volumes_are_cut_where_somebody_drew(self, tmp_path):
        volumes = {name: RNG.integers(0, 256, (6, 5, 4)).astype(np.uint8) for name in "ab"}
        masks = [{name: np.zeros((6, 5, 4), np.uint8) for name in "ab"} for _ in range(2)]
        masks[0]["a"][2, 1, 1] = masks[1]["a"][5, 0, 3] = masks[1]["b"][0, 4, 0] = 1
        arguments = tree(tmp_path, volumes, masks, ".nii.gz", ".nii")
        prepare_folder(*arguments, tmp_path / "data", report=lambda line: None)
        info, found = read_back(tmp_path / "data")
        assert sorted(found) == ["a/slice0001", "a/slice0003", "b/slice0000"]
        assert sorted(group for split in info.splits.values() for group in split["groups"]) == ["a", "b"]
        for name, (image, segmentations) in found.items():
            volume, place = name.split("/slice")
            # Front (large y) at the top, x to the right: rows are y from its end, columns are x.
            expected = [files[volume][:, ::-1, int(place)].T for files in (volumes, *masks)]
            np.testing.assert_array_equal(np.rint(image[..., 0] * 255), expected[0])
            np.testing.assert_array_equal(segmentations, expected[1:])
        prepare_folder(*arguments, tmp_path / "all", slices="all", report=lambda line: None)
        assert len(read_back(tmp_path / "all")[1]) == 8

    def test_nifti_masks_stored_in_another_order_of_axes(self, tmp_path):
        volumes, masks = pictures(shape=(6, 5, 4), names="ab"), drawings("ab", (6, 5, 4), graders=1)
        arguments = tree(tmp_path, volumes, masks, ".nii", ".nii")
        prepare_folder(*arguments, tmp_path / "plain", slices="all", report=lambda line: None)
        for name in "ab":  # the same places in space, written back to front along x and with z first
            affine = np.array([[0, 0, -1, 5], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], float)
            turned = np.ascontiguousarray(masks[0][name][::-1].transpose(2, 1, 0))
            save(tmp_path / "grader0" / f"{name}.nii", turned, affine)
        prepare_folder(*arguments, tmp_path / "turned", slices="all", report=lambda line: None)
        plain, turned = (read_back(tmp_path / name)[1] for name in ("plain", "turned"))
        for name, pair in plain.items():
            for one, other in zip(pair, turned[name], strict=True):
                np.testing.assert_array_equal(one, other)

    @pytest.mark.parametrize("ending", [".tif", ".npy"])
    def test_pages_are_slices(self, tmp_path, ending):
        volumes, masks = pictures(shape=(5, 8, 10), names="ab"), drawings("ab", (5, 8, 10), graders=1)
        prepare_folder(*tree(tmp_path, volumes, masks, ending, ending), tmp_path / "data", slices="all",
                       report=lambda line: None)
        _, found = read_back(tmp_path / "data")
        np.testing.assert_array_equal(np.rint(found["b/slice0002"][0][..., 0] * 255), volumes["b"][2])
        np.testing.assert_array_equal(found["b/slice0002"][1], [masks[0]["b"][2]])


class TestGraders:
    def test_one_may_be_missing(self, tmp_path):
        images, masks = pictures(), drawings(graders=3)
        del masks[1]["b"], masks[2]["b"], masks[0]["c"]
        prepare_folder(*tree(tmp_path, images, masks), tmp_path / "data", report=lambda line: None)
        _, found = read_back(tmp_path / "data")
        assert {name: len(drawn) for name, (_, drawn) in found.items()} == {"a": 3, "b": 1, "c": 2, "d": 3}

    def test_class_maps_and_unlabelled_pixels(self, tmp_path):
        values = np.array([0, 10, 20, 99], np.uint8)
        masks = [{name: RNG.choice(values, (8, 10)) for name in "abcd"}]
        prepare_folder(*tree(tmp_path, pictures(), masks), tmp_path / "data", classes=("sky", "road", "car"),
                       labels="0:sky,10:road,20:2", ignored=[99], report=lambda line: None)
        info, found = read_back(tmp_path / "data")
        assert info.classes == ("sky", "road", "car")
        for name, (_, (segmentation,)) in found.items():
            expected = np.select([masks[0][name] == value for value in values], [0, 1, 2, 255])
            np.testing.assert_array_equal(segmentation, expected)

    def test_masks_of_one_bit_and_palettes(self, tmp_path):
        images, masks = pictures(), drawings(graders=2)
        arguments = tree(tmp_path, images, masks)
        for name in "abcd":
            Image.fromarray(masks[0][name].astype(bool)).save(tmp_path / "grader0" / f"{name}.png")
            palette = Image.fromarray(masks[1][name], "L").convert("P")
            palette.putdata(masks[1][name].ravel().tolist())
            palette.putpalette([0, 0, 0, 255, 0, 0])
            palette.save(tmp_path / "grader1" / f"{name}.png")
        prepare_folder(*arguments, tmp_path / "data", report=lambda line: None)
        for name, (_, segmentations) in read_back(tmp_path / "data")[1].items():
            np.testing.assert_array_equal(segmentations, [files[name] for files in masks])

    def test_groups_and_splits_by_a_file(self, tmp_path):
        arguments = tree(tmp_path, pictures(), drawings())
        with open(tmp_path / "groups.csv", "w", newline="") as file:
            csv.writer(file).writerows([("image", "group", "split"), ("a.png", "p1", "train"), ("b", "p1", "train"),
                                        ("c", "p2", "val"), ("d", "p3", "test")])
        prepare_folder(*arguments, tmp_path / "data", groups=tmp_path / "groups.csv")
        info = load_info(tmp_path / "data")
        assert {name: split["groups"] for name, split in info.splits.items()} == {
            "train": ["p1"], "val": ["p2"], "test": ["p3"]
        }
        assert info.num_images("train") == 2


class TestWhatIsWrong:
    @pytest.fixture
    def refused(self, tmp_path):
        def check(change, message, error=ValueError, **options):
            images, masks = pictures(), drawings()
            arguments = tree(tmp_path, images, masks)
            change(tmp_path)
            with pytest.raises(error, match=f"(?s){message}"):
                prepare_folder(*arguments, tmp_path / "data", report=lambda line: None, **options)
            assert not list(tmp_path.glob("*data*"))

        return check

    @pytest.mark.parametrize("name, message", [("images/a.png", "a.png cannot be read"),
                                               ("grader1/c.png", "grader1/c.png cannot be read")])
    def test_a_file_that_is_cut_off(self, refused, name, message):
        refused(lambda root: (root / name).write_bytes((root / name).read_bytes()[:40]), message, OSError)

    @pytest.mark.parametrize("ending", [".tif", ".nii", ".nii.gz", ".npy"])
    def test_other_formats_cut_off(self, tmp_path, ending):
        arguments = tree(tmp_path, pictures(shape=(64, 64)), drawings(shape=(64, 64)), ending, ending)
        path = tmp_path / "images" / f"b{ending}"
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(OSError, match=f"b{ending} cannot be read"):
            prepare_folder(*arguments, tmp_path / "data", report=lambda line: None)

    def test_sizes_that_differ(self, refused):
        refused(lambda root: save(root / "grader0" / "b.png", np.zeros((8, 9), np.uint8)),
                "grader0/b.png is 8x9, but its image .*images/b.png is 8x10")

    def test_a_mask_without_image(self, refused):
        refused(lambda root: (root / "images" / "a.png").unlink(),
                "1 masks in .*grader0 belong to no image, first .*a.png")

    def test_an_image_that_nobody_looked_at(self, refused, tmp_path):
        def remove(root):
            for grader in range(2):
                (root / f"grader{grader}" / "d.png").unlink()

        refused(remove, "1 images have no mask by any grader, first .*d.png.*--skip_ungraded")
        prepare_folder(tmp_path / "images", [tmp_path / "grader0"], tmp_path / "data", skip_ungraded=True,
                       report=lambda line: None)
        assert sorted(read_back(tmp_path / "data")[1]) == ["a", "b", "c"]
        (tmp_path / "groups.csv").write_text("image,group\na,p\nb,p\nc,q\nd.png,r\n")  # of all images
        prepare_folder(tmp_path / "images", [tmp_path / "grader0"], tmp_path / "grouped", skip_ungraded=True,
                       groups=tmp_path / "groups.csv", report=lambda line: None)
        assert sorted(read_back(tmp_path / "grouped")[1]) == ["a", "b", "c"]

    def test_volumes_of_a_split_on_which_nobody_drew(self, tmp_path):
        shape = (4, 8, 10)
        masks = [{name: np.full(shape, name != "b", np.uint8) for name in "ab"}]
        (tmp_path / "groups.csv").write_text("image,group,split\na,p,train\nb,q,val\n")
        with pytest.raises(ValueError, match="No slice falls into split 'val'.*--slices all"):
            prepare_folder(*tree(tmp_path, pictures(shape=shape, names="ab"), masks, ".npy", ".npy"),
                           tmp_path / "data", groups=tmp_path / "groups.csv", report=lambda line: None)
        assert not list(tmp_path.glob("*data*"))

    def test_a_grader_given_twice(self, tmp_path):
        images, (grader, _) = tree(tmp_path, pictures(), drawings())
        with pytest.raises(ValueError, match="given twice"):
            prepare_folder(images, [grader, grader], tmp_path / "data", report=lambda line: None)

    def test_a_value_that_is_no_class(self, refused):
        refused(lambda root: save(root / "grader1" / "c.png", np.full((8, 10), 7, np.uint8)),
                r"grader1/c.png holds \[7\], which stand for no class.*--labels 7:foreground")

    def test_nan(self, tmp_path):
        images = {name: np.full((8, 10), np.nan if name == "c" else 1.0) for name in "abcd"}
        with pytest.raises(ValueError, match="c.npy holds NaN"):
            prepare_folder(*tree(tmp_path, images, drawings(), ".npy"), tmp_path / "data", report=lambda line: None)

    def test_transparency(self, tmp_path):
        with pytest.raises(ValueError, match="has 4 channels; expected 1 or 3"):
            prepare_folder(*tree(tmp_path, pictures(shape=(8, 10, 4)), drawings()), tmp_path / "data",
                           report=lambda line: None)

    def test_coloured_masks(self, refused):
        refused(lambda root: save(root / "grader0" / "a.png", np.zeros((8, 10, 3), np.uint8)), "a mask of 3 channels")

    def test_folders(self, tmp_path, refused):
        with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
            prepare_folder(tmp_path / "nowhere", [tmp_path], tmp_path / "data")
        (tmp_path / "empty").mkdir()
        with pytest.raises(FileNotFoundError, match="empty holds none of"):
            prepare_folder(tmp_path / "empty", [tmp_path], tmp_path / "data")

    def test_masks_that_lie_elsewhere(self, tmp_path):
        arguments = tree(tmp_path, pictures(shape=(6, 5, 4)), drawings(shape=(6, 5, 4)), ".nii", ".nii")
        save(tmp_path / "grader0" / "a.nii", np.ones((6, 5, 4), np.uint8), np.diag([1, 1, 3, 1.0]))
        with pytest.raises(ValueError, match="grader0/a.nii lies elsewhere in space"):
            prepare_folder(*arguments, tmp_path / "data", report=lambda line: None)

    def test_a_nifti_image_with_masks_that_do_not_say_how_they_lie(self, tmp_path):
        images, masks = pictures(shape=(5, 5, 4), names="ab"), drawings("ab", (4, 5, 5), graders=1)
        with pytest.raises(ValueError, match="grader0/a.npy and its image .*a.nii are not both NIfTI"):
            prepare_folder(*tree(tmp_path, images, masks, ".nii", ".npy"), tmp_path / "data", report=lambda line: None)

    def test_one_folder_for_two_graders(self, tmp_path):
        images, (grader,) = tree(tmp_path, pictures(), drawings(graders=1))
        for graders, which in (([grader, images / ".." / "grader0"], "grader 1"), ([images], "the images")):
            with pytest.raises(ValueError, match=f"is the folder of {which}, too"):
                prepare_folder(images, graders, tmp_path / "data", report=lambda line: None)

    def test_white_masks_without_a_map(self, refused):
        """255 must be said to be a class or unlabelled: taken for the latter, a whole foreground would be lost."""
        refused(lambda root: save(root / "grader0" / "a.png", np.eye(8, 10, dtype=np.uint8) * 255),
                r"grader0/a.png holds \[255\].*--labels 0:background,255:foreground, or --ignore 255")

    def test_an_output_that_exists_is_refused_before_images_are_read(self, tmp_path):
        arguments = tree(tmp_path, pictures(), drawings())
        (tmp_path / "images" / "a.png").write_bytes(b"no picture")
        (tmp_path / "data").mkdir()
        with pytest.raises(FileExistsError, match="data already exists"):
            prepare_folder(*arguments, tmp_path / "data", report=lambda line: None)

    def test_groups_of_images_that_are_left_out(self, tmp_path):
        masks = drawings(graders=1)
        del masks[0]["d"]
        (tmp_path / "groups.csv").write_text("image,group\na,p\nb,q\nc,q\nd,r\n")
        prepare_folder(*tree(tmp_path, pictures(), masks), tmp_path / "data", groups=tmp_path / "groups.csv",
                       skip_ungraded=True, report=lambda line: None)
        assert sorted(read_back(tmp_path / "data")[1]) == ["a", "b", "c"]

    @pytest.mark.parametrize("text, message", [
        ("image,group\na,p\nb,p\nc,q\n", "lacks 1 of the 4 images, first 'd'"),
        ("image,group\na,p\na,q\n", "line 3: 'a' is listed twice"), ("image,group\nx,p\n", "'x' is no image"),
        ("image,group\na,\n", "'a' has no group"),
    ])
    def test_a_file_of_groups(self, refused, tmp_path, text, message):
        (tmp_path / "groups.csv").write_text(text)
        refused(lambda root: None, message, groups=tmp_path / "groups.csv")


def test_the_command(tmp_path, capsys):
    white = [{name: mask * 255 for name, mask in files.items()} for files in drawings()]
    images, graders = tree(tmp_path, pictures(), white)
    status = main([
        "prepare", "folder", "--images", str(images), "--grader", str(graders[0]), "--grader", str(graders[1]),
        "--output", str(tmp_path / "data"), "--classes", "background,lesion", "--labels", "0:0,255:lesion",
    ])
    said = capsys.readouterr().out
    assert status == 0 and "3 images of 3 groups (2 graders: 3)" in said and "a group of its own" in said
    assert load_info(tmp_path / "data").classes == ("background", "lesion")
