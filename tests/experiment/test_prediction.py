"""Masks for image files: their sizes and values, ensembles, hints, and what cannot be read."""

import re
from itertools import product

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seglib import weights
from seglib.__main__ import main
from seglib.data.images import read_rough_mask
from seglib.experiment import make_model
from seglib.prediction import predict_files, read_hint, read_images
from seglib.reports import find_report
from seglib.reports.base import probability
from seglib.reports.neural_segmentello.refinement import refine, window
from seglib.rows import load_row
from seglib.weights import WeightsError

SIZES = {"wide": (13, 37), "high": (41, 9), "dot": (1, 1)}


@pytest.fixture(scope="module")
def row():
    return load_row("denoising", "report", overrides={"model.widths": [4, 8]})


def network(row, seed=0, bias=None):
    """An untrained network; with a bias, one whose logit is that number everywhere."""
    torch.manual_seed(seed)
    model = make_model(row).eval()
    if bias is not None:
        nn.init.zeros_(model.head.weight)
        nn.init.constant_(model.head.bias, bias)
    return model


def save(model, path):
    weights.save(model, path)
    return path


@pytest.fixture
def images(tmp_path):
    """Grey pictures of several sizes, none of them square but one."""
    rng, paths = np.random.default_rng(0), {}
    for name, size in SIZES.items():
        paths[name] = tmp_path / f"{name}.png"
        cv2.imwrite(str(paths[name]), rng.integers(0, 256, size, np.uint8))
    return paths


def grey(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def by_hand(models, image):
    """Mean of the probabilities of networks for a grey 8-bit image."""
    batch = torch.tensor(image / 255, dtype=torch.float32)[None, None]
    with torch.no_grad():
        return np.mean([torch.sigmoid(model.eval()(batch))[0, 0].numpy() for model in models], axis=0)


def balanced(row, image, seed=0):
    """An untrained network that finds about half of `image`, and no pixel of it by a hair's breadth."""
    model = network(row, seed)
    logits = np.sort(np.log(1 / (1 / by_hand([model], image).astype(float) - 1)), axis=None)
    middle = logits[len(logits) // 3 : -len(logits) // 3]
    widest = np.diff(middle).argmax()
    model.head.bias.data -= (middle[widest] + middle[widest + 1]) / 2
    return model


def test_masks_have_their_images_size_and_are_black_and_white(row, images, tmp_path):
    model = balanced(row, grey(images["wide"]))
    path = save(model, tmp_path / "model.safetensors")
    out = tmp_path / "new" / "masks"
    assert predict_files(row, list(images.values()), out, [path]) == []
    assert sorted(p.name for p in out.iterdir()) == sorted(f"{name}.png" for name in SIZES)
    for name, size in SIZES.items():
        mask = grey(out / f"{name}.png")
        assert mask.shape == size
        assert mask.dtype == np.uint8
        assert np.array_equal(mask, 255 * (by_hand([model], grey(images[name])) >= 0.5))
    assert set(np.unique(grey(out / "wide.png"))) == {0, 255}


def test_an_ensemble_averages_probabilities(row, images):
    image = grey(images["wide"])
    one, two = network(row, 1), network(row, 2)
    assert np.abs(by_hand([one], image) - by_hand([two], image)).max() > 0.05
    np.testing.assert_allclose(probability([one, two], image), by_hand([one, two], image), atol=1e-6)


@pytest.mark.parametrize(
    ("probabilities", "foreground"),
    [
        # The mean of the probabilities says one thing; that of the logits, or a vote, would say another.
        ((0.9, 0.6, 0.005), True),
        ((0.99, 0.3, 0.25), True),
        ((0.01, 0.7, 0.75), False),
        ((0.5,), True),
        ((0.49, 0.5), False),
    ],
)
def test_an_ensemble_is_cut_at_one_half(row, images, tmp_path, probabilities, foreground):
    files = [
        save(network(row, bias=float(np.log(p / (1 - p)))), tmp_path / f"{i}.safetensors")
        for i, p in enumerate(probabilities)
    ]
    predict_files(row, [images["wide"]], tmp_path / "masks", files)
    assert np.unique(grey(tmp_path / "masks" / "wide.png")).tolist() == [255 if foreground else 0]


def test_colour_and_16_bit_pictures_become_grey(row, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (11, 17), np.uint8)
    model = balanced(row, image)
    cv2.imwrite(str(tmp_path / "grey.png"), image)
    cv2.imwrite(str(tmp_path / "colour.png"), np.dstack([image] * 3))
    cv2.imwrite(str(tmp_path / "deep.png"), image.astype(np.uint16) * 257)
    paths = [tmp_path / f"{name}.png" for name in ("grey", "colour", "deep")]
    assert predict_files(row, paths, tmp_path / "masks", [save(model, tmp_path / "model.safetensors")]) == []
    masks = [grey(tmp_path / "masks" / path.name) for path in paths]
    assert np.array_equal(masks[0], 255 * (by_hand([model], image) >= 0.5))
    assert np.array_equal(masks[1], masks[0])
    assert np.array_equal(masks[2], masks[0])


def test_a_network_for_colour_sees_red_first(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (5, 8, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "image.png"), image[..., ::-1])  # OpenCV writes blue first
    ((stem, found),) = read_images(tmp_path / "image.png", 3, find_report("face_masks").pictures)
    assert stem == "image"
    assert np.array_equal(found, image)
    row = load_row("face_masks", "model-2", overrides={"model.widths": [4]})
    path = save(network(row), tmp_path / "model.safetensors")
    assert predict_files(row, [tmp_path / "image.png"], tmp_path / "masks", [path]) == []
    assert grey(tmp_path / "masks" / "image.png").shape == (5, 8)


@pytest.mark.parametrize("key", ["images", "arr_0"])
def test_npz_files(row, tmp_path, key):
    stack = np.random.default_rng(0).integers(0, 256, (3, 11, 18), np.uint8)
    model = balanced(row, stack[0])
    np.savez_compressed(tmp_path / "set.npz", **{key: stack})
    path = save(model, tmp_path / "model.safetensors")
    assert predict_files(row, [tmp_path / "set.npz"], tmp_path / "masks", [path]) == []
    assert sorted(p.name for p in (tmp_path / "masks").iterdir()) == [f"set_0000{i}.png" for i in range(3)]
    for i, image in enumerate(stack):
        assert np.array_equal(grey(tmp_path / f"masks/set_0000{i}.png"), 255 * (by_hand([model], image) >= 0.5))


def bad_input(folder, kind):
    """An input that cannot be read, and its path."""
    path = folder / ("bad.npz" if "npz" in kind else "bad.png")
    good = folder / "good.npz"
    np.savez_compressed(good, images=np.random.default_rng(0).integers(0, 256, (2, 20, 30), np.uint8))
    content = good.read_bytes()
    if kind in ("empty", "empty npz"):
        path.touch()
    elif kind in ("text", "text npz"):
        path.write_text("no image")
    elif kind == "cut npz":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "damaged npz":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :])
    elif kind == "npy as npz":
        with path.open("wb") as file:
            np.save(file, np.zeros((2, 4, 6), np.uint8))
    elif kind == "npz of no array":
        np.savez(path)
    elif kind == "npz of floats":
        np.savez(path, images=np.zeros((2, 4, 6)))
    elif kind == "npz of one image":
        np.savez(path, images=np.zeros((4, 6), np.uint8))
    elif kind == "npz of no pixels":
        np.savez(path, images=np.zeros((2, 0, 6), np.uint8))
    elif kind == "npz of objects":
        np.savez(path, images=np.array([{}], object))
    elif kind == "folder":
        path.mkdir()
    else:
        assert kind in ("missing", "missing npz")
    return path


@pytest.mark.parametrize(
    "kind",
    [
        *("missing", "empty", "text", "folder"),
        *("missing npz", "empty npz", "text npz", "cut npz", "damaged npz", "npy as npz"),
        *("npz of no array", "npz of floats", "npz of one image", "npz of no pixels", "npz of objects"),
    ],
)
def test_what_cannot_be_read_is_named_and_the_others_are_done(row, images, tmp_path, capsys, kind):
    bad = bad_input(tmp_path, kind)
    path = save(network(row), tmp_path / "model.safetensors")
    inputs = [images["wide"], bad, images["high"]]
    assert predict_files(row, inputs, tmp_path / "masks", [path]) == [str(bad)]
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"{bad}: ")
    assert sorted(p.name for p in (tmp_path / "masks").iterdir()) == ["high.png", "wide.png"]


def test_inputs_of_one_name_do_not_replace_each_other(row, tmp_path, capsys):
    """Two folders may each hold a 1.png, and both masks would be 1.png: the second is named, not written over it."""
    inputs = [tmp_path / "a" / "1.png", tmp_path / "b" / "1.png"]
    for i, path in enumerate(inputs):
        path.parent.mkdir()
        cv2.imwrite(str(path), np.zeros((5 + i, 8), np.uint8))
    path = save(network(row), tmp_path / "model.safetensors")
    assert predict_files(row, inputs, tmp_path / "masks", [path]) == [str(inputs[1])]
    assert capsys.readouterr().err.startswith(f"{inputs[1]}: ")
    assert grey(tmp_path / "masks" / "1.png").shape == (5, 8)


@pytest.mark.parametrize("kind", ["other", "missing", "none shipped"])
def test_bad_weights_stop_before_anything_is_written(row, images, tmp_path, kind):
    other = load_row("denoising", "report", overrides={"model.widths": [4, 16]})
    good = save(network(row), tmp_path / "good.safetensors")
    bad = {"other": [good, save(network(other), tmp_path / "x")], "missing": [good, tmp_path / "y"]}.get(kind)
    if kind == "none shipped":
        row = row.model_copy(update={"name": "nobody-trained-this"})
    with pytest.raises(WeightsError, match="nobody-trained-this" if bad is None else str(bad[1])):
        predict_files(row, list(images.values()), tmp_path / "masks", bad)
    assert not (tmp_path / "masks").exists()


# --- a row whose networks see images of one size ---


@pytest.fixture(scope="module")
def face_row():
    return load_row("face_masks", "model-2", overrides={"model.widths": [4, 8]})


def colour(height, width, seed=0):
    """A smooth RGB picture (H, W, 3)."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 4, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def face_network(row, image, seed=0):
    """An untrained network that finds half of `image`, and keeps the sizes that it sees in `sizes`."""
    torch.manual_seed(seed)
    model = make_model(row).eval()
    model[0].set(np.array([0.5, 0.4, 0.3]), np.array([0.2, 0.3, 0.1]))
    model[1].head.bias.data -= torch.logit(torch.from_numpy(faces_by_hand([model], image))).median().float()
    model.sizes = []
    model.register_forward_pre_hook(lambda module, inputs: module.sizes.append(tuple(inputs[0].shape)))
    return model


def faces_by_hand(models, image, size=64):
    """Mean probability at the image's own size, with PyTorch's interpolation in place of OpenCV's."""
    batch = torch.tensor(image).permute(2, 0, 1)[None].double()
    batch = (F.interpolate(batch, (size, size), mode="area") if size else batch).round().float() / 255
    with torch.no_grad():
        mean = torch.stack([torch.sigmoid(model.eval()(batch)) for model in models]).mean(0)
    return F.interpolate(mean, image.shape[:2], mode="bilinear", align_corners=False)[0, 0].numpy()


@pytest.mark.parametrize("size", [(192, 128), (64, 320), (64, 64)])
def test_faces_are_seen_at_one_size_and_found_at_their_own(face_row, size):
    """Sizes of which an area of whole pixels becomes one."""
    image = colour(*size)
    model = face_network(face_row, image)
    found = probability([model], image, face_row.data.resize)
    assert model.sizes == [(1, 3, 64, 64)]
    assert found.shape == size
    assert found.dtype == np.float32
    assert found.std() > 0.01
    np.testing.assert_allclose(found, faces_by_hand([model], image), atol=0.02)


@pytest.mark.parametrize("size", [(37, 91), (250, 70), (1, 1)])
def test_faces_of_any_size(face_row, size, tmp_path):
    image = colour(*size)
    cv2.imwrite(str(tmp_path / "face.png"), image[..., ::-1])
    model = face_network(face_row, image)
    path = save(model, tmp_path / "model.safetensors")
    assert predict_files(face_row, [tmp_path / "face.png"], tmp_path / "masks", [path]) == []
    mask = grey(tmp_path / "masks" / "face.png")
    assert mask.shape == size
    assert np.array_equal(mask, 255 * (probability([model], image, 64) >= 0.5))
    if size != (1, 1):
        assert set(np.unique(mask)) == {0, 255}


@pytest.mark.parametrize("size", [64, 128])
def test_a_network_sees_images_at_the_size_that_it_was_trained_at(face_row, tmp_path, monkeypatch, size):
    """Whichever scale the row was loaded at: the weights say at which size they were trained."""
    image, seen = colour(90, 130), []
    cv2.imwrite(str(tmp_path / "face.png"), image)
    weights.save(face_network(face_row, image), tmp_path / "model.safetensors", {"size": str(size)})
    monkeypatch.setattr("seglib.reports.base.predict", lambda model, batch: seen.append(batch.shape) or batch[:, :1])
    assert predict_files(face_row, [tmp_path / "face.png"], tmp_path / "masks", [tmp_path / "model.safetensors"]) == []
    assert seen == [(1, 3, size, size)]


def test_a_row_that_was_changed_keeps_its_own_size(tmp_path, monkeypatch):
    """Weights that say nothing about a size are used at the row's."""
    row = load_row("face_masks", "model-2", overrides={"model.widths": [4, 8], "data.size": 32})
    image, seen = colour(90, 130), []
    cv2.imwrite(str(tmp_path / "face.png"), image)
    weights.save(make_model(row), tmp_path / "model.safetensors", {"scale": "quick"})
    monkeypatch.setattr("seglib.reports.base.predict", lambda model, batch: seen.append(batch.shape) or batch[:, :1])
    predict_files(row, [tmp_path / "face.png"], tmp_path / "masks", [tmp_path / "model.safetensors"])
    assert seen == [(1, 3, 32, 32)]


def test_the_folds_weights_are_an_ensemble(face_row, tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "shipped", lambda folder: tmp_path / folder)
    image = colour(128, 192)
    cv2.imwrite(str(tmp_path / "face.png"), image[..., ::-1])
    models = [face_network(face_row, image, seed) for seed in range(3)]
    for i, model in enumerate(models):
        save(model, tmp_path / "weights" / "face_masks" / f"model-2.fold{i}.safetensors")
    other = load_row("face_masks", "model-2", overrides={"model.widths": [4]})
    save(make_model(other), tmp_path / "weights" / "face_masks" / "model-20.fold0.safetensors")  # another row's
    assert predict_files(face_row, [tmp_path / "face.png"], tmp_path / "masks") == []
    found = grey(tmp_path / "masks" / "face.png")
    expected = faces_by_hand(models, image)
    clear = np.abs(expected - 0.5) > 0.02
    assert clear.mean() > 0.2
    assert np.array_equal(found[clear], 255 * (expected >= 0.5)[clear])
    for model in models:
        assert not np.array_equal(found, 255 * (probability([model], image, 64) >= 0.5))


# --- hints: a row whose networks refine what a user drew ---

BRUSH = {"wide": (60, 92), "high": (96, 54)}


@pytest.fixture(scope="module")
def brush_row():
    return load_row("neural_segmentello", "tiny16-32_bce-dice", overrides={"data.longest": 64})


@pytest.fixture
def drawn(tmp_path):
    """Two colour pictures, and a folder with a hint for each: a rectangle."""
    (tmp_path / "hints").mkdir()
    paths = []
    for seed, (name, size) in enumerate(BRUSH.items()):
        paths.append(tmp_path / f"{name}.png")
        cv2.imwrite(str(paths[-1]), colour(*size, seed))
        cv2.imwrite(str(tmp_path / "hints" / f"{name}.png"), 255 * rectangle(*size).astype(np.uint8))
    return paths


def rectangle(height, width):
    mask = np.zeros((height, width), bool)
    mask[height // 4 : height // 2, width // 3 : -width // 4] = True
    return mask


def echo(row):
    """A network that says what the hint says: it adds it to a logit of −½."""
    model = network(row, bias=-0.5)
    assert model.refine
    return model


@pytest.fixture(scope="module")
def echo_row():
    changes = {"data.longest": None, "model.widths": [8]}
    return load_row("neural_segmentello", "res16-32_bce-dice", overrides=changes)


def test_hints_become_masks_of_their_pictures_sizes(brush_row, drawn, tmp_path):
    model = network(brush_row, 1)
    path = save(model, tmp_path / "model.safetensors")
    assert predict_files(brush_row, drawn, tmp_path / "masks", [path], tmp_path / "hints") == []
    assert sorted(p.name for p in (tmp_path / "masks").iterdir()) == ["high.png", "wide.png"]
    for image in drawn:
        mask = grey(tmp_path / "masks" / image.name)
        assert mask.shape == BRUSH[image.stem]
        assert mask.dtype == np.uint8
        hint = rectangle(*BRUSH[image.stem]).astype(np.int8)
        photo = cv2.imread(str(image), cv2.IMREAD_COLOR_RGB)
        expected = refine([model], photo, hint, brush_row.data)
        clear = np.abs(expected - 0.5) > 1e-4
        assert np.array_equal(mask[clear], 255 * (expected >= 0.5)[clear])


def test_each_picture_has_its_own_hint(echo_row, drawn, tmp_path):
    path = save(echo(echo_row), tmp_path / "model.safetensors")
    assert predict_files(echo_row, drawn[::-1], tmp_path / "masks", [path], str(tmp_path / "hints")) == []
    for image in drawn:
        assert np.array_equal(grey(tmp_path / "masks" / image.name), 255 * rectangle(*BRUSH[image.stem]))


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [*product(["black and white", "faint", "colour"], ["png", "jpg", "bmp", "PNG"]), ("deep", "png")],
)
def test_a_hint_is_foreground_above_127(tmp_path, kind, suffix):
    mask = rectangle(40, 64)
    picture = {
        "black and white": np.where(mask, 255, 0).astype(np.uint8),
        "faint": np.where(mask, *((150, 100) if suffix == "jpg" else (128, 127))).astype(np.uint8),
        "colour": np.dstack([np.where(mask, 255, 0)] * 3).astype(np.uint8),
        "deep": np.where(mask, 0x8000, 0x7FFF).astype(np.uint16),
    }[kind]
    path = tmp_path / f"hint.{suffix}"
    path.write_bytes(cv2.imencode(f".{suffix.lower()}", picture)[1])
    found = read_hint(tmp_path, "hint", read_rough_mask)
    assert found.dtype == np.int8
    assert set(np.unique(found)) == {0, 1}
    if suffix != "jpg":
        assert np.array_equal(found > 0, mask)
    assert np.mean((found > 0) == mask) > 0.97


@pytest.mark.parametrize("stem", ["a[1]", "a*", "photo of 5.10.", "ä ?"])
def test_any_name_may_have_a_hint(tmp_path, stem):
    cv2.imwrite(str(tmp_path / "a1.png"), np.zeros((4, 6), np.uint8))
    encoded = cv2.imencode(".png", np.full((4, 6), 255, np.uint8))[1]
    (tmp_path / f"{stem}.png").write_bytes(encoded)
    assert read_hint(tmp_path, stem, read_rough_mask).all()


def test_a_stem_with_a_dot_is_another_stem(tmp_path):
    cv2.imwrite(str(tmp_path / "1.png"), np.full((4, 6), 255, np.uint8))
    cv2.imwrite(str(tmp_path / "1.b.png"), np.zeros((4, 6), np.uint8))
    assert not read_hint(tmp_path, "1.b", read_rough_mask).any()
    assert read_hint(tmp_path, "1", read_rough_mask).all()


def test_another_stem_s_hint_is_no_hint(tmp_path):
    cv2.imwrite(str(tmp_path / "1.b.png"), np.zeros((4, 6), np.uint8))
    with pytest.raises(ValueError, match=r"no hint 1\.png"):
        read_hint(tmp_path, "1", read_rough_mask)


def test_two_hints_for_one_photograph_are_one_too_many(tmp_path):
    for name in ("1.png", "1.bmp"):
        cv2.imwrite(str(tmp_path / name), np.zeros((4, 6), np.uint8))
    with pytest.raises(ValueError, match=r"expected one hint in .*, got 1\.bmp, 1\.png"):
        read_hint(tmp_path, "1", read_rough_mask)


def test_the_arrays_of_an_npz_have_hints_of_their_names(echo_row, tmp_path):
    (tmp_path / "hints").mkdir()
    stack = np.stack([colour(30, 44, seed) for seed in range(2)])
    np.savez(tmp_path / "set.npz", images=stack)
    for i in range(2):
        cv2.imwrite(str(tmp_path / f"hints/set_0000{i}.png"), 255 * np.roll(rectangle(30, 44), i).astype(np.uint8))
    path = save(echo(echo_row), tmp_path / "model.safetensors")
    assert predict_files(echo_row, [tmp_path / "set.npz"], tmp_path / "masks", [path], tmp_path / "hints") == []
    for i in range(2):
        assert np.array_equal(grey(tmp_path / f"masks/set_0000{i}.png"), 255 * np.roll(rectangle(30, 44), i))


def test_networks_that_refine_are_an_ensemble(brush_row, drawn, tmp_path):
    models = [network(brush_row, bias=float(np.log(p / (1 - p)))) for p in (0.9, 0.6, 0.005)]
    paths = [save(model, tmp_path / f"{i}.safetensors") for i, model in enumerate(models)]
    predict_files(brush_row, drawn[:1], tmp_path / "masks", paths, tmp_path / "hints")
    assert (grey(tmp_path / "masks" / "wide.png") == 255).all()


BAD_HINTS = {
    "missing": (None, r"no hint high\.png in "),
    "text": (b"no picture", "high.png: not a readable image"),
    "empty": (b"", "high.png: not a readable image"),
    "of another size": ((54, 96), r"expected a hint of the image's size \(96, 54\), got \(54, 96\)"),
}


@pytest.mark.parametrize("kind", BAD_HINTS)
def test_a_bad_hint_fails_its_image_alone(drawn, tmp_path, capsys, kind):
    content, message = BAD_HINTS[kind]
    path = tmp_path / "hints" / "high.png"
    path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        cv2.imwrite(str(path), np.zeros(content, np.uint8))
    row = load_row("neural_segmentello", "tiny16-32_bce-dice")
    good = save(network(row), tmp_path / "model.safetensors")
    command = ["predict", "neural_segmentello", row.name, *map(str, drawn[::-1]), "--out", str(tmp_path / "masks")]
    command += ["--weights", str(good), "--hints", str(tmp_path / "hints")]
    assert main(command) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"{drawn[1]}: ")
    assert re.search(message, said[0])
    assert said[0].endswith("; skipped")
    assert [p.name for p in (tmp_path / "masks").iterdir()] == ["wide.png"]
    assert grey(tmp_path / "masks" / "wide.png").shape == BRUSH["wide"]


def test_the_command_with_good_hints(drawn, tmp_path, capsys):
    row = load_row("neural_segmentello", "tiny16-32_bce-dice")
    good = save(network(row), tmp_path / "model.safetensors")
    command = ["predict", "neural_segmentello", row.name, *map(str, drawn), "--out", str(tmp_path / "masks")]
    assert main([*command, "--weights", str(good), "--hints", str(tmp_path / "hints")]) == 0
    assert capsys.readouterr().err == ""
    assert {p.name: grey(p).shape for p in (tmp_path / "masks").iterdir()} == {
        f"{name}.png": size for name, size in BRUSH.items()
    }


@pytest.mark.parametrize(
    ("report", "name", "hints", "message"),
    [
        ("denoising", "report", "hints", "denoising takes no hints, got "),
        ("face_masks", "model-2", "hints", "face_masks takes no hints, got "),
        ("neural_segmentello", "tiny16-32_bce-dice", None, "takes a folder of hints (--hints), got none"),
        ("neural_segmentello", "tiny16-32_bce-dice", "nowhere", "expected a folder of hints, got "),
        ("neural_segmentello", "tiny16-32_bce-dice", "wide.png", "expected a folder of hints, got "),
        ("neural_segmentello", "hint", "hints", "classical baseline"),
    ],
)
def test_hints_too_many_or_too_few_stop_before_anything_is_written(
    drawn, tmp_path, capsys, report, name, hints, message
):
    row = load_row(report, name)
    path = tmp_path / "model.safetensors"
    if row.model:
        save(make_model(row), path)
    command = ["predict", report, name, *map(str, drawn), "--out", str(tmp_path / "masks"), "--weights", str(path)]
    assert main(command + (["--hints", str(tmp_path / hints)] if hints else [])) == 1
    said = capsys.readouterr().err
    assert said.startswith("seglib predict: ")
    assert message in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "masks").exists()


@pytest.mark.parametrize(
    ("longest", "trained", "seen"),
    [
        (64, {}, (42, 64)),  # weights that say nothing: the row's own size
        (64, {"size": "64"}, (42, 64)),
        (64, {"size": "32"}, (21, 32)),
        (64, {"size": "None"}, (60, 92)),  # as at full scale, at the photograph's own size
        (64, {"size": "500"}, (60, 92)),
        (
            None,
            {"size": "32"},
            (21, 32),
        ),
    ],
)
def test_photographs_are_seen_at_the_size_that_the_weights_were_trained_at(
    drawn, tmp_path, monkeypatch, longest, trained, seen
):
    row = load_row("neural_segmentello", "tiny16-32_bce-dice", overrides={"data.longest": longest})
    weights.save(network(row), tmp_path / "model.safetensors", trained)
    shapes = []
    monkeypatch.setattr(
        "seglib.reports.base.predict",
        lambda model, batch: shapes.append(batch.shape) or batch[:, :1],
    )
    arguments = (tmp_path / "masks", [tmp_path / "model.safetensors"], tmp_path / "hints")
    assert predict_files(row, drawn[:1], *arguments) == []
    assert shapes == [(1, 3, *seen)]
    assert grey(tmp_path / "masks" / "wide.png").shape == BRUSH["wide"]


def test_the_object_view_is_used_where_the_row_has_it(drawn, tmp_path, monkeypatch):
    row = load_row("neural_segmentello", "object-view", overrides={"data.longest": None})
    path = save(network(row), tmp_path / "model.safetensors")
    shapes = []
    monkeypatch.setattr(
        "seglib.reports.base.predict",
        lambda model, batch: shapes.append(batch.shape) or batch[:, :1],
    )
    assert predict_files(row, drawn[:1], tmp_path / "masks", [path], tmp_path / "hints") == []
    hint = rectangle(*BRUSH["wide"])
    assert shapes == [(1, 3, *hint[window(hint)].shape)]
    assert np.array_equal(grey(tmp_path / "masks" / "wide.png"), 255 * hint)


def test_a_network_for_colours_sees_them(drawn, tmp_path, monkeypatch):
    row = load_row("neural_segmentello", "rgb", overrides={"data.longest": None})
    path = save(network(row), tmp_path / "model.safetensors")
    batches = []
    monkeypatch.setattr(
        "seglib.reports.base.predict",
        lambda model, batch: batches.append(batch) or batch[:, :1],
    )
    assert predict_files(row, drawn[:1], tmp_path / "masks", [path], tmp_path / "hints") == []
    photo = cv2.imread(str(drawn[0]), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_allclose(batches[0][0, 1:4], photo.transpose(2, 0, 1) / 255, atol=1e-6)


# --- the command ---


@pytest.fixture
def command(tmp_path):
    """`python -m seglib predict denoising report …` with an untrained network; gives the exit code."""
    path = save(network(load_row("denoising", "report")), tmp_path / "model.safetensors")

    def predict(*inputs, weights=path, row="report"):
        arguments = ["predict", "denoising", row, *map(str, inputs), "--out", str(tmp_path / "masks")]
        return main([*arguments, "--weights", str(weights)])

    return predict


def test_exit_code(command, images, tmp_path, capsys):
    assert command(images["wide"], images["high"]) == 0
    assert capsys.readouterr().err == ""
    (tmp_path / "masks" / "wide.png").unlink()
    assert command(images["wide"], tmp_path / "missing.png") == 1
    assert "missing.png: no such file" in capsys.readouterr().err
    assert grey(tmp_path / "masks" / "wide.png").shape == SIZES["wide"]


@pytest.mark.parametrize("kind", ["other network", "missing weights", "unknown row", "baseline"])
def test_mistakes_end_in_one_sentence_and_exit_code_1(command, images, tmp_path, capsys, kind):
    tiny = load_row("denoising", "report", overrides={"model.widths": [4]})
    options, named = {
        "other network": ({"weights": save(network(tiny), tmp_path / "tiny")}, "weights of another network"),
        "missing weights": ({"weights": tmp_path / "none"}, "none: expected a safetensors file"),
        "unknown row": ({"row": "reprot"}, "did you mean 'report'"),
        "baseline": ({"row": "otsu"}, "classical baseline"),
    }[kind]
    assert command(images["wide"], **options) == 1
    said = capsys.readouterr().err
    assert said.startswith("seglib predict: ")
    assert named in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "masks").exists()


def test_a_folder_that_cannot_be_written_is_named(command, images, tmp_path, capsys):
    (tmp_path / "masks").write_text("a file")
    assert command(images["wide"]) == 1
    assert f"cannot write the mask: File exists: '{tmp_path / 'masks' / 'wide.png'}'" in capsys.readouterr().err
