"""Headers and Hounsfield units of real DICOM files, whole and damaged, plain and compressed."""

import dataclasses

import numpy as np
import pytest

from tf_probunet.data.dicom import hounsfield_units, read_slices
from tf_probunet.data.pylidc_adapter import read_scans

pydicom = pytest.importorskip("pydicom")
import dicom_files  # noqa: E402
from pydicom.uid import EnhancedCTImageStorage, JPEG2000Lossless, JPEGLSLossless, RLELossless  # noqa: E402


@pytest.fixture(scope="module")
def scan():
    return read_scans(["LIDC-IDRI-0001"])[0]


@pytest.fixture
def z_mm(scan):
    return dicom_files.annotated(scan)[2]


def save(ct, path):
    ct.save_as(path, enforce_file_format=True)
    return path


class TestHeader:
    def test_what_is_read(self, scan, z_mm, tmp_path):
        path = save(dicom_files.dataset(scan, z_mm, 7), tmp_path / "any name")
        (one,) = read_slices(path)
        assert dataclasses.asdict(one) == {
            "path": str(path), "frame": 0, "series_instance_uid": scan.series_instance_uid,
            "sop_instance_uid": dicom_files.sop_uid(scan.series_instance_uid, 7), "z_mm": z_mm,
            "slice_location_mm": z_mm, "instance_number": 7, "size": (512, 512),
            "pixel_spacing_mm": (scan.pixel_spacing_mm,) * 2,
        }
        assert not one.contradicts_itself

    def test_what_holds_no_ct_is_left_alone(self, scan, z_mm, tmp_path):
        (tmp_path / "LICENSE").write_text("CC BY 3.0")
        (tmp_path / "empty.dcm").write_bytes(b"")
        radiograph = dicom_files.dataset(scan, z_mm)
        radiograph.SOPClassUID = radiograph.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
        for path in (tmp_path / "LICENSE", tmp_path / "empty.dcm", save(radiograph, tmp_path / "dx.dcm")):
            assert read_slices(path) is None

    @pytest.mark.parametrize("keep", [140, 160, 300, 700])
    def test_a_header_that_is_cut_off(self, scan, z_mm, tmp_path, keep):
        path = save(dicom_files.dataset(scan, z_mm), tmp_path / "cut.dcm")
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(ValueError, match=r"cut.dcm is .*Download it again"):
            read_slices(path)

    @pytest.mark.parametrize("keyword, value", [
        ("ImagePositionPatient", None), ("PixelSpacing", None), ("ImageOrientationPatient", [1, 0, 0, 0, 0, -1]),
    ])
    def test_without_its_place(self, scan, z_mm, tmp_path, keyword, value):
        ct = dicom_files.dataset(scan, z_mm)
        setattr(ct, keyword, value)
        with pytest.raises(ValueError, match=f"no usable CT image: {keyword}"):
            read_slices(save(ct, tmp_path / "lost.dcm"))

    @pytest.mark.parametrize("location, contradicts", [
        ("same", False), ("opposite", False), ("other", True), (None, False),
    ])
    def test_slice_location(self, scan, z_mm, tmp_path, location, contradicts):
        ct = dicom_files.dataset(scan, z_mm, location=location is not None)
        if location is not None:
            ct.SliceLocation = f"{ {'same': z_mm, 'opposite': -z_mm, 'other': z_mm + 1}[location]:.6f}"
        (one,) = read_slices(save(ct, tmp_path / "slice.dcm"))
        assert one.contradicts_itself is contradicts


class TestPixels:
    @pytest.mark.parametrize("unsigned, photometric", [
        (False, "MONOCHROME2"), (True, "MONOCHROME2"), (True, "MONOCHROME1"),
    ])
    def test_rescaled(self, scan, z_mm, tmp_path, unsigned, photometric):
        path = save(dicom_files.dataset(scan, z_mm, unsigned=unsigned, photometric=photometric), tmp_path / "ct.dcm")
        expected = dicom_files.hounsfield(scan, z_mm)
        found = hounsfield_units(read_slices(path)[0])
        # The signed files store half units: slope 2.
        np.testing.assert_array_equal(found, expected if unsigned else (expected + 24) // 2 * 2 - 24)

    @pytest.mark.parametrize("syntax, plugin", [
        (JPEGLSLossless, "pyjpegls"), (JPEG2000Lossless, "pylibjpeg"), (RLELossless, "pydicom"),
    ])
    @pytest.mark.parametrize("unsigned", [True, False])
    def test_compressed(self, scan, z_mm, tmp_path, syntax, plugin, unsigned):
        plain = save(dicom_files.dataset(scan, z_mm, unsigned=unsigned), tmp_path / "plain.dcm")
        ct = dicom_files.dataset(scan, z_mm, unsigned=unsigned)
        ct.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)
        path = save(ct, tmp_path / "compressed.dcm")
        assert path.stat().st_size < plain.stat().st_size
        np.testing.assert_array_equal(hounsfield_units(read_slices(path)[0]), hounsfield_units(read_slices(plain)[0]))

    def test_air_is_the_least(self, scan, z_mm, tmp_path):
        ct = dicom_files.dataset(scan, z_mm)
        ct.PixelData = np.full((512, 512), -2000, np.int16).tobytes()
        ct.RescaleSlope, ct.RescaleIntercept = "1", "0"
        assert np.unique(hounsfield_units(read_slices(save(ct, tmp_path / "ct.dcm"))[0])).tolist() == [-1024]

    @pytest.mark.parametrize("change, message", [
        ("cut", r"bytes of pixel data"), ("rgb", "PhotometricInterpretation is RGB"), ("slope", "RescaleSlope"),
    ])
    def test_damaged(self, scan, z_mm, tmp_path, change, message):
        ct = dicom_files.dataset(scan, z_mm)
        if change == "rgb":
            ct.PhotometricInterpretation = "RGB"
        if change == "slope":
            del ct.RescaleSlope
        path = save(ct, tmp_path / "ct.dcm")
        if change == "cut":
            path.write_bytes(path.read_bytes()[:-4000])
        (one,) = read_slices(path)
        with pytest.raises(ValueError, match=f"ct.dcm cannot be read as a CT picture.*{message}.*Download it again"):
            hounsfield_units(one)

    def test_a_damaged_compressed_file(self, scan, z_mm, tmp_path):
        ct = dicom_files.dataset(scan, z_mm, unsigned=True)
        ct.compress(JPEGLSLossless, encoding_plugin="pyjpegls", generate_instance_uid=False)
        path = save(ct, tmp_path / "ct.dcm")
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(ValueError, match="Download it again"):
            hounsfield_units(read_slices(path)[0])

    def test_multi_frame(self, scan, tmp_path):
        heights = dicom_files.annotated(scan)[:3]
        ct = dicom_files.dataset(scan, heights[0], unsigned=True)
        ct.SOPClassUID = ct.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceLocation",
                        "RescaleSlope", "RescaleIntercept"):
            delattr(ct, keyword)
        ct.NumberOfFrames = len(heights)
        ct.PixelData = np.stack([dicom_files.hounsfield(scan, z) + 1024 for z in heights]).astype(np.uint16).tobytes()

        def item(**values):
            one = pydicom.Dataset()
            for keyword, value in values.items():
                setattr(one, keyword, value)
            return one

        ct.SharedFunctionalGroupsSequence = [item(
            PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
            PixelMeasuresSequence=[item(PixelSpacing=[scan.pixel_spacing_mm] * 2)],
            PixelValueTransformationSequence=[item(RescaleSlope="1", RescaleIntercept="-1024")],
        )]
        ct.PerFrameFunctionalGroupsSequence = [
            item(PlanePositionSequence=[item(ImagePositionPatient=["0", "0", str(z)])]) for z in heights
        ]
        slices = read_slices(save(ct, tmp_path / "many.dcm"))
        assert [(one.frame, one.z_mm) for one in slices] == list(enumerate(heights))
        for one in slices:
            np.testing.assert_array_equal(hounsfield_units(one), dicom_files.hounsfield(scan, one.z_mm))
