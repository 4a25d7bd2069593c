"""What goes wrong in training: losses that are not finite, latents that collapse."""

import json

import numpy as np
import pytest

from tf_probunet import callbacks, training
from tf_probunet.callbacks import NonFiniteLoss, WarnOfCollapse
from tf_probunet.experiment import Experiment
from tf_probunet.models import ProbabilisticUNet
from tf_probunet.run_folder import load_run
from tf_probunet.training import train

TINY = Experiment(
    name="tiny", channels=(4, 8), num_convs=1, latent_dim=2, combiner_channels=(6,), initializer="he_normal",
    crop_size=(16, 16), batch_size=4, steps=6, steps_per_epoch=2, learning_rate=3e-3, validation_images=6,
    validation_samples=3, precision="float32",
)
# The rate explodes at step 2: step 2 itself is finite, and leaves weights with which step 3 is not.
EXPLODES = TINY.replace(schedule_boundaries=(2,), schedule_values=(1e30,))


def model_with(images, steps):
    """A model after so many steps of `fit` on the images."""
    model = ProbabilisticUNet(channels=(4, 8), num_convs=1, latent_dim=2, initializer="he_normal")
    model.compile("adam")
    model.fit(images, (images[..., 0] > 0.5).astype(np.int32), batch_size=2, epochs=1, shuffle=False, verbose=0,
              steps_per_epoch=steps)
    return model


class TestNonFinite:
    def test_the_first_term_and_step_are_known_although_nobody_looked(self):
        images = np.random.default_rng(0).random((8, 16, 16, 1), np.float32)
        images[4] = np.nan  # in the third batch of two
        model = model_with(images, 4)
        term, step = model.first_nonfinite.found()
        assert step == 2 and term in ("loss", "gradient_norm")  # a ReLU may make a NaN a 0, its gradient does not
        model.first_nonfinite.reset()
        assert model.first_nonfinite.found() is None

    def test_finite_steps_note_nothing(self):
        model = model_with(np.random.default_rng(0).random((8, 16, 16, 1), np.float32), 4)
        assert model.first_nonfinite.found() is None

    def test_a_run_stops_with_term_step_and_remedy_and_keeps_what_was_good(self, tiny_info, tmp_path):
        run = tmp_path / "run"
        with pytest.raises(NonFiniteLoss, match=r"was NaN or infinite at step 3, .*weights of step 2 are restored.*"
                                                r"--resume --nonfinite_retries 1.*--log_sigma_clip") as caught:
            train(EXPLODES, tiny_info, run, report=lambda line: None)
        assert caught.value.step == 3
        _, model = load_run(run)
        assert all(np.isfinite(weight.numpy()).all() for weight in model.weights)
        assert [path.name for path in sorted((run / "checkpoints").iterdir())] == ["step-00000000", "step-00000002"]

    def test_the_users_own_model_has_its_last_good_weights_back(self, tmp_path):
        images = np.random.default_rng(0).random((8, 16, 16, 1), np.float32)
        model = model_with(images, 4)
        good = [weight.numpy() for weight in model.trainable_weights]

        def restore():
            for weight, value in zip(model.trainable_weights, good, strict=True):
                weight.assign(value)
            return 4

        images[0] = np.nan
        with pytest.raises(NonFiniteLoss):
            model.fit(images, np.zeros((8, 16, 16), np.int32), batch_size=2, verbose=0,
                      callbacks=[callbacks.StopOnNonFinite(tmp_path, restore, interval=2)])
        assert all(np.isfinite(weight.numpy()).all() for weight in model.trainable_weights)

    def test_a_retry_lowers_the_rate_and_a_run_may_be_granted_more(self, tiny_info, tmp_path, monkeypatch):
        assert training.RETRY_RATE == 0.5
        monkeypatch.setattr(training, "RETRY_RATE", 1e-17)  # two retries bring 1e30 down to 1e-4: the run comes through
        run, lines = tmp_path / "run", []
        with pytest.raises(NonFiniteLoss, match="--resume --nonfinite_retries 2;"):  # one is used up
            train(EXPLODES.replace(nonfinite_retries=1), tiny_info, run, report=lines.append)
        assert [line for line in lines if "Retry 1 of 1: from the last checkpoint, at 1e-17 times" in line]
        assert len(json.loads((run / "retries.json").read_text())) == 1
        train(EXPLODES.replace(nonfinite_retries=2), tiny_info, run, resume=True, report=lines.append)
        assert Experiment.load(run).nonfinite_retries == 2
        assert [retry["step"] for retry in json.loads((run / "retries.json").read_text())] == [3, 3]
        last = callbacks.read_history(run / "history.csv")[-1]
        assert last["step"] == 6 and last["learning_rate"] == pytest.approx(1e-4, rel=1e-5)


class TestWarnOfCollapse:
    ALIVE = {"val_kl": 2.0, "val_active_latents": 4.0, "val_sample_diversity": 0.4, "val_grader_diversity": 0.5,
             "val_nested_pairs": 0.3}

    def told(self, *changes):
        """Lines that a run with these changes epoch by epoch is told, from the third epoch on."""
        lines = []
        callback = WarnOfCollapse(lines.append, first_epoch=2)
        for epoch, change in enumerate(({"val_kl": 0.0}, {"val_kl": 0.0}, *changes)):
            callback.on_epoch_end(epoch, self.ALIVE | change)
        return lines

    def test_nothing_is_said_of_a_living_run_nor_of_its_first_epochs(self):
        assert not self.told({}, {}, {"val_nested_pairs": 0.0})

    @pytest.mark.parametrize("change, words", [
        ({"val_kl": 0.01, "val_active_latents": 0.0}, "posterior collapse"),
        ({"val_sample_diversity": 0.01}, "samples hardly differ"),
        ({"val_nested_pairs": 0.995}, "lie one inside the other"),
    ])
    def test_each_trouble_is_told_once_until_it_has_passed(self, change, words):
        (line,) = self.told(change, change)
        assert words in line and line.startswith("Warning: ")
        assert len(self.told(change, {}, change)) == 2

    def test_models_without_latents_are_left_alone(self):
        logs = {"val_sample_diversity": 0.0, "val_grader_diversity": 0.5, "val_nested_pairs": 0.0}
        assert not WarnOfCollapse().troubles(logs)
