"""What every model of the package must do, whatever it is inside: subclass `SegmenterContract` for each model."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_probunet.optimizers import FusedAdam

IGNORE = 255


def toy(batch=4, height=16, width=16, channels=1, num_classes=2, ignore=False, seed=0):
    """Images with a bright square whose class map is the segmentation; with `ignore`, some pixels unlabelled."""
    rng = np.random.default_rng(seed)
    segmentations = np.zeros((batch, height, width), np.int32)
    for index, segmentation in enumerate(segmentations):
        top, left = rng.integers(0, (height // 2, width // 2))
        segmentation[top : top + height // 2, left : left + width // 2] = 1 + index % (num_classes - 1)
    images = segmentations[..., None] / num_classes + rng.normal(0, 0.05, (batch, height, width, channels))
    if ignore:
        segmentations[rng.random(segmentations.shape) < 0.2] = IGNORE
    return images.astype(np.float32), segmentations


def weights_of(model):
    return [weight.numpy() for weight in model.weights]


def assert_same_weights(model, other):
    for weight, expected in zip(weights_of(model), weights_of(other), strict=True):
        np.testing.assert_array_equal(weight, expected)


class SegmenterContract:
    """Subclasses give `model_class` and small `arguments`; the tests vary the arguments that all models have.

    Attributes:
        model_class: the public class.
        arguments: constructor arguments of a model small enough to train in seconds, with one downsampling at least.
        num_samples: M that the model can draw.
        random_samples: whether the seed decides the samples; off for models with a fixed set of hypotheses.
        learning_rate: with which the toy is learned in 30 steps.
    """

    model_class: type
    arguments: dict
    num_samples = 3
    random_samples = True
    learning_rate = 3e-3

    def make(self, **overrides):
        keras.utils.set_random_seed(0)
        return self.model_class(**{**self.arguments, **overrides})

    def compiled(self, **overrides):
        model = self.make(**overrides)
        model.compile(FusedAdam(self.learning_rate))
        return model

    # --- Sampling ---

    @pytest.mark.parametrize("batch, height, width", [(2, 16, 16), (1, 16, 32), (3, 32, 8)])
    def test_shapes_are_free(self, batch, height, width):
        model = self.make()
        images, _ = toy(batch, height, width)
        for num_samples in (1, self.num_samples):
            samples = model.sample(images, num_samples=num_samples, seed=(0, 1))
            assert samples.shape == (batch, num_samples, height, width, 2)
            assert samples.dtype == tf.float32
        assert model(images).shape == (batch, height, width, 2)

    def test_the_same_seed_gives_the_same_samples(self):
        model = self.make()
        images, _ = toy()
        first = model.sample(images, self.num_samples, seed=(3, 4))
        np.testing.assert_array_equal(model.sample(images, self.num_samples, seed=(3, 4)), first)
        np.testing.assert_array_equal(model.sample(tf.constant(images), self.num_samples, seed=np.array([3, 4])), first)

    def test_different_seeds_give_different_samples(self):
        if not self.random_samples:
            pytest.skip("the model has a fixed set of hypotheses")
        model = self.make()
        images, _ = toy()
        seeds = (0, 1), (1, 0), (0, 2), 7
        samples = [model.sample(images, self.num_samples, seed=seed).numpy() for seed in seeds]
        for index, one in enumerate(samples):
            assert all(np.abs(one - other).max() > 0 for other in samples[:index])
        np.testing.assert_array_equal(model.sample(images, self.num_samples, seed=(7, 0)), samples[-1])

    @pytest.mark.parametrize("seed", [(1, 2, 3), 0.5, (1.0, 2.0), "one"])
    def test_a_seed_that_is_none_is_refused(self, seed):
        with pytest.raises(ValueError, match="seed must be an integer or two integers"):
            self.make().sample(toy()[0], seed=seed)

    def test_works_right_after_a_fit_without_build(self):
        """Training steps call the parts of a model alone; the whole must still count as built."""
        images, segmentations = toy()
        for train in ("fit", "train_on_batch"):
            model = self.compiled()
            assert model.built and model.weights  # before the first step, where no graph is being traced
            getattr(model, train)(images, segmentations, **({"verbose": 0} if train == "fit" else {}))
            assert model.sample(images, self.num_samples).shape[0] == len(images)
            assert model(images).shape == (*segmentations.shape, 2)

    def test_works_inside_a_graph_of_the_user(self):
        model = self.make()
        images, _ = toy()
        graph = tf.function(lambda images, seed: model.sample(images, self.num_samples, seed))
        np.testing.assert_allclose(graph(images, tf.constant([0, 1])), model.sample(images, self.num_samples, (0, 1)),
                                   atol=1e-5)

    # --- Learning ---

    def test_fit_lowers_the_loss(self):
        model = self.compiled()
        history = model.fit(*toy(8), batch_size=8, epochs=30, verbose=0).history
        assert np.mean(history["loss"][-3:]) < 0.8 * np.mean(history["loss"][:3])
        assert np.isfinite(history["loss"]).all()

    def test_two_fits_of_one_seed_are_equal_to_the_bit(self):
        models = []
        for _ in range(2):
            model = self.compiled(seed=5)
            model.fit(*toy(8), batch_size=4, epochs=2, shuffle=False, verbose=0)
            models.append(model)
        assert_same_weights(*models)

    def test_fit_in_two_goes_is_fit_in_one(self):
        """What is random in a step depends on the seed and the step number, on nothing that a restart would lose."""
        one, two = self.compiled(), self.compiled()
        one.fit(*toy(8), batch_size=4, epochs=3, shuffle=False, verbose=0)
        two.fit(*toy(8), batch_size=4, epochs=1, shuffle=False, verbose=0)
        tf.random.set_seed(99)
        two.fit(*toy(8), batch_size=4, epochs=3, initial_epoch=1, shuffle=False, verbose=0)
        assert_same_weights(one, two)

    def test_several_classes_three_channels_and_ignored_pixels(self):
        model = self.compiled(num_classes=4, image_channels=3)
        images, segmentations = toy(4, channels=3, num_classes=4, ignore=True)
        history = model.fit(images, segmentations, epochs=2, verbose=0).history
        assert np.isfinite(history["loss"]).all()
        assert model.sample(images, self.num_samples).shape == (4, self.num_samples, 16, 16, 4)

    def test_class_weights_count_in_training_alone(self):
        plain, doubled = self.make(), self.make(class_weights=(2.0, 2.0))
        doubled.set_weights(plain.get_weights())
        images, segmentations = toy()
        for step, factor in ((3, 2), (None, 1)):
            terms = [model.objective(images, segmentations, model.training_noise(images, step), step=step)
                     for model in (plain, doubled)]
            np.testing.assert_allclose(terms[1]["cross_entropy"], factor * terms[0]["cross_entropy"], rtol=1e-5)
        assert doubled.get_config()["class_weights"] == (2.0, 2.0)

    @pytest.mark.parametrize("name", ["instance", "filter_response"])
    def test_normalization_is_trained_and_kept_with_the_weights(self, tmp_path, name):
        model = self.compiled(channels=(4, 8), normalization=name)
        model.fit(*toy(8), verbose=0)
        trained = [variable for variable in model.trainable_variables if "/norm_" in variable.path]
        assert trained and all(np.any(variable != variable.path.endswith("scale")) for variable in trained)  # 1s and 0s
        model.save_weights(tmp_path / "model.weights.h5")
        again = self.make(channels=(4, 8), normalization=name)
        again.build()
        again.load_weights(tmp_path / "model.weights.h5")
        assert_same_weights(model, again)

    def test_labels_of_ignored_pixels_have_no_part_in_the_loss(self):
        model = self.compiled(weight_decay=0.0)
        images, segmentations = toy(4)
        loss = model.evaluate(images, np.full_like(segmentations, IGNORE), return_dict=True, verbose=0)
        assert loss["cross_entropy"] == 0
        model.fit(images, np.full_like(segmentations, IGNORE), verbose=0)
        assert all(np.isfinite(weight).all() for weight in weights_of(model))

    @pytest.mark.parametrize("dtype", ["int64", "uint8"])
    def test_segmentations_may_be_any_integer(self, dtype):
        losses = [self.compiled().train_on_batch(*toy(), return_dict=True)["loss"]]
        images, segmentations = toy()
        losses.append(self.compiled().train_on_batch(images, segmentations.astype(dtype), return_dict=True)["loss"])
        assert losses[0] == losses[1]

    def test_takes_arrays_and_datasets_alike(self):
        images, segmentations = toy(8)
        arrays, dataset = self.compiled(), self.compiled()
        arrays.fit(images, segmentations, batch_size=4, shuffle=False, verbose=0)
        batches = tf.data.Dataset.from_tensor_slices((images, segmentations)).batch(4)
        dataset.fit(batches, verbose=0)
        for weight, expected in zip(weights_of(dataset), weights_of(arrays), strict=True):
            # Another graph, whose sums TensorFlow may order in another way where the batch size is not known.
            np.testing.assert_allclose(weight, expected, atol=1e-5)
        found = [dataset.evaluate(images, segmentations, batch_size=4, verbose=0), dataset.evaluate(batches, verbose=0)]
        np.testing.assert_allclose(*found, rtol=1e-5)
        predicted = dataset.predict(images, verbose=0)
        assert predicted.shape == (8, 16, 16, 2)
        np.testing.assert_allclose(dataset.predict(batches, verbose=0), predicted, atol=1e-5)
        np.testing.assert_allclose(dataset(images), predicted, atol=1e-5)

    def test_fit_reports_one_number_under_each_name(self):
        model = self.compiled()
        images, segmentations = toy()
        history = model.fit(images, segmentations, validation_data=(images, segmentations), verbose=0).history
        names = [metric.name for metric in model.metrics]
        assert len(set(names)) == len(names) and names[0] == "loss" and "gradient_norm" in names
        assert set(history) == {*names, *(f"val_{name}" for name in model.loss_terms)}
        assert all(np.isfinite(values).all() for values in history.values()) and history["gradient_norm"][0] > 0
        assert len(model.train_on_batch(images, segmentations)) == len(names)

    def test_a_training_step_is_traced_once(self, monkeypatch):
        """TensorFlow traces a graph that makes variables twice; the optimizer's are there before."""
        model = self.compiled()
        traced, step = [], model.loss_and_gradients
        monkeypatch.setattr(model, "loss_and_gradients", lambda *inputs: traced.append(1) or step(*inputs))
        model.fit(*toy(8), batch_size=4, epochs=2, verbose=0)
        assert len(traced) == 1

    def test_a_batch_in_parts_is_the_same_step(self):
        images, segmentations = toy(8, ignore=True)
        found = []
        for parts in (1, 3, 20):  # of 8 images: of 2, 3 and 3; and of one each
            model = self.make()
            model.compile(keras.optimizers.SGD(1e-4), accumulation_steps=parts)
            losses = model.train_on_batch(images, segmentations, return_dict=True)
            found.append((losses, [weight.numpy() for weight in model.trainable_weights]))
        for losses, weights in found[1:]:
            assert losses == pytest.approx(found[0][0], rel=1e-4)
            for whole, part in zip(found[0][1], weights, strict=True):
                np.testing.assert_allclose(part, whole, rtol=1e-3, atol=1e-6)
        assert all(np.isfinite(value) for losses, _ in found for value in losses.values())

    def test_reported_loss_is_the_mean_over_images(self):
        """The last batch is smaller; it must not weigh more an image than the others."""
        model = self.compiled(weight_decay=0.0)
        images, segmentations = toy(3)
        segmentations[2] = IGNORE
        found = model.evaluate(images, segmentations, batch_size=2, return_dict=True, verbose=0)["cross_entropy"]
        first = model.evaluate(images[:2], segmentations[:2], batch_size=2, return_dict=True, verbose=0)
        assert found == pytest.approx(first["cross_entropy"] * 2 / 3, rel=1e-4)

    def test_a_sample_weight_of_zero_takes_an_image_out(self):
        images, segmentations = toy(4)
        sample_weight = np.array([1, 1, 1, 0], np.float32)
        model = self.compiled(weight_decay=0.0)
        whole = model.test_on_batch(images, segmentations, sample_weight, return_dict=True)["cross_entropy"]
        segmentations[3] = IGNORE
        ignored = model.test_on_batch(images, segmentations, return_dict=True)["cross_entropy"]
        assert float(whole) == pytest.approx(float(ignored), rel=1e-5)

    def test_sample_weights_train(self):
        images, segmentations = toy(4)
        ones, none = self.compiled(), self.compiled()
        ones.train_on_batch(images, segmentations, np.ones(4, np.float32))
        none.train_on_batch(images, segmentations)
        assert_same_weights(ones, none)

    def test_sample_weights_that_are_not_one_an_image_are_refused(self):
        images, segmentations = toy(4)
        with pytest.raises(ValueError, match="sample_weight must be one number an image"):
            self.compiled().train_on_batch(images, segmentations, np.ones((4, 1), np.float32))

    @pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float64"])
    def test_precisions(self, policy):
        model = self.compiled(dtype=policy)
        images, segmentations = toy()
        samples = model.sample(images, self.num_samples)
        assert samples.dtype == (tf.float64 if policy == "float64" else tf.float32)
        before = weights_of(model)
        # The loss scale of float16 starts so high that some steps are skipped.
        history = model.fit(images, segmentations, epochs=15 if policy == "mixed_float16" else 2, verbose=0).history
        assert np.isfinite(history["loss"]).all()
        assert any(np.any(old != new) for old, new in zip(before, weights_of(model), strict=True))
        assert all(np.isfinite(weight).all() for weight in weights_of(model))

    def test_eager_and_compiled_steps_agree(self):
        images, segmentations = toy()
        losses = []
        for run_eagerly in (True, False):
            model = self.make()
            model.compile("adam", run_eagerly=run_eagerly)
            losses.append(float(model.train_on_batch(images, segmentations, return_dict=True)["loss"]))
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)

    # --- Saving ---

    def test_a_keras_file_holds_all_that_goes_on_training(self, tmp_path):
        model = self.compiled(seed=3)
        images, segmentations = toy(8)
        model.fit(images, segmentations, batch_size=4, shuffle=False, verbose=0)
        model.save(tmp_path / "model.keras")
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras only warns where it gives something up
            loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert type(loaded) is self.model_class and loaded.get_config() == model.get_config()
        np.testing.assert_array_equal(loaded.sample(images, self.num_samples), model.sample(images, self.num_samples))
        np.testing.assert_array_equal(loaded(images), model(images))
        for each in (model, loaded):
            each.fit(images, segmentations, batch_size=4, shuffle=False, verbose=0)
        assert_same_weights(loaded, model)

    def test_a_model_that_never_trained_saves_too(self, tmp_path):
        model = self.make()
        images, _ = toy()
        expected = model.sample(images, self.num_samples)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(loaded.sample(images, self.num_samples), expected)

    @pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
    def test_weights_and_config_make_the_same_model(self, tmp_path, policy):
        model = self.make(dtype=policy)
        model.build()
        model.save_weights(tmp_path / "model.weights.h5")
        keras.utils.set_random_seed(1)
        again = self.model_class.from_config(model.get_config())
        again.build()
        assert again.dtype_policy.name == policy
        again.load_weights(tmp_path / "model.weights.h5")
        assert_same_weights(again, model)
        images, _ = toy()
        np.testing.assert_array_equal(again.sample(images, self.num_samples), model.sample(images, self.num_samples))

    def test_build_is_all_or_nothing_and_may_be_repeated(self):
        model = self.make()
        model.build()
        weights = [id(weight) for weight in model.weights]
        model.build()
        model(toy()[0])
        assert [id(weight) for weight in model.weights] == weights

    # --- What does not fit ---

    def wrong_images(self, model):
        multiple = model.size_multiple
        good, _ = toy(2)
        bad_size = np.zeros((2, 16 * multiple + 1, 16 * multiple, 1), np.float32)
        return {
            "multiples of": bad_size,
            "must be floating point.*uint8.*Divide 8-bit images by 255": (good * 255).astype(np.uint8),
            r"must have shape \[B, H, W, 1\].*16, 3\]": np.repeat(good, 3, axis=-1),
            r"must have shape \[B, H, W, 1\].*Add the batch and channel axes": good[..., 0],
        }

    def test_wrong_images_are_refused_by_every_way_in(self):
        model = self.make()
        for message, images in self.wrong_images(model).items():
            for way_in in (model.sample, model, lambda images: model.predict(images, verbose=0)):
                with pytest.raises(ValueError, match=f"(?s){message}"):
                    way_in(images)

    def test_wrong_images_are_refused_by_fit(self):
        for message, images in self.wrong_images(self.make()).items():
            model = self.compiled()
            with pytest.raises(ValueError, match=f"(?s){message}"):
                model.fit(images, np.zeros(images.shape[:3], np.int32), verbose=0)

    def test_the_message_about_size_gives_the_remedy(self):
        model = self.make(channels=(4, 4, 4, 4))
        with pytest.raises(ValueError) as caught:
            model.sample(np.zeros((1, 100, 100, 1), np.float32))
        assert str(caught.value) == (
            "Image height and width must be multiples of 8 (3 downsamplings). Received: 100x100. Pad to 104x104 or "
            "crop to 96x96."
        )

    @pytest.mark.parametrize("change, message", [
        (lambda segmentations: segmentations[..., None], "without channels.*drop a channel axis"),
        (lambda segmentations: segmentations.astype(np.float32), "must be integer class maps. Received: float32"),
        (lambda segmentations: segmentations[:, :8], "must have the images' shape"),
        (lambda segmentations: segmentations[:, None], "Pick one grader"),
    ])
    def test_wrong_segmentations_are_refused_by_fit_and_evaluate(self, change, message):
        images, segmentations = toy()
        for method in ("fit", "evaluate"):
            with pytest.raises(ValueError, match=f"(?s){message}"):
                getattr(self.compiled(), method)(images, change(segmentations), verbose=0)

    def test_images_without_segmentations_are_refused_by_fit(self):
        with pytest.raises(ValueError, match="pairs. Received images alone"):
            self.compiled().fit(toy()[0], verbose=0)

    @pytest.mark.parametrize("arguments", [{"loss": "mse"}, {"metrics": ["accuracy"]}, {"loss_weights": [1.0]}])
    def test_what_compile_would_not_use_it_refuses(self, arguments):
        with pytest.raises(ValueError, match="has its own objective"):
            self.make().compile("adam", **arguments)

    @pytest.mark.parametrize("arguments, message", [
        ({"num_classes": 1}, "at least 2"), ({"channels": ()}, "at least one resolution"),
        ({"class_weights": (1.0,)}, r"class_weights must be 2 numbers.*Received: \(1.0,\)"),
        ({"class_weights": (1.0, -1.0)}, "none below 0"), ({"class_weights": (0.0, 0.0)}, "and one above"),
    ])
    def test_wrong_arguments_are_refused(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            self.make(**arguments)
