"""probunet prepare arrays"""

from absl import flags

from tf_probunet.cli import common

USAGE = "--source FILE.npz [FILE.npz ...] --output DIR"
POSITIONAL = True  # further sources
EPILOGUE = (
    "An NPZ holds images [n,H,W] or [n,H,W,C] and segmentations [n,R,H,W] and, if wanted, graded [n,R] (False where a\n"
    "grader has not looked), groups [n] (patients), splits [n] and names [n]."
)
FLAGS = common.make_flags()
flags.DEFINE_multi_string("source", None, "NPZ file; may be given several times", flag_values=FLAGS)
flags.DEFINE_string("output", None, "dataset folder to make", flag_values=FLAGS)
common.define_own_data(FLAGS)
REQUIRED = ("source", "output")


def main(values, positional):
    from tf_probunet.cli.verify import describe
    from tf_probunet.data.arrays import prepare_arrays

    prepare_arrays([*values.source, *positional], values.output, report=common.report,
                   progress=common.progress("images"), **common.own_data(values))
    describe(values.output)
