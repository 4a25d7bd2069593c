"""From the values in somebody's mask files to the classes of a dataset."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class LabelMap:
    """Which value stands for which class.

    Args:
        classes: names, background first.
        values: class number by value; empty where values are class numbers already.
        ignored: values of pixels that nobody labelled.
        ignore_label: what those become.
    """

    classes: tuple[str, ...]
    values: tuple[tuple[int, int], ...] = ()
    ignored: tuple[int, ...] = ()
    ignore_label: int = 255

    @classmethod
    def parse(cls, classes, labels=None, ignored=(), ignore_label=255) -> "LabelMap":
        """Reads "0:background,255:lesion" (value:class, the class by name or number) or a dict of the same.

        Raises:
            ValueError: an entry is no such pair, names no class, or a value is mapped twice.
        """
        classes, pairs = tuple(classes), {}
        items = labels.items() if isinstance(labels, dict) else [
            tuple(part.split(":")) for part in (labels or "").split(",") if part.strip()
        ]
        for item in items:
            try:
                value, name = item
                number = classes.index(name) if name in classes else int(name)
                value = int(value)
            except ValueError as error:
                raise ValueError(f"{':'.join(map(str, item))!r} maps no value to a class. Expected value:class, such "
                                 f"as 255:{classes[-1]}, with a class of {', '.join(classes)}.") from error
            if not 0 <= number < len(classes) or value in pairs or value in ignored:
                raise ValueError(f"{value}:{name} cannot be: the value is mapped twice or there is no such class. "
                                 f"Expected each value once and a class of {', '.join(classes)}.")
            pairs[value] = number
        return cls(classes, tuple(pairs.items()), tuple(int(value) for value in ignored), ignore_label)

    def apply(self, mask, where: str) -> np.ndarray:
        """Class numbers of a mask of values, uint8 of the same shape.

        Raises:
            ValueError: a value that stands for no class; names `where` it is.
        """
        mask = np.asarray(mask)
        if mask.dtype == bool:
            mask = mask.astype(np.uint8)
        found = np.unique(mask)
        table = dict(self.values) if self.values else {number: number for number in range(len(self.classes))}
        table |= dict.fromkeys(self.ignored, self.ignore_label)
        unknown = [value for value in found.tolist() if value not in table]
        if unknown:
            # The whole map: --labels replaces the one that was, also that of values which are class numbers.
            known = self.values or [(value, value) for value in found.tolist() if value in table]
            complete = [f"{value}:{self.classes[number]}" for value, number in known if value not in self.ignored]
            complete += [f"{value}:{self.classes[-1]}" for value in unknown[:8]]
            raise ValueError(
                f"{where} holds {unknown[:8]}, which stand for no class. Known: {table}. Say what they are, such as "
                f"--labels {','.join(complete)}, or --ignore {','.join(map(str, unknown[:8]))} if nobody labelled "
                "those pixels."
            )
        result = np.zeros(mask.shape, np.uint8)
        for value in found.tolist():
            result[mask == value] = table[value]
        return result
