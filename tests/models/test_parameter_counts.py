"""Parameter counts, against arithmetic and against the models themselves."""

from tf_probunet.models import UNetEnsemble
from tf_probunet.models.parameter_counts import ABLATIONS, parameter_counts, parameter_table
from tf_probunet.presets import preset

PAPER = preset("lidc_paper")
UNET, GAUSSIAN_NET, HEAD = 11_773_536, 7_861_452, 32 * 32 + 32 + 32 * 32 + 32 + 32 * 2 + 2


def counts(**fields):
    return parameter_counts(PAPER.replace(**fields))


def test_plain_unet_and_what_is_made_of_it():
    assert counts(model="deterministic_unet") == dict(total=UNET + HEAD, unet=UNET, rest=HEAD)
    assert counts(model="dropout_unet") == counts(model="deterministic_unet")
    assert counts(model="mheads_unet", num_heads=8) == dict(total=UNET + 8 * HEAD, unet=UNET, rest=8 * HEAD)
    assert counts(model="unet_ensemble", num_members=8) == dict(total=8 * (UNET + HEAD), unet=8 * UNET, rest=8 * HEAD)


def test_ablations():
    whole, combiner = counts(), HEAD + 6 * 32
    assert whole == dict(total=27_499_098, unet=UNET, rest=27_499_098 - UNET)
    assert counts(fixed_prior=True)["total"] == whole["total"] - GAUSSIAN_NET
    blind = counts(fixed_prior=True, posterior_sees_image=False)
    assert blind["total"] == whole["total"] - GAUSSIAN_NET - 288  # 3x3 kernels of 32 filters for one channel
    start = counts(latent_injection="start")
    assert start["unet"] == UNET + 6 * 288 and start["rest"] == whole["rest"] - combiner + HEAD
    vae = counts(model="image2image_vae")
    assert vae["total"] == start["unet"] + HEAD + GAUSSIAN_NET  # of a posterior that reads one channel, as the prior does


def test_of_an_ensemble_is_what_keras_counts():
    experiment = preset("demo").replace(model="unet_ensemble", num_members=3, channels=(4, 8))
    model = UNetEnsemble(**experiment.model_arguments())
    model.build()
    assert parameter_counts(experiment)["total"] == model.count_params()


def test_the_table_has_a_line_for_each():
    lines = parameter_table(preset("demo").replace(channels=(4, 8))).splitlines()
    assert len(lines) == 1 + 6 + len(ABLATIONS) and len(set(map(len, lines))) == 1
