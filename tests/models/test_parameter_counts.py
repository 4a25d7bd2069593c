"""Parameter counts, against arithmetic and against the models themselves."""

from tf_probunet.models import UNetEnsemble
from tf_probunet.models.parameter_counts import ABLATIONS, parameter_counts, parameter_table
from tf_probunet.presets import preset

SMALL = preset("demo").replace(channels=(4, 8), num_convs=2, combiner_channels=(5,), latent_dim=6)


def conv(inputs, filters, size=3):
    return size * size * inputs * filters + filters


ENCODER = conv(1, 4) + conv(4, 4) + conv(4, 8) + conv(8, 8)
UNET = ENCODER + conv(4 + 8, 4) + conv(4, 4)
HEAD = conv(4, 5, 1) + conv(5, 2, 1)
GAUSSIAN_NET = ENCODER + conv(8, 12, 1)
KERNEL = 9 * 4  # a channel more of what an encoder reads


def counts(**fields):
    return parameter_counts(SMALL.replace(**fields))


def test_plain_unet_and_what_is_made_of_it():
    assert counts(model="deterministic_unet") == dict(total=UNET + HEAD, unet=UNET, rest=HEAD)
    assert counts(model="dropout_unet") == counts(model="deterministic_unet")
    assert counts(model="mheads_unet", num_heads=8) == dict(total=UNET + 8 * HEAD, unet=UNET, rest=8 * HEAD)
    assert counts(model="unet_ensemble", num_members=8) == dict(total=8 * (UNET + HEAD), unet=8 * UNET, rest=8 * HEAD)


def test_probabilistic_unet_and_its_ablations():
    combiner = HEAD + 6 * 5
    posterior, blind = GAUSSIAN_NET + KERNEL, GAUSSIAN_NET  # image and one class, or the class alone
    rests = {
        (): combiner + GAUSSIAN_NET + posterior,
        ("fixed_prior",): combiner + posterior,
        ("fixed_prior", "posterior_sees_image"): combiner + blind,
    }
    for changed, rest in rests.items():
        fields = {name: name == "fixed_prior" for name in changed}
        assert counts(**fields) == dict(total=UNET + rest, unet=UNET, rest=rest), changed
    start = UNET + 6 * KERNEL
    assert counts(latent_injection="start") == dict(
        total=start + HEAD + GAUSSIAN_NET + posterior, unet=start, rest=HEAD + GAUSSIAN_NET + posterior)
    assert counts(model="image2image_vae") == dict(total=start + HEAD + blind, unet=start, rest=HEAD + blind)


def test_of_an_ensemble_is_what_keras_counts():
    experiment = SMALL.replace(model="unet_ensemble", num_members=3)
    model = UNetEnsemble(**experiment.model_arguments())
    model.build()
    assert parameter_counts(experiment)["total"] == model.count_params()


def test_the_table_has_a_line_for_each():
    lines = parameter_table(SMALL).splitlines()
    assert len(lines) == 1 + 6 + len(ABLATIONS) and len(set(map(len, lines))) == 1
