"""How large models are: their parameters side by side, for a comparison to be fair or to say where it is not."""

from tf_probunet.experiment import MODEL_FIELDS, Experiment
from tf_probunet.models import MODELS

ABLATIONS = {
    "fixed prior": dict(fixed_prior=True),
    "fixed prior, posterior without image": dict(fixed_prior=True, posterior_sees_image=False),
    "latents at the start": dict(latent_injection="start"),
}


def parameter_counts(experiment: Experiment) -> dict[str, int]:
    """Trainable parameters of an experiment's model.

    Args:
        experiment: only its model fields matter.
    Returns:
        dict of "total", "unet" (the U-Nets, in an ensemble those of all members) and "rest": what gives logits, and
        prior and posterior nets. The posterior net is used in training alone.

    Example:
        >>> from tf_probunet.presets import preset
        >>> parameter_counts(preset("demo").replace(model="deterministic_unet"))["rest"]
        1666
    """
    # Counts follow from shapes: cheap kernels will do, and one member stands for all.
    model = MODELS[experiment.model](**experiment.replace(initializer="he_normal", num_members=1).model_arguments())
    model.build()
    times = experiment.num_members if experiment.model == "unet_ensemble" else 1
    unet = (model.members[0] if experiment.model == "unet_ensemble" else model).unet
    total, inside = times * model.count_params(), times * unet.count_params()
    return {"total": total, "unet": inside, "rest": total - inside}


def parameter_table(experiment: Experiment) -> str:
    """Lines of text: parameters of each model and ablation that has the experiment's other fields."""
    variants = {name: dict(model=name) for name in MODEL_FIELDS}
    variants |= {f"  {name}": dict(model="probabilistic_unet", **fields) for name, fields in ABLATIONS.items()}
    lines = [f"{'model':<40} {'parameters':>14} {'U-Net':>14} {'rest':>14}"]
    for name, fields in variants.items():
        counts = parameter_counts(experiment.replace(**fields))
        lines.append(f"{name:<40} {counts['total']:>14,} {counts['unet']:>14,} {counts['rest']:>14,}")
    return "\n".join(lines)
