"""What the verbs of `probunet versions` share."""

from absl import flags

from tf_probunet.cli import common


def make_flags(model_help) -> flags.FlagValues:
    """Flags with the folder of all models and the name of one."""
    values = common.make_flags()
    flags.DEFINE_string("saved_models", None, "folder of all models, as TensorFlow Serving has it", flag_values=values)
    flags.DEFINE_string("model", None, model_help, flag_values=values)
    return values


def describe(version):
    """One line about a version."""
    distance = version.manifest.get("metrics", {}).get("val_energy_distance")
    parts = [
        f"{version.model}/{version.number}",
        f"{version.size / 2**20:.1f} MiB",
        "damaged" if version.problem else "whole",
        f"energy distance {distance:.4f}" if distance is not None else "",
        ", ".join(version.labels),
    ]
    return "  ".join(f"{part:<{width}}" for part, width in zip(parts, (24, 10, 7, 22, 0), strict=True)).rstrip()
