"""probunet verify"""

from absl import flags

from tf_probunet.cli import common

USAGE = "--data DIR"
FLAGS = common.make_flags()
flags.DEFINE_string("data", None, "dataset folder", flag_values=FLAGS)
REQUIRED = ("data",)


def main(values, _):
    from tf_probunet.data.dataset import load_info
    from tf_probunet.data.verify import verify

    found = verify(load_info(values.data), progress=common.progress("shards"))
    describe(values.data)
    segmentations = sum(split.num_segmentations for split in found.values())
    common.report(f"Every checksum, record and mask is as it should be: {segmentations:,} segmentations read.")


def describe(folder):
    """Says what a dataset folder holds."""
    from tf_probunet.data.dataset import load_info

    info = load_info(folder)
    common.report(f"{folder}: {info.source}")
    if info.flips:
        flips = ", ".join(f"{info.classes[flip.source]} {flip.probability:.3f}" for flip in info.flips)
        common.report(f"  {info.num_classes} classes, twins included; flipped with probability: {flips}")
    for name, split in info.splits.items():
        graders = ", ".join(f"{number} graders: {count:,}" for number, count in split["num_graders"].items())
        common.report(f"  {name}: {split['num_images']:,} images of {split['num_groups']:,} groups ({graders})")
