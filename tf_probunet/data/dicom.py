"""CT slices out of DICOM files: headers and Hounsfield units. The one file that imports pydicom.

Of a header only what this project needs is read: identifiers of series and image, geometry, and what pixels mean.
Nothing about a person is looked at.
"""

import dataclasses
import os

import numpy as np

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"  # SOP classes, DICOM PS3.4 table B.5-1
ENHANCED_CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2.1"
AIR = -1024  # Hounsfield units; padding outside of the scanner's circle is below, and says nothing
TAGS = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "InstanceNumber", "ImagePositionPatient",
    "ImageOrientationPatient", "SliceLocation", "PixelSpacing", "Rows", "Columns", "NumberOfFrames",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)


@dataclasses.dataclass(frozen=True)
class Slice:
    """Where one axial CT slice is, in space and on disk.

    Args:
        path: of the file.
        frame: number of the frame in a multi-frame file, from 0; 0 for a file of one slice.
        series_instance_uid, sop_instance_uid: DICOM (0020,000E) and (0008,0018).
        z_mm: third number of ImagePositionPatient (0020,0032).
        slice_location_mm: SliceLocation (0020,1041); None where it is absent.
        instance_number: (0020,0013); 0 where it is absent.
        size: (rows, columns).
        pixel_spacing_mm: (0028,0030), between rows and between columns.
    """

    path: str
    frame: int
    series_instance_uid: str
    sop_instance_uid: str
    z_mm: float
    slice_location_mm: float | None
    instance_number: int
    size: tuple[int, int]
    pixel_spacing_mm: tuple[float, float]

    @property
    def contradicts_itself(self) -> bool:
        """Whether SliceLocation and ImagePositionPatient tell different places (signs apart: both are in use)."""
        return self.slice_location_mm is not None and abs(abs(self.slice_location_mm) - abs(self.z_mm)) > 0.01


def read_slices(path: str | os.PathLike) -> list[Slice] | None:
    """The CT slices of a file: one, or as many as a multi-frame file has; None for a file that holds no CT.

    Raises:
        ValueError: a CT image whose header is cut off, lacks its place, or is not axial.
        ImportError: pydicom is absent.
    """
    pydicom = _import_pydicom()
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(TAGS))
    except pydicom.errors.InvalidDicomError:
        return None
    except Exception as error:  # a damaged header makes pydicom raise nearly anything
        raise ValueError(f"{path} is a damaged DICOM file ({_first_line(error)}). Download it again.") from error
    try:
        sop_class = header.get("SOPClassUID")
        if sop_class is None:
            raise ValueError("its header has no SOPClassUID: it is cut off")
        if sop_class not in (CT_IMAGE, ENHANCED_CT_IMAGE):
            return None
        return [_slice(str(path), header, frame) for frame in range(int(header.get("NumberOfFrames") or 1))]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no usable CT image: {_first_line(error)}. Download it again.") from error


def _slice(path, header, frame):
    position, orientation, spacing = (
        _geometry(header, frame, *where)
        for where in (
            ("PlanePositionSequence", "ImagePositionPatient", 3),
            ("PlaneOrientationSequence", "ImageOrientationPatient", 6),
            ("PixelMeasuresSequence", "PixelSpacing", 2),
        )
    )
    if not np.allclose(orientation, (1, 0, 0, 0, 1, 0), atol=1e-3):
        raise ValueError(f"ImageOrientationPatient is {orientation}; expected an axial slice, [1, 0, 0, 0, 1, 0]")
    location = header.get("SliceLocation")
    return Slice(
        path=path,
        frame=frame,
        series_instance_uid=str(header.SeriesInstanceUID),
        sop_instance_uid=str(header.SOPInstanceUID),
        z_mm=position[2],
        slice_location_mm=None if location in (None, "") else float(location),
        instance_number=int(header.get("InstanceNumber") or 0),
        size=(int(header.Rows), int(header.Columns)),
        pixel_spacing_mm=(spacing[0], spacing[1]),
    )


def _geometry(header, frame, sequence, name, count):
    """A value of the header, or of the functional groups that a multi-frame file has in its place."""
    groups = [header]
    for owner, index in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        if owner in header and sequence in header[owner].value[index]:
            groups.append(header[owner].value[index][sequence].value[0])
    for group in groups:
        value = group.get(name)
        if value is not None and len(value) == count and np.isfinite(found := [float(one) for one in value]).all():
            return found
    raise ValueError(f"{name} is missing or not {count} numbers")


def hounsfield_units(one: Slice) -> np.ndarray:
    """Decodes a slice: rescale slope and intercept applied, rounded, nothing below -1024 (air).

    Compressed files are decoded by pydicom's plugins (extra `dicom`). MONOCHROME1 only asks a viewer to draw high
    values dark; Hounsfield units are what the rescaling says in both.

    Args:
        one: from `read_slices`.
    Returns:
        [rows, columns] int32.
    Raises:
        ValueError: the file is damaged, is compressed in a way that nothing here decodes, or is no CT picture.
    """
    pydicom = _import_pydicom()
    try:
        header = pydicom.dcmread(one.path)
        photometric = header.get("PhotometricInterpretation")
        if photometric not in ("MONOCHROME1", "MONOCHROME2"):
            raise ValueError(f"PhotometricInterpretation is {photometric}; expected MONOCHROME1 or MONOCHROME2")
        rescale = header
        for owner, index in (("SharedFunctionalGroupsSequence", 0), ("PerFrameFunctionalGroupsSequence", one.frame)):
            if owner in header and "PixelValueTransformationSequence" in header[owner].value[index]:
                rescale = header[owner].value[index].PixelValueTransformationSequence[0]
        slope, intercept = float(rescale.RescaleSlope), float(rescale.RescaleIntercept)
        frames = int(header.get("NumberOfFrames") or 1)
        stored = pydicom.pixels.pixel_array(header, index=one.frame) if frames > 1 else header.pixel_array
    except Exception as error:  # decoders raise what they like
        raise ValueError(
            f"{one.path} cannot be read as a CT picture ({type(error).__name__}: {_first_line(error)}). Download it "
            "again, or, where a decoder is missing, pip install 'tf_probunet[dicom]'."
        ) from error
    if stored.shape != one.size:
        raise ValueError(f"{one.path}: pixels are {list(stored.shape)}, the header says {list(one.size)}.")
    if slope.is_integer() and intercept.is_integer():  # the usual case, without a detour through floating point
        return np.maximum(stored.astype(np.int32) * int(slope) + int(intercept), AIR)
    return np.maximum(np.rint(stored.astype(np.float64) * slope + intercept), AIR).astype(np.int32)


def _first_line(error):
    return (str(error) or type(error).__name__).splitlines()[0][:200]


def _import_pydicom():
    try:
        import pydicom
        import pydicom.pixels
    except ImportError as error:
        raise ImportError(
            f"Reading DICOM needs pydicom, which could not be imported ({error}). Run `pip install tf_probunet[dicom]`."
        ) from error
    return pydicom
