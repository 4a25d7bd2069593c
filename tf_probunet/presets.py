"""Named experiments. Of every field that a preset sets, `sources` says where the value comes from.

Sources: "paper" is Kohl et al. 2018, appendix H.1; "code" the first author's released code; "ours" a choice of this
project where both are silent or a smaller machine is meant (docs/deviations.md gives the reasons).
"""

import dataclasses

from tf_probunet.experiment import Experiment
from tf_probunet.suggest import unknown

# The Probabilistic U-Net as it is in the paper, and its baselines: no preset changes them.
MODEL_SOURCES = dict.fromkeys(("model", "fixed_prior", "posterior_sees_image", "latent_injection", "dropout_rate",
                               "num_members", "num_heads", "head_epsilon"), "paper")


@dataclasses.dataclass(frozen=True)
class Preset:
    """An experiment, what it is for, and the source of each field."""

    experiment: Experiment
    purpose: str
    sources: dict[str, str]


def _preset(name, purpose, *, paper=None, code=None, ours=None) -> Preset:
    by_source = {"paper": paper or {}, "code": code or {}, "ours": ours or {}}
    fields = {field: value for values in by_source.values() for field, value in values.items()}
    if len(fields) != sum(map(len, by_source.values())):
        raise ValueError(f"Preset {name} gives a field two sources.")
    sources = MODEL_SOURCES | {field: source for source, values in by_source.items() for field in values}
    # What a preset leaves alone keeps the dataclass default, which is a plain "no" (no clip, no augmentation).
    for field in dataclasses.fields(Experiment):
        sources.setdefault(field.name, "ours")
    return Preset(Experiment(name=name, **fields), purpose, sources)


PRESETS = {
    preset.experiment.name: preset
    for preset in (
        _preset(
            "lidc_paper",
            "LIDC-IDRI as in the paper: 128x128 crops of 180x180 tiles, 27.5 million parameters.",
            paper=dict(
                num_classes=2, image_channels=1, channels=(32, 64, 128, 256, 512), num_convs=3, latent_dim=6,
                combiner_channels=(32, 32), segmentation_encoding="foreground", upsampling="bilinear",
                initializer="orthogonal", log_sigma_clip=None, beta=1.0, weight_decay=1e-5, crop_size=(128, 128),
                batch_size=32, mirror=False, shift=None, steps=240_000, learning_rate=1e-4, schedule="piecewise",
            ),
            ours=dict(
                # 1e-4 to 1e-6 in five equal factors; the paper gives no boundaries.
                schedule_boundaries=(40_000, 80_000, 120_000, 160_000, 200_000),
                schedule_values=(3.98e-5, 1.58e-5, 6.31e-6, 2.51e-6, 1e-6),
                # The paper names these augmentations without magnitudes. Displacements of 2 mm that change over 7 mm
                # bend a nodule's outline; at 30 pixels, as for Cityscapes, they would hardly do more than move it.
                rotation=22.5, scale=(0.8, 1.2), shear=0.1, elastic=4.0, elastic_sigma=15.0,
            ),
        ),
        _preset(
            "cityscapes_official",
            "Cityscapes with flipped labels as in the first author's code: 256x512, 24 classes, 18 million parameters.",
            code=dict(
                num_classes=24, image_channels=3, channels=(32, 64, 128, 192, 192, 192, 192), num_convs=3,
                latent_dim=6, combiner_channels=(32, 32, 32), segmentation_encoding="one_hot_centered",
                upsampling="bilinear_aligned", initializer="he_normal", log_sigma_clip=None, beta=1.0,
                weight_decay=1e-5, crop_size=(256, 512), batch_size=16, mirror=True,
                mirror_vertical=False, rotation=22.5, scale=(0.8, 1.2),
                # The code smooths noise that is uniform in -1..1, of standard deviation 3**-0.5, by a Gaussian of sigma
                # 25 to 35 and multiplies it by up to 800: 800 * 3**-0.5 / (2 * pi**0.5 * 30) = 4.34.
                elastic=4.34, elastic_sigma=30.0,
                gamma=(0.7, 1.5), gamma_probability=0.3, steps=240_000, learning_rate=1e-4, schedule="piecewise",
                schedule_boundaries=(80_000, 160_000), schedule_values=(5e-5, 1e-5),
            ),
            ours=dict(shift=0.0),
        ),
        _preset(
            "lidc_small",
            "LIDC crops on two CPU cores: the reference model in saved_models/lidc.",
            paper=dict(num_classes=2, image_channels=1, num_convs=3, latent_dim=6, combiner_channels=(32, 32),
                       segmentation_encoding="foreground", upsampling="bilinear", log_sigma_clip=None),
            ours=dict(
                # A prior net this small and trained this briefly cannot tell as much as beta 1 lets the posterior say.
                beta=10.0,
                # Orthogonal with gain 1 halves the variance at every ReLU: a long plateau at the start.
                initializer="he_normal",
                # All-positive, low-contrast input and a high rate early let the prior net die: it became a constant.
                image_mean=0.25, image_stddev=0.25,
                channels=(16, 32, 64, 96, 128), weight_decay=1e-5, crop_size=(64, 64), batch_size=24, rotation=180.0,
                # Half of the batches as validated, the others so that larger crops are known too.
                crop_scales=(1.0, 1.0, 1.5, 2.0), mirror=True, scale=(0.8, 1.25), shear=0.1, shift=4.0,
                gamma=(0.7, 1.4), gamma_probability=0.5,
                steps=8_000, learning_rate=3e-4, schedule="cosine", warmup_steps=1000, ema_momentum=0.998,
                steps_per_epoch=500, validation_images=256,
            ),
        ),
        _preset(
            "demo",
            "A few minutes on two CPU cores with the rendered phantom.",
            paper=dict(num_classes=2, image_channels=1, latent_dim=6, combiner_channels=(32, 32),
                       segmentation_encoding="foreground", upsampling="bilinear", beta=1.0,
                       log_sigma_clip=None),
            ours=dict(
                initializer="he_normal", image_mean=0.25, image_stddev=0.25, num_convs=2, channels=(16, 32, 64, 96),
                weight_decay=1e-5, crop_size=(64, 64), batch_size=16, rotation=180.0, mirror=True, scale=(0.9, 1.1),
                shift=4.0, steps=1500, learning_rate=5e-4, schedule="cosine", warmup_steps=200, ema_momentum=0.99,
                steps_per_epoch=150, validation_images=48,
            ),
        ),
    )
}


def preset(name: str) -> Experiment:
    """The experiment of a preset; a `ValueError` names the near ones.

    Example:
        >>> preset("lidc_paper").replace(batch_size=12).batch_size
        12
    """
    if name not in PRESETS:
        raise ValueError(unknown("preset", name, PRESETS))
    return PRESETS[name].experiment
