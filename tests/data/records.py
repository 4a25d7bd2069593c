"""Small records for tests of the dataset format and of its writer."""

import numpy as np

from tf_probunet.data.writer import Record

SETTINGS = dict(classes=("background", "lesion"), source="tests", licence="CC0", preparation={})


def record(name="a", group=None, value=0, size=(8, 6), graders=2, **changes):
    image = np.full((*size, 1), value, np.uint8)
    fields = dict(image=image, segmentations=np.zeros((graders, *size), np.uint8), source_id=name, group=group or name)
    return Record(**(fields | changes))
