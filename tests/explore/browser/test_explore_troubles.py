"""What goes wrong, and what is not known, told in words on the page; whatever still can work goes on working."""

import numpy as np
import pytest
from PIL import Image

from tf_probunet.data.dataset import ImageEncoding
from tf_probunet.data.writer import Record
from tf_probunet.explore.cases import DatasetCases, FileCases
from tf_probunet.explore.combiner_file import ConvertedCombiner, GivenCombiner
from tf_probunet.explore.models import LocalModel
from tf_probunet.explore.session import Session
from tf_probunet.serving.errors import ServingError

FAILED_LOAD = "Failed to load resource"  # how Chromium notes each answer that is no success


@pytest.fixture
def page_of(open_page, serve_session, lidc, phantom_session):
    """A function: a session's parts, by default those of `phantom_session` -> the page over it."""
    def start(model=None, combiner=None, cases=None, size="desk", expected_errors=()):
        session = Session(model or phantom_session.model, combiner or phantom_session.combiner,
                          cases or phantom_session.cases)
        served = serve_session(session)
        return open_page(served.address, size=size, expected_errors=expected_errors), served

    return start


@pytest.mark.parametrize("shape, words", [
    ((64, 64, 8, 3, 2), "it has 8 feature channels, 3 latent dimensions; this model has 32 feature channels, 6 latent"),
    ((64, 64, 32, 6, 3), "of another model: it has 3 classes; this model has 2 classes"),
    ((32, 48, 32, 6, 2), "is for features of 32x48 pixels; this image's are 64x64. Convert one for that size"),
    ((64, 64, 32, 6, 2), "draws another segmentation than the model itself"),
])
def test_a_combiner_that_does_not_fit_is_refused(page_of, combiner_of, tmp_path, shape, words):
    (tmp_path / "other.tflite").write_bytes(combiner_of(*shape))
    view, _ = page_of(combiner=GivenCombiner(tmp_path / "other.tflite"))
    found = view.message(words)
    assert not found["ready"] and found["mask"] is None, "nothing is drawn that might be believed"
    assert view.page.locator("#export-png").is_disabled() and view.page.locator("#wall .tile").count() == 0
    assert "phantom" in view.page.inner_text("#name"), "the image itself is shown"


def test_a_file_of_another_version_is_refused(page_of, lidc, tmp_path, phantom_session):
    from tf_probunet.edge.tflite_file import TfliteFile

    content = phantom_session.combiner.of_size((64, 64)).with_metadata({"saved_model_sha256": "0123456789abcdef"})
    file = TfliteFile(content)
    file.metadata = {"saved_model_sha256": "0123456789abcdef"}

    class Stale:
        def of_size(self, size):
            return file

    view, _ = page_of(combiner=Stale())
    view.message("was made from another version of a model (0123456789ab…)")


def test_a_server_that_goes_while_one_drags(page_of):
    view, served = page_of(expected_errors=(FAILED_LOAD,))
    before = view.ready()
    x, y, unit = view.plane()
    view.page.mouse.move(x, y)
    view.page.mouse.down()
    view.page.mouse.move(x + unit, y + unit, steps=4)
    served.stop()
    view.page.mouse.move(x - 1.5 * unit, y - 1.9 * unit, steps=4)
    view.page.mouse.up()
    found = view.settled(lambda found: (found["mask"] != before["mask"]).any())
    assert found["mask"].any(), "hypotheses go on"
    view.message("probunet explore does not answer any more. What is on the page still works")
    assert "server away" in view.page.inner_text("#status")
    view.page.keyboard.press("1")
    assert view.settled(lambda found: found["place"]["sample"] is not None)
    view.page.keyboard.press("]")
    assert view.message("does not answer any more")["place"]["index"] == 0


def test_a_model_server_that_goes_and_comes_back(page_of, phantom_session):
    class Remote:
        away = False

        def __getattr__(self, name):
            return getattr(phantom_session.model, name)

        def trunk(self, images):
            self.check_alive()
            return phantom_session.model.trunk(images)

        def check_alive(self):
            if self.away:
                raise ServingError("lidc at localhost:8500: connection refused (UNAVAILABLE).", "UNAVAILABLE")

    remote = Remote()
    view, _ = page_of(model=remote, expected_errors=(FAILED_LOAD,))
    view.ready()
    remote.away = True
    view.page.keyboard.press("]")
    found = view.message("lidc at localhost:8500: connection refused")
    assert found["place"]["index"] == 0 and found["ready"]
    view.drag((0, 0), (1, 1))
    view.settled()
    remote.away = False
    view.page.click("#retry")
    view.ready(1)
    assert view.read()["message"] is None and not view.page.locator("#message").is_visible()


def test_files_without_spacing_in_8_and_16_bit_and_what_cannot_be_read(page_of, lidc, tmp_path, grey, session_of):
    Image.fromarray(grey).save(tmp_path / "eight.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "sixteen.png")
    Image.fromarray(grey[:60, :50]).save(tmp_path / "odd.png")
    (tmp_path / "broken.png").write_bytes(b"no PNG")
    np.save(tmp_path / "floats.npy", grey.astype(np.float32) / 255)
    paths = [tmp_path / name for name in ("eight.png", "sixteen.png", "odd.png", "broken.png", "floats.npy")]
    view, _ = page_of(cases=FileCases(paths, lidc.image), expected_errors=(FAILED_LOAD,))
    eight = view.ready(0)
    assert eight["window"] == {"width": 255, "level": 127.5}
    assert "pixel size not known" in view.page.inner_text("#facts") and "No graders" in view.page.inner_text("#layers")
    text = view.page.inner_text("#presence") + view.page.inner_text("#chosen") + view.page.inner_text("#scale")
    assert "px" in text and "mm" not in text
    assert session_of(view)["image"]["pixel_spacing_mm"] is None
    masks = view.wall()
    assert masks.any()
    view.page.keyboard.press("]")
    sixteen = view.ready(1)
    assert sixteen["window"] == {"width": 65535, "level": 32767.5}
    np.testing.assert_array_equal(view.wall(), masks)
    view.page.keyboard.press("]")
    view.message("multiples of 16")
    assert view.read()["place"]["index"] == 1, "what was there stays"
    view.page.fill("#index", "4")
    view.page.press("#index", "Enter")
    view.message("Cannot read")
    view.page.fill("#index", "5")
    view.page.press("#index", "Enter")
    view.ready(4)
    np.testing.assert_array_equal(view.wall(), masks)
    assert view.read()["message"] is None and view.read()["window"] == {"width": 1, "level": 0.5}


def test_ct_in_hounsfield_units_has_its_windows(page_of, lidc, tmp_path, grey, write_dataset):
    encoding = ImageEncoding(bits=16, offset=-1024.0, unit="HU", low=-1000.0, high=400.0)
    stored = (24 + grey.astype(np.float64) / 255 * 1400).astype(np.uint16)[..., None]
    info = write_dataset(tmp_path / "data", {"val": [
        Record(stored, np.zeros((2, 64, 64), np.uint8), "a", "a", {"pixel_spacing_mm": 0.5}),
        Record(stored, np.ones((1, 64, 64), np.uint8), "b", "b"),
    ]}, image=encoding)
    view, _ = page_of(cases=DatasetCases(info, "val"))
    view.ready()
    assert view.read()["window"] == {"width": 1400, "level": -300}
    view.page.select_option("#presets", label="Lung 1500 / −600")
    assert view.read()["window"] == {"width": 1500, "level": -600}
    assert "mm" in view.page.inner_text("#scale") and "Graders 0 of 2" in view.page.inner_text("#layers")
    box = view.page.locator("#image").bounding_box()
    view.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert " HU " in view.page.inner_text("#readout")
    view.page.keyboard.press("]")
    view.ready(1)
    assert view.read()["window"] == {"width": 1500, "level": -600}, "the window stays from image to image"
    assert "px" in view.page.inner_text("#scale"), "one image's spacing is not another's"


def test_several_classes(page_of, tmp_path, grey):
    """Colour images, five classes, an untrained model: names and numbers beside colours."""
    import keras

    from tf_probunet.export.exported import ExportedModel
    from tf_probunet.export.saved_model import export
    from tf_probunet.models import ProbabilisticUNet

    keras.utils.set_random_seed(1)
    tiny = ProbabilisticUNet(num_classes=5, image_channels=3, channels=(4, 8), latent_dim=3, combiner_channels=(8, 8),
                             initializer="he_normal")
    tiny.build()
    for kernel in (layer.kernel for layer in (*tiny.combiner.hidden, tiny.combiner.logits)):
        kernel.assign(5 * keras.random.normal(kernel.shape))  # large enough for every class to be somewhere
    model = ExportedModel(export(tiny, tmp_path / "tiny", check_size=(16, 16)))
    Image.fromarray(np.stack([grey, grey[::-1], grey.T], -1)).save(tmp_path / "colour.png")
    view, _ = page_of(model=LocalModel(model), combiner=ConvertedCombiner(model),
                      cases=FileCases([tmp_path / "colour.png"], ImageEncoding(channels=3)))
    found = view.ready()
    assert len(np.unique(found["mask"])) > 1
    shown = view.page.inner_text("#legend").split("\n")
    names = ["background", *(f"class {k}" for k in range(1, 5))]
    assert [line.split() for line in shown] == [[str(k), *names[k].split()] for k in np.unique(found["mask"])]
    view.page.select_option("#class", "2")
    areas = (view.wall() == 2).sum(axis=1)
    assert f"{round(100 * np.count_nonzero(areas) / 64)} %" in view.page.inner_text("#presence")
    assert "Class 2 in" in view.page.inner_text("#presence")


@pytest.mark.parametrize("size", ["desk", "tablet"])
def test_everything_has_its_place(open_page, phantom_page, size):
    view = open_page(phantom_page.address, size=size)
    view.ready()
    view.drag((0, 0), (2, 2))
    view.settled()
    view.page.wait_for_timeout(100)
    problems = view.page.evaluate("""() => {
      const found = [], {clientWidth, scrollWidth, scrollHeight} = document.documentElement;
      if (scrollWidth > clientWidth) found.push(`wider than the window: ${scrollWidth}`);
      if (scrollHeight > innerHeight) found.push(`higher than the window: ${scrollHeight}`);
      for (const bar of document.querySelectorAll('header, footer, .bar, .layers, .window, .export, .spread')) {
        const boxes = [...bar.children].filter((one) => one.offsetWidth).map((one) => [one, one.getBoundingClientRect()]);
        const around = bar.getBoundingClientRect();
        for (const [one, box] of boxes) {
          if (box.right > around.right + 1 || box.left < around.left - 1)
            found.push(`${one.id || one.textContent} leaves its bar`);
          for (const [other, next] of boxes)
            if (one !== other && box.left < next.right - 1 && next.left < box.right - 1 &&
                box.top < next.bottom - 1 && next.top < box.bottom - 1)
              found.push(`${one.id || one.className} lies over ${other.id || other.className}`);
        }
      }
      for (const button of document.querySelectorAll('button, select, h2'))
        if (button.offsetWidth && button.scrollWidth > button.clientWidth + 2 && button.id !== 'presence')
          found.push(`${button.id || button.textContent} is cut`);
      for (const control of document.querySelectorAll('button, select, input'))
        if (!(control.textContent.trim() || control.getAttribute('aria-label') || control.labels?.length))
          found.push(`${control.id} has no name`);
      return found;
    }""")
    assert problems == []
