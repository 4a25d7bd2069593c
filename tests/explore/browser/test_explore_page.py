"""The page in a browser: what is drawn is what Keras draws, and every control does what it says."""

import json

import numpy as np
import pytest
from PIL import Image

from tf_probunet.export.rebuilt import rebuilt_model

MARGIN = 1e-3  # logits; where two classes are closer, float32 may put either first


@pytest.fixture(scope="module")
def keras_masks(lidc, phantom_session):
    """A function (image index, latents [M, N]) -> class maps [M, H, W] of the Keras model and where they are sure."""
    model = rebuilt_model(lidc)

    def masks(index, latents):
        features = model.features(phantom_session.cases[index].network_input[None])
        logits = np.asarray(model.decode(features, np.asarray(latents, np.float32)[None]))[0]
        ordered = np.sort(logits, axis=-1)
        return logits.argmax(-1), ordered[..., -1] - ordered[..., -2] > MARGIN

    return masks


def assert_masks(found, expected, sure, size=(64, 64)):
    found = np.reshape(found, (-1, *size))
    assert sure.mean() > 0.99
    np.testing.assert_array_equal(found[sure], expected[sure])


def test_the_wall_is_what_keras_samples(view, lidc, phantom_session, keras_masks):
    found, case = view.read(), phantom_session.cases[0]
    assert found["backend"] == "wasm" and found["message"] is None
    samples, _ = lidc.sample(case.network_input[None], 64, seed=(0, 0))
    session = view.page.evaluate("window.__probunet.session()")
    prior = session["prior"]
    noise = np.array([sample["noise"] for sample in session["wall"]["samples"]])
    expected, sure = keras_masks(0, np.array(prior["mean"]) + np.array(prior["stddev"]) * noise)
    assert_masks(view.wall(), expected, sure)
    assert_masks(view.wall(), samples[0], sure)
    assert len({mask.tobytes() for mask in samples[0]}) == len(found["groups"]) > 10
    assert sorted(member for group in found["groups"] for member in group["members"]) == list(range(64))
    tiles = view.page.locator("#wall .tile")
    assert tiles.count() == len(found["groups"])
    largest = max(found["groups"], key=lambda group: len(group["members"]))
    words = tiles.nth(found["groups"].index(largest)).get_attribute("aria-label")
    assert f"{len(largest['members'])} of 64 samples ({round(100 * len(largest['members']) / 64)} %)" in words
    assert "equals the model’s own combiner" in view.page.inner_text("#status")


def test_a_drag_draws_what_keras_draws(view, keras_masks):
    before = view.read()
    view.drag((0, 0), (1.2, 0.8), (-1.5, 1.9))
    found = view.settled(lambda found: (found["mask"] != before["mask"]).any())
    across, up = found["place"]["axes"]
    assert np.allclose([found["place"]["u"][across], found["place"]["u"][up]], [-1.5, 1.9], atol=0.03)
    expected, sure = keras_masks(0, [found["latents"]])
    assert expected.any()
    assert_masks(found["mask"], expected, sure)
    assert len(found["dragged"]) >= 2, "the mask followed while the point moved"


def test_the_canvas_shows_the_outline_of_the_mask(view):
    for layer in ("layer-graders", "layer-mean", "layer-mean"):  # contours, heat, off
        view.page.click(f"#{layer}")
    groups, masks = view.read()["groups"], view.wall()
    group = max(range(len(groups)), key=lambda i: masks[groups[i]["shown"]].sum())
    view.page.locator("#wall .tile").nth(group).click()
    found = view.settled(lambda found: found["place"]["sample"] is not None)
    mask, at = np.reshape(found["mask"], (64, 64)), found["view"]
    pixels = np.array(view.page.evaluate("""() => {
      const canvas = document.getElementById('image'), {width, height} = canvas;
      const data = canvas.getContext('2d').getImageData(0, 0, width, height).data, found = [];
      for (let i = 0; i < width * height; i++)
        if (data[4 * i] > 230 && data[4 * i + 1] > 150 && data[4 * i + 1] < 200 && data[4 * i + 2] < 60)
          found.push([i % width, Math.floor(i / width)]);
      return found;
    }"""))
    where = (pixels + 0.5 - [at["x"], at["y"]]) / at["scale"]  # columns and rows of the image
    padded = np.pad(mask, 1)
    edge = [(x + 1, y + 0.5) for y in range(64) for x in range(-1, 64) if padded[y + 1, x + 1] != padded[y + 1, x + 2]]
    edge += [(x + 0.5, y + 1) for y in range(-1, 64) for x in range(64) if padded[y + 1, x + 1] != padded[y + 2, x + 1]]
    far = np.hypot(*(where[:, None] - np.array(edge)[None]).transpose(2, 0, 1))
    assert mask.any() and far.min(axis=1).max() < 1.1, "no orange away from the edge of the mask"
    assert far.min(axis=0).max() < 1.1, "and orange at all of it"


def test_exports_hold_the_hypothesis(view, export, session_of):
    view.page.keyboard.press("3")
    found = view.settled(lambda found: found["place"]["sample"] is not None)
    sample = found["groups"][2]["shown"]
    assert found["place"]["sample"] == sample
    mask = np.reshape(found["mask"], (64, 64)).astype(np.uint8)
    np.testing.assert_array_equal(mask.ravel(), view.wall()[sample])
    array = np.load(export(view, "export-npy"))
    assert array.dtype == np.uint8
    np.testing.assert_array_equal(array, mask)
    path = export(view, "export-png")
    with Image.open(path) as image:
        assert image.mode == "P" and image.getpalette()[:6] == [0, 0, 0, 230, 159, 0]
        np.testing.assert_array_equal(np.asarray(image), mask)
    assert path.name.endswith(f"_seed0_sample{sample}.png") and "/" not in path.name
    session = session_of(view)
    assert session["hypothesis"]["area_px"] == mask.sum() and session["hypothesis"]["sample"] == sample
    np.testing.assert_allclose(session["hypothesis"]["latents"], found["latents"], atol=1e-6)
    assert session["wall"]["count"] == 64
    assert sum(group["share"] for group in session["wall"]["groups"]) == pytest.approx(1)
    assert session["image"]["pixel_spacing_mm"] > 0.3 and session["model"].startswith("lidc version")
    areas = view.wall().sum(axis=1).tolist()
    assert [one["area_px"] for one in session["wall"]["samples"]] == areas
    assert session["wall"]["present"] == np.count_nonzero(areas)
    assert f"{round(100 * np.count_nonzero(areas) / 64)} %" in view.page.inner_text("#presence")


def test_undo_and_redo_walk_back_and_forth(view):
    assert view.page.locator("#redo").is_disabled()
    view.drag((0, 0), (1, 1))
    moved = view.settled()
    view.page.keyboard.press("2")
    picked = view.settled(lambda found: found["place"]["sample"] is not None)
    wall = view.wall()
    view.page.keyboard.press("n")
    view.wait(lambda found: found["seed"] == 1, "another wall")
    assert (view.wall() != wall).any()
    view.page.keyboard.press("Control+z")
    view.wait(lambda found: found["seed"] == 0 and found["place"]["sample"] is not None, "the first wall")
    np.testing.assert_array_equal(view.wall(), wall)
    view.page.keyboard.press("Control+z")
    back = view.settled(lambda found: found["place"]["sample"] is None)
    np.testing.assert_array_equal(back["mask"], moved["mask"])
    view.page.click("#redo")
    again = view.settled(lambda found: found["place"]["sample"] is not None)
    np.testing.assert_array_equal(again["mask"], picked["mask"])
    view.page.keyboard.press("]")
    view.ready(1)
    view.page.keyboard.press("Control+z")
    again = view.wait(lambda found: found["ready"] and found["place"]["sample"] is not None, "the first image")
    np.testing.assert_array_equal(again["mask"], picked["mask"])


def test_keys_move_point_and_image(view):
    start = view.read()["place"]
    across, up = start["axes"]
    view.page.keyboard.press("ArrowRight")
    view.page.keyboard.press("Shift+ArrowUp")
    found = view.settled()["place"]["u"]
    assert np.allclose([found[across], found[up]], [0.1, 0.5])
    view.page.keyboard.press("Home")
    assert not any(view.settled()["place"]["u"])
    for key, index in (("]", 1), ("]", 2), ("]", 2), ("[", 1)):
        view.page.keyboard.press(key)
        view.ready(index)
    view.page.keyboard.press("?")
    assert view.page.locator("#helping").is_visible()
    view.page.keyboard.press("Escape")
    assert not view.page.locator("#helping").is_visible()
    view.page.fill("#index", "3")
    view.page.press("#index", "Enter")
    view.ready(2)
    view.page.fill("#index", "9")
    view.page.press("#index", "Enter")
    view.message("There are images 1 to 3.")


def test_sliders_axes_groups_and_measures(view):
    first = view.read()
    view.page.locator("#latent-1").focus()
    view.page.keyboard.press("End")
    assert view.settled(lambda found: found["place"]["u"][0] == 3)["mask"] is not None
    view.page.get_by_label("Latent 1 goes across in the plane").click()
    view.page.get_by_label("Latent 2 goes up in the plane").click()
    assert view.read()["place"]["axes"] == [0, 1]
    view.page.get_by_text("0.75", exact=True).click()
    grouped = view.read()["groups"]
    assert 1 < len(grouped) < len(first["groups"])
    masks = view.wall().astype(bool)
    for group in grouped:  # no two of a group differ by more than 0.25
        for one in group["members"]:
            for other in group["members"]:
                either = (masks[one] | masks[other]).sum()
                assert not either or (masks[one] & masks[other]).sum() / either >= 0.75
    assert "mm" in view.page.inner_text("#presence") and "mm²" not in view.page.inner_text("#presence")
    view.page.select_option("#measure", "area")
    assert "mm²" in view.page.inner_text("#presence")


def test_window_level_and_zoom(view):
    first = view.read()
    assert first["window"] == {"width": 255, "level": 127.5}
    box = view.page.locator("#image").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    view.page.keyboard.down("Shift")
    view.page.mouse.move(x, y)
    view.page.mouse.down()
    view.page.mouse.move(x - 80, y + 40, steps=4)
    view.page.mouse.up()
    view.page.keyboard.up("Shift")
    window = view.read()["window"]
    assert window["width"] < 255 and window["level"] > 127.5
    view.page.select_option("#presets", label="Model’s window")
    assert view.read()["window"] == first["window"]
    view.page.mouse.move(x, y)
    view.page.mouse.wheel(0, -400)
    view.wait(lambda found: found["zoom"] > 2, "zoom")
    view.page.mouse.down()
    view.page.mouse.move(x + 60, y + 30, steps=3)
    view.page.mouse.up()
    moved = view.read()["view"]
    view.page.mouse.move(x + 61, y + 30)
    assert "x " in view.page.inner_text("#readout") and "lesion" in view.page.inner_text("#readout")
    view.page.keyboard.press("0")
    assert view.read()["zoom"] == 1 and view.read()["view"] == first["view"] != moved


def test_it_is_quick(open_page, lidc, phantom_folder, serve_session):
    """At 128x128. The bounds leave room for a busy machine; docs/explore.md has the figures of a quiet one."""
    from tf_probunet.data.dataset import load_info
    from tf_probunet.explore.cases import DatasetCases
    from tf_probunet.explore.combiner_file import ConvertedCombiner
    from tf_probunet.explore.models import LocalModel
    from tf_probunet.explore.session import Session

    session = Session(LocalModel(lidc), ConvertedCombiner(lidc), DatasetCases(load_info(phantom_folder), "val"))
    view = open_page(serve_session(session).address)
    found = view.ready()
    assert len(found["mask"]) == 128 * 128 and found["wallMilliseconds"] < 3000
    view.drag((0, 0), (2, 1), (-2, -1), (1, -2), steps=34)
    found = view.settled(lambda found: len(found["dragged"]) > 30)
    print(json.dumps({"drag_to_mask_ms": np.median(found["dragged"]), "of": len(found["dragged"]),
                      "ms_a_hypothesis": np.median(found["computed"]), "wall_ms": found["wallMilliseconds"]}))
    assert np.median(found["dragged"]) < 120
