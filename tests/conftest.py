"""What several test files share: a tiny dataset, a way to write others, and the real data where it is there."""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is imported, by any test file

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

# No deadline: the first call of a TensorFlow function traces it. The same examples each time: a failure is a change.
settings.register_profile("tf_probunet", deadline=None, derandomize=True)
settings.load_profile("tf_probunet")


# Minutes each: begun first, or one worker would be left with them at the end, however few tests they hold.
LONG_FILES = ("test_two_modes.py", "test_prepare_lidc.py", "test_comparison.py", "test_readme.py",
              "test_training_resume.py", "test_training_refused.py", "test_training.py", "test_devices.py",
              "test_training_models.py", "test_ensemble_training.py", "test_saved_model.py", "test_comparison_page.py",
              "test_client.py", "test_serve_changes.py", "test_serve_clients.py", "test_killed_export.py",
              "test_guide.py", "test_explore_page.py", "test_explore_troubles.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONG_FILES.index(item.path.name) if item.path.name in LONG_FILES else len(LONG_FILES))


@pytest.fixture(autouse=True)
def seeded():
    """Weights that a test does not seed itself are the same in every run, alone or after others."""
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)


def ellipse(size, center, radii, angle):
    """A filled ellipse, [size, size] bool."""
    rows, columns = np.indices((size, size)) - np.reshape(center, (2, 1, 1))
    along = columns * np.cos(angle) + rows * np.sin(angle)
    across = rows * np.cos(angle) - columns * np.sin(angle)
    return (along / radii[0]) ** 2 + (across / radii[1]) ** 2 <= 1


def ellipse_record(seed, group, size=32, graders=4):
    """A bright ellipse in noise; each grader draws it larger, smaller or shifted, and one in four draws nothing."""
    from tf_probunet.data.writer import Record

    rng = np.random.default_rng(seed)
    center, radii, angle = rng.uniform(size * 0.35, size * 0.65, 2), rng.uniform(4, 9, 2), rng.uniform(0, np.pi)
    image = rng.normal(90, 15, (size, size)) + 90 * ellipse(size, center, radii, angle)
    masks = [
        ellipse(size, center + rng.normal(0, 1, 2), radii * rng.uniform(0.7, 1.3), angle) & (rng.uniform() > 0.25)
        for _ in range(graders)
    ]
    return Record(
        np.clip(image, 0, 255).astype(np.uint8)[..., None], np.stack(masks).astype(np.uint8), f"{group}/{seed:03d}",
        group, {"z_mm": float(seed), "series_instance_uid": f"1.2.{seed}"},
    )


@pytest.fixture(scope="session")
def write_dataset():
    """A function (folder, {split: records}, **writer options) that writes a dataset and returns its `DatasetInfo`."""
    from tf_probunet.data.dataset import load_info
    from tf_probunet.data.writer import DatasetWriter

    def write(folder, splits, **options):
        options = {"classes": ("background", "lesion"), "source": "made by the tests", "licence": "CC0",
                   "preparation": {"command": "tests"}, "records_per_shard": 5, **options}
        with DatasetWriter(folder, splits=tuple(splits), **options) as writer:
            for split, records in splits.items():
                for record in records:
                    writer.write(split, record)
        return load_info(folder)

    return write


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory, write_dataset):
    """24 training and 8 validation images, 32x32, four graders, two images a patient. Not to be changed."""
    folder = tmp_path_factory.mktemp("tiny") / "ellipses"
    write_dataset(folder, {
        "train": [ellipse_record(seed, f"patient{seed // 2:02d}") for seed in range(24)],
        "val": [ellipse_record(seed, f"patient{seed // 2:02d}") for seed in range(24, 32)],
    })
    return folder


@pytest.fixture(scope="session")
def tiny_info(tiny_folder):
    """`DatasetInfo` of `tiny_folder`."""
    from tf_probunet.data.dataset import load_info

    return load_info(tiny_folder)


@pytest.fixture(scope="session")
def shared_data():
    """The folder with real data beside the repository; tests that need it are skipped where it is absent."""
    folder = Path(__file__).parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the real data of ../shared/data")
    return folder


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory, tiny_info):
    """A run folder: a tiny model trained for a few steps on `tiny_folder`. Not to be changed."""
    from tf_probunet.presets import preset
    from tf_probunet.training import train

    experiment = preset("demo").replace(
        channels=(4, 8), latent_dim=3, combiner_channels=(8, 8), crop_size=(32, 32), batch_size=4, steps=6,
        steps_per_epoch=3, validation_images=4, validation_samples=2, precision="float32",
    )
    folder = tmp_path_factory.mktemp("tiny_run") / "run"
    train(experiment, tiny_info, folder, report=lambda line: None)
    return folder


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory, tiny_info):
    """A whole run of `whole_run.TINY`: its folder, the model and what it reported. Not to be changed."""
    from tf_probunet.training import train
    from whole_run import TINY

    run, lines = tmp_path_factory.mktemp("training") / "unbroken", []
    model = train(TINY, tiny_info, run, report=lines.append)
    return run, model, lines


@pytest.fixture(scope="session")
def tiny_version(tmp_path_factory, tiny_run):
    """Version 1 of the exported `tiny_run`. Not to be changed."""
    from tf_probunet.export.run import export_run

    return export_run(tiny_run, tmp_path_factory.mktemp("saved_models") / "tiny")
