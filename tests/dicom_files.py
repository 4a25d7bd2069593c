"""Small real DICOM series under the UIDs and geometry of LIDC-IDRI's scans, with made-up pixels."""

import numpy as np

# What a hospital writes into a header and nobody may find again: every text is unique and easy to search for.
SECRETS = {
    "PatientName": "Secretname^Given", "PatientID": "SECRET-PATIENT-ID", "PatientBirthDate": "19010203",
    "StudyDate": "19990807", "SeriesDate": "19990808", "AcquisitionDate": "19990809", "ContentDate": "19990810",
    "StudyTime": "010203.456789", "AccessionNumber": "SECRET-ACCESSION", "InstitutionName": "Secret Hospital",
    "InstitutionAddress": "1 Secret Street", "ReferringPhysicianName": "Secretdoctor^A", "OperatorsName": "Secretop^B",
    "StationName": "SECRETSTATION", "StudyDescription": "secret study text", "SeriesDescription": "secret series text",
    "ImageComments": "secret image comment", "PatientComments": "secret patient comment", "StudyID": "SECRETSTUDY",
    "DeviceSerialNumber": "SECRET-SERIAL", "PatientAge": "087Y",
}
SHAPE = (512, 512)  # of all of LIDC-IDRI's slices


def hounsfield(scan, z_mm):
    """The pixels that `write_series` stores for a slice: [512, 512] int, -1000..1000, different for each slice."""
    rows, columns = np.indices(SHAPE)
    phase = (scan.scan_id * 7 + int(np.abs(scan.slice_z_mm - z_mm).argmin()) * 13) % 97
    return ((rows * 3 + columns * 5 + phase * 11) % 2001 - 1000).astype(np.int32)


def annotated(scan):
    """The z of the slices on which anybody drew, rising."""
    return sorted({contour.z_mm for annotation in scan.annotations for contour in annotation.contours})


def dataset(scan, z_mm, number=1, *, unsigned=False, photometric="MONOCHROME2", spacing=None, series=None,
            location=True):
    """One CT slice as a pydicom dataset; pixels rescale to `hounsfield`."""
    import pydicom
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    series = series or scan.series_instance_uid
    meta.MediaStorageSOPInstanceUID = sop_uid(series, number)
    ct = pydicom.Dataset()
    ct.file_meta = meta
    ct.SOPClassUID, ct.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    ct.SeriesInstanceUID, ct.StudyInstanceUID = series, scan.study_instance_uid
    ct.Modality, ct.InstanceNumber = "CT", number
    for keyword, value in SECRETS.items():
        setattr(ct, keyword, value)
    ct.add_new((0x0009, 0x0010), "LO", "SECRETVENDOR")
    ct.add_new((0x0009, 0x1001), "LO", "secret private text")
    ct.ImagePositionPatient = ["-180.5", "-170.25", str(float(z_mm))[:16]]
    ct.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    if location:
        ct.SliceLocation = str(float(z_mm))[:16]
    ct.PixelSpacing = [f"{spacing or scan.pixel_spacing_mm:.6f}"] * 2
    ct.SliceThickness = str(scan.slice_thickness_mm)
    ct.Rows, ct.Columns, ct.SamplesPerPixel, ct.PhotometricInterpretation = *SHAPE, 1, photometric
    ct.BitsAllocated, ct.BitsStored, ct.HighBit = 16, (12 if unsigned else 16), (11 if unsigned else 15)
    ct.PixelRepresentation = 0 if unsigned else 1
    ct.RescaleSlope, ct.RescaleIntercept = ("1", "-1024") if unsigned else ("2", "-24")
    stored = hounsfield(scan, z_mm) + 1024 if unsigned else (hounsfield(scan, z_mm) + 24) // 2
    ct.PixelData = stored.astype(np.uint16 if unsigned else np.int16).tobytes()
    return ct


def sop_uid(series, number):
    return f"{series.rsplit('.', 1)[0]}.{number}"


def write_series(folder, scan, heights=None, **options):
    """Writes one file a slice (the annotated ones if no heights are given); returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, z_mm in enumerate(heights or annotated(scan), 1):
        paths.append(folder / f"{number:06d}.dcm")
        dataset(scan, z_mm, number, **options).save_as(paths[-1], enforce_file_format=True)
    return paths
