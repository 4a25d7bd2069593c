"""What libraries read only in part, or in another form, comes out whole or is refused."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tf_probunet.data.image_files import find_files, read_pixels

nibabel = pytest.importorskip("nibabel")
tifffile = pytest.importorskip("tifffile")
RNG = np.random.default_rng(0)
VOLUME = RNG.integers(0, 256, (6, 64, 64)).astype(np.uint8)


def write_png(path, rows, width, bits, colour):
    """A PNG of kinds that Pillow does not write; `rows` are bytes."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
                     + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))) + chunk(b"IEND", b""))


def test_colours_of_16_bit(tmp_path):
    pixels = RNG.integers(0, 65536, (8, 10, 3)).astype(np.uint16)
    write_png(tmp_path / "a.png", [row.astype(">u2").tobytes() for row in pixels], 10, 16, 2)
    found, volume, _ = read_pixels(tmp_path / "a.png")
    assert found.dtype == np.uint16 and not volume
    np.testing.assert_array_equal(found[0], pixels)


@pytest.mark.parametrize("bits", [2, 4])
def test_masks_of_few_bits(tmp_path, bits):
    mask = RNG.integers(0, 2**bits, (5, 8)).astype(np.uint8)
    each = 8 // bits  # pixels a byte, the first in the highest bits
    shifts = np.arange(8 - bits, -1, -bits)
    rows = [(row.reshape(-1, each) << shifts).sum(axis=1).astype(np.uint8).tobytes() for row in mask]
    write_png(tmp_path / "a.png", rows, 8, bits, 0)
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.png", mask=True)[0][0, ..., 0], mask)


def tiff(path, kind, compression):
    if kind == "stack":
        tifffile.imwrite(path, VOLUME, compression=compression, photometric="minisblack")
    elif kind == "pillow":
        first, *others = map(Image.fromarray, VOLUME)
        first.save(path, save_all=True, append_images=others, compression="tiff_adobe_deflate" if compression else None)
    elif kind == "imagej":
        tifffile.imwrite(path, VOLUME, imagej=True, compression=compression)
    else:
        with tifffile.TiffWriter(path) as writer:
            for page in VOLUME:
                writer.write(page, contiguous=False, compression=compression)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("kind", ["stack", "pillow", "imagej", "series"])
def test_every_page_of_a_tiff_is_read_or_none(tmp_path, kind, compression):
    tiff(tmp_path / "whole.tif", kind, compression)
    found, volume, _ = read_pixels(tmp_path / "whole.tif")
    assert volume
    np.testing.assert_array_equal(found[..., 0], VOLUME)
    content = (tmp_path / "whole.tif").read_bytes()
    for share in (0.05, 0.3, 0.5, 0.7, 0.9, 0.97):
        (tmp_path / "cut.tif").write_bytes(content[: int(len(content) * share)])
        try:
            found = read_pixels(tmp_path / "cut.tif")[0]
        except OSError as error:
            assert "cut.tif cannot be read" in str(error)
        else:  # only what describes the picture was lost
            np.testing.assert_array_equal(found[..., 0], VOLUME)


def test_planes_of_colour(tmp_path):
    planes = RNG.integers(0, 256, (3, 8, 10)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
    found, volume, _ = read_pixels(tmp_path / "a.tif")
    assert not volume
    np.testing.assert_array_equal(found[0], planes.transpose(1, 2, 0))


def test_pages_of_different_sizes(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for size in (8, 10):
            writer.write(np.zeros((size, size), np.uint8), contiguous=False)
    with pytest.raises(ValueError, match="2 pictures of different size"):
        read_pixels(tmp_path / "a.tif")


def test_a_series_in_time(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6, 2), np.uint8), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(ValueError, match=r"4 axes \[4, 5, 6, 2\]; expected a volume"):
        read_pixels(tmp_path / "a.nii")


def test_channels_of_imagej(tmp_path):
    """ImageJ keeps channels as pages of the kind C: colours, not slices."""
    planes = RNG.integers(0, 256, (3, 8, 10)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", planes, imagej=True, metadata={"axes": "CYX"})
    found, volume, _ = read_pixels(tmp_path / "a.tif")
    assert not volume
    np.testing.assert_array_equal(found[0], planes.transpose(1, 2, 0))


def test_slices_of_several_channels(tmp_path):
    slices = RNG.integers(0, 256, (4, 3, 8, 10)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", slices, imagej=True, metadata={"axes": "ZCYX"})
    found, volume, _ = read_pixels(tmp_path / "a.tif")
    assert volume
    np.testing.assert_array_equal(found, slices.transpose(0, 2, 3, 1))


def test_slices_in_time(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 4, 8, 10), np.uint8), imagej=True, metadata={"axes": "TZYX"})
    with pytest.raises(ValueError, match=r"TZYX, \[2, 4, 8, 10\]; expected an image or a volume"):
        read_pixels(tmp_path / "a.tif")


def test_grey_with_alpha_is_an_image(tmp_path):
    Image.fromarray(np.zeros((8, 10, 2), np.uint8), mode="LA").save(tmp_path / "a.png")
    found, volume, _ = read_pixels(tmp_path / "a.png")
    assert found.shape == (1, 8, 10, 2) and not volume


def test_palette(tmp_path):
    """Colours of an image, class numbers of a mask; alike in PNG and TIFF."""
    numbers = RNG.integers(0, 4, (8, 10)).astype(np.uint8)
    colours = RNG.integers(0, 256, (256, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", numbers, photometric="palette", colormap=colours.T.astype(np.uint16) * 257)
    picture = Image.fromarray(numbers, mode="P")
    picture.putpalette(colours.ravel().tolist())
    picture.save(tmp_path / "a.png")
    for name in ("a.tif", "a.png"):
        found, volume, _ = read_pixels(tmp_path / name)
        assert not volume
        np.testing.assert_array_equal(found[0], colours[numbers])
        np.testing.assert_array_equal(read_pixels(tmp_path / name, mask=True)[0][0, ..., 0], numbers)


@pytest.mark.parametrize("compression", ["lzw", "packbits", "jpeg"])
def test_compressed(tmp_path, compression):
    pytest.importorskip("imagecodecs")
    tifffile.imwrite(tmp_path / "a.tif", VOLUME[0], compression=compression)
    found = read_pixels(tmp_path / "a.tif")[0]
    np.testing.assert_array_equal(found[0, ..., 0], tifffile.imread(tmp_path / "a.tif"))


def test_a_decoder_that_is_not_installed(tmp_path, monkeypatch):
    """Copying it again would not help."""
    tifffile.imwrite(tmp_path / "a.tif", VOLUME[0], compression="packbits")

    def missing(*_):
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", missing)
    with pytest.raises(ImportError, match=r"imagecodecs.*pip install 'tf_probunet\[formats\]'"):
        read_pixels(tmp_path / "a.tif")


def test_jpeg(tmp_path):
    """As photographs come, for images; never for masks."""
    for mode, shape in (("L", (8, 10)), ("RGB", (8, 10, 3))):
        Image.fromarray(RNG.integers(0, 256, shape).astype(np.uint8), mode).save(tmp_path / "a.jpg")
        found, volume, _ = read_pixels(tmp_path / "a.jpg")
        assert not volume
        np.testing.assert_array_equal(found[0], np.atleast_3d(np.asarray(Image.open(tmp_path / "a.jpg"))))
    with pytest.raises(ValueError, match="blurs class numbers"):
        read_pixels(tmp_path / "a.jpg", mask=True)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("L", (10, 8)).save(tmp_path / "b.jpg", exif=turned)
    with pytest.raises(ValueError, match="b.jpg says in its EXIF that it is to be turned"):
        read_pixels(tmp_path / "b.jpg")


def test_kinds_that_are_not_read_are_not_passed_over(tmp_path):
    Image.new("L", (10, 8)).save(tmp_path / "a.png")
    Image.new("L", (10, 8)).save(tmp_path / "b.bmp")
    (tmp_path / "readme.txt").touch()
    (tmp_path / "._a.bmp").touch()  # of macOS, hidden
    with pytest.raises(ValueError, match="/b.bmp is of a kind that is not read"):
        find_files(tmp_path)
    (tmp_path / "b.bmp").unlink()
    assert list(find_files(tmp_path)) == ["a"]
