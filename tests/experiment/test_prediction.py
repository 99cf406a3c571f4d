"""Masks for image files: their sizes and values, ensembles, hints, and what cannot be read."""

import io
import re
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seglib import weights
from seglib.__main__ import main
from seglib.data.images import pictures_in, read_rough_mask
from seglib.experiment import make_model
from seglib.prediction import hint_for, predict_files, read_images
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


@pytest.fixture
def masked(tmp_path):
    """Writes a network's weights, and its masks for files; gives {name: mask}, in the order of their names."""

    def masked(row, models, inputs, hints=None, metadata=None):
        models = models if isinstance(models, list) else [models]
        files = [tmp_path / f"model{i}.safetensors" for i in range(len(models))]
        for model, file in zip(models, files):
            weights.save(model, file, metadata)
        out = tmp_path / "new" / "masks"
        assert predict_files(row, inputs, out, files, hints) == []
        return {path.name: grey(path) for path in sorted(out.iterdir())}

    return masked


@pytest.fixture
def seen(monkeypatch):
    """What the network is given, which says its first channel."""
    batches = []
    monkeypatch.setattr("seglib.reports.base.predict", lambda model, batch: batches.append(batch) or batch[:, :1])
    return batches


def test_masks_have_their_images_size_and_are_black_and_white(row, images, masked):
    model = balanced(row, grey(images["wide"]))
    found = masked(row, model, list(images.values()))
    assert list(found) == sorted(f"{name}.png" for name in SIZES)
    for name, size in SIZES.items():
        mask = found[f"{name}.png"]
        assert mask.shape == size
        assert mask.dtype == np.uint8
        assert np.array_equal(mask, 255 * (by_hand([model], grey(images[name])) >= 0.5))
    assert set(np.unique(found["wide.png"])) == {0, 255}


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
def test_an_ensemble_is_cut_at_one_half(row, images, brush_row, drawn, masked, probabilities, foreground):
    biases = [float(np.log(p / (1 - p))) for p in probabilities]
    found = masked(row, [network(row, bias=bias) for bias in biases], [images["wide"]])
    refined = masked(
        brush_row, [network(brush_row, bias=bias) for bias in biases], drawn[:1], drawn[0].parent / "hints"
    )
    assert all((mask == 255 * foreground).all() for masks in (found, refined) for mask in masks.values())


def test_colour_and_16_bit_pictures_become_grey(row, tmp_path, masked):
    image = np.random.default_rng(0).integers(0, 256, (11, 17), np.uint8)
    model = balanced(row, image)
    pictures = {"grey": image, "colour": np.dstack([image] * 3), "deep": image.astype(np.uint16) * 257}
    paths = [tmp_path / f"{name}.png" for name in pictures]
    for path in paths:
        cv2.imwrite(str(path), pictures[path.stem])
    found = masked(row, model, paths)
    assert len(found) == 3
    for mask in found.values():
        assert np.array_equal(mask, 255 * (by_hand([model], image) >= 0.5))


def test_a_network_for_colour_sees_red_first(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (5, 8, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "image.png"), image[..., ::-1])  # OpenCV writes blue first
    ((stem, found),) = read_images(tmp_path / "image.png", 3, find_report("face_masks").pictures)
    assert stem == "image"
    assert np.array_equal(found, image)


@pytest.mark.parametrize("key", ["images", "arr_0"])
def test_npz_files(row, tmp_path, masked, key):
    stack = np.random.default_rng(0).integers(0, 256, (3, 11, 18), np.uint8)
    model = balanced(row, stack[0])
    np.savez_compressed(tmp_path / "set.npz", **{key: stack})
    found = masked(row, model, [tmp_path / "set.npz"])
    assert list(found) == [f"set_0000{i}.png" for i in range(3)]
    for mask, image in zip(found.values(), stack):
        assert np.array_equal(mask, 255 * (by_hand([model], image) >= 0.5))


def npz(array=None, part=1.0, damaged=False, write=np.savez_compressed):
    """The content of an npz file of some images, or a part of it, or with a byte that was changed."""
    file = io.BytesIO()
    write(file, *([] if array is None else [array]))
    content = bytearray(file.getvalue()[: int(part * file.tell())])
    content[len(content) // 2] ^= 255 * damaged
    return bytes(content)


NOISE = np.random.default_rng(0).integers(0, 256, (2, 20, 30), np.uint8)
BAD = {
    "missing.png": None,
    "empty.png": b"",
    "text.png": b"no image",
    "folder.png": Path.mkdir,
    "missing.npz": None,
    "empty.npz": b"",
    "text.npz": b"no image",
    "cut.npz": npz(NOISE, part=0.5),
    "damaged.npz": npz(NOISE, damaged=True),
    "npy as.npz": npz(NOISE, write=np.save),
    "no array.npz": npz(),
    "floats.npz": npz(np.zeros((2, 4, 6))),
    "one image.npz": npz(np.zeros((4, 6), np.uint8)),
    "no pixels.npz": npz(np.zeros((2, 0, 6), np.uint8)),
    "objects.npz": npz(np.array([{}], object)),
    "no picture.npz": npz(np.zeros((0, 4, 6), np.uint8)),
    "cut.jpg": cv2.imencode(".jpg", np.kron(NOISE[0], np.ones((8, 8), np.uint8)))[1].tobytes()[:-2],
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_named_and_the_others_are_done(row, images, tmp_path, capsys, name):
    bad, content = tmp_path / name, BAD[name]
    if content is not None:
        content(bad) if callable(content) else bad.write_bytes(content)
    path = save(network(row), tmp_path / "model.safetensors")
    inputs = [images["wide"], bad, images["high"]]
    assert predict_files(row, inputs, tmp_path / "masks", [path]) == [str(bad)]
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"{bad}: ")
    assert name != "no pixels.npz" or "expected uint8 images" in said[0]
    assert name != "no picture.npz" or "holds no picture" in said[0]
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
    model[1].head.bias.data -= torch.logit(torch.from_numpy(faces_by_hand(model, image))).median().float()
    model.sizes = []
    model.register_forward_pre_hook(lambda module, inputs: module.sizes.append(tuple(inputs[0].shape)))
    return model


def faces_by_hand(model, image):
    """Probability at the image's own size, with PyTorch's interpolation in place of OpenCV's."""
    batch = F.interpolate(torch.tensor(image).permute(2, 0, 1)[None].double(), (64, 64), mode="area")
    with torch.no_grad():
        found = torch.sigmoid(model.eval()(batch.round().float() / 255))
    return F.interpolate(found, image.shape[:2], mode="bilinear", align_corners=False)[0, 0].numpy()


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
    np.testing.assert_allclose(found, faces_by_hand(model, image), atol=0.02)


@pytest.mark.parametrize("size", [(37, 91), (250, 70), (1, 1)])
def test_faces_of_any_size(face_row, size, tmp_path, masked):
    image = colour(*size)
    cv2.imwrite(str(tmp_path / "face.png"), image[..., ::-1])
    model = face_network(face_row, image)
    mask = masked(face_row, model, [tmp_path / "face.png"])["face.png"]
    assert mask.shape == size
    assert np.array_equal(mask, 255 * (probability([model], image, 64) >= 0.5))
    assert size == (1, 1) or set(np.unique(mask)) == {0, 255}


@pytest.mark.parametrize(
    ("report", "size", "trained", "expected"),
    [
        # Whichever scale the row was loaded at: the weights say at which size they were trained.
        ("face_masks", 64, {"size": "64"}, (64, 64)),
        ("face_masks", 64, {"size": "128"}, (128, 128)),
        ("face_masks", 32, {"scale": "quick"}, (32, 32)),  # weights that say nothing: the row's own size
        ("neural_segmentello", 64, {}, (42, 64)),
        ("neural_segmentello", 64, {"size": "32"}, (21, 32)),
        ("neural_segmentello", 64, {"size": "None"}, (60, 92)),  # as at full scale, at the photograph's own size
        ("neural_segmentello", 64, {"size": "500"}, (60, 92)),
        ("neural_segmentello", None, {"size": "32"}, (21, 32)),
    ],
)
def test_a_network_sees_images_at_the_size_that_it_was_trained_at(drawn, masked, seen, report, size, trained, expected):
    hints = drawn[0].parent / "hints" if report == "neural_segmentello" else None
    changes = {"data.longest": size} if hints else {"data.size": size, "model.widths": [4, 8]}
    row = load_row(report, "tiny16-32_bce-dice" if hints else "model-2", overrides=changes)
    mask = masked(row, make_model(row), drawn[:1], hints, trained)["wide.png"]
    assert [batch.shape for batch in seen] == [(1, 3, *expected)]
    assert mask.shape == BRUSH["wide"]


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


def test_hints_become_masks_of_their_pictures_sizes(brush_row, drawn, tmp_path, masked):
    model = network(brush_row, 1)
    found = masked(brush_row, model, drawn, tmp_path / "hints")
    assert list(found) == ["high.png", "wide.png"]
    for image in drawn:
        hint = rectangle(*BRUSH[image.stem]).astype(np.int8)
        expected = refine([model], cv2.imread(str(image), cv2.IMREAD_COLOR_RGB), hint, brush_row.data)
        clear = np.abs(expected - 0.5) > 1e-4
        assert found[image.name].shape == hint.shape
        assert np.array_equal(found[image.name][clear], 255 * (expected >= 0.5)[clear])


def test_each_picture_has_its_own_hint(echo_row, drawn, tmp_path, masked):
    found = masked(echo_row, echo(echo_row), drawn[::-1], str(tmp_path / "hints"))
    for image in drawn:
        assert np.array_equal(found[image.name], 255 * rectangle(*BRUSH[image.stem]))


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "PNG"])
def test_a_hint_is_foreground_above_127(tmp_path, suffix):
    mask, (above, below) = rectangle(40, 64), (150, 100) if suffix == "jpg" else (128, 127)
    pictures = [np.where(mask, 255, 0), np.dstack([np.where(mask, 255, 0)] * 3), np.where(mask, above, below)]
    pictures = [picture.astype(np.uint8) for picture in pictures]
    if suffix == "png":
        pictures.append(np.where(mask, 0x8000, 0x7FFF).astype(np.uint16))
    for picture in pictures:
        (tmp_path / f"hint.{suffix}").write_bytes(cv2.imencode(f".{suffix.lower()}", picture)[1])
        found = read_rough_mask(tmp_path / f"hint.{suffix}")
        assert found.dtype == np.int8
        assert set(np.unique(found)) == {0, 1}
        assert np.mean((found > 0) == mask) > (0.97 if suffix == "jpg" else 0.9999)


@pytest.mark.parametrize("stem", ["a[1]", "a*", "photo of 5.10.", "ä ?", "1.b"])
def test_any_name_may_have_a_hint_and_another_stem_s_is_none(tmp_path, stem):
    for other in ("a1", "1", "1.b.c"):
        cv2.imwrite(str(tmp_path / f"{other}.png"), np.zeros((4, 6), np.uint8))
    with pytest.raises(ValueError, match=re.escape(f"no hint {stem}.png in {tmp_path}")):
        hint_for(stem, pictures_in(tmp_path), tmp_path)
    (tmp_path / f"{stem}.png").touch()
    (tmp_path / f"{stem}.json").touch()  # labelme's, beside the picture
    for form in ("NFC", "NFD"):
        assert hint_for(unicodedata.normalize(form, stem), pictures_in(tmp_path), tmp_path).name == f"{stem}.png"
    (tmp_path / f"{stem}.BMP").touch()
    with pytest.raises(ValueError, match=re.escape(f"{stem}.BMP and ")):
        hint_for(stem, pictures_in(tmp_path), tmp_path)


def test_the_arrays_of_an_npz_have_hints_of_their_names(echo_row, tmp_path, masked):
    (tmp_path / "hints").mkdir()
    np.savez(tmp_path / "set.npz", images=np.stack([colour(30, 44, seed) for seed in range(2)]))
    hints = [255 * np.roll(rectangle(30, 44), i).astype(np.uint8) for i in range(2)]
    for i, hint in enumerate(hints):
        cv2.imwrite(str(tmp_path / f"hints/set_0000{i}.png"), hint)
    found = masked(echo_row, echo(echo_row), [tmp_path / "set.npz"], tmp_path / "hints")
    assert np.array_equal(list(found.values()), hints)


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
    row = load_row("neural_segmentello", "tiny16-32_bce-dice")
    command = ["predict", "neural_segmentello", row.name, *map(str, drawn[::-1]), "--out", str(tmp_path / "masks")]
    command += ["--weights", str(save(network(row), tmp_path / "model.safetensors")), "--hints", str(path.parent)]
    assert main(command) == 0
    assert capsys.readouterr().err == ""
    (tmp_path / "masks" / "high.png").unlink()
    path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        cv2.imwrite(str(path), 255 * rectangle(*content).astype(np.uint8))
    assert main(command) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"{drawn[1]}: ")
    assert re.search(message, said[0])
    assert said[0].endswith("; skipped")
    assert [p.name for p in (tmp_path / "masks").iterdir()] == ["wide.png"]


@pytest.mark.parametrize(
    ("report", "name", "widths", "hints", "message"),
    [
        ("denoising", "report", {}, "hints", "denoising takes no hints, got "),
        ("face_masks", "model-2", {}, "hints", "face_masks takes no hints, got "),
        ("neural_segmentello", "tiny16-32_bce-dice", {}, None, "takes a folder of hints (--hints), got none"),
        ("neural_segmentello", "tiny16-32_bce-dice", {}, "nowhere", "expected a folder of hints, got "),
        ("neural_segmentello", "tiny16-32_bce-dice", {}, "wide.png", "expected a folder of hints, got "),
        ("neural_segmentello", "hint", None, "hints", "classical baseline"),
        ("denoising", "otsu", None, None, "classical baseline"),
        ("denoising", "reprot", None, None, "did you mean 'report'"),
        ("denoising", "report", None, None, "model.safetensors: expected a safetensors file"),
        ("denoising", "report", {"model.widths": [4]}, None, "weights of another network"),
    ],
)
def test_mistakes_end_in_one_sentence_before_anything_is_written(
    drawn, tmp_path, capsys, report, name, widths, hints, message
):
    good, path = tmp_path / "good.safetensors", tmp_path / "model.safetensors"
    if widths is not None:
        save(make_model(load_row(report, name, overrides=widths)), path)
    given = [save(make_model(load_row(report, name)), good), path] if "another network" in message else [path]
    command = ["predict", report, name, *map(str, drawn), "--out", str(tmp_path / "masks"), "--weights"]
    assert main([*command, *map(str, given)] + (["--hints", str(tmp_path / hints)] if hints else [])) == 1
    said = capsys.readouterr().err
    assert said.startswith("seglib predict: ")
    assert message in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "masks").exists()


def test_a_row_without_weights_is_named(row, images, tmp_path):
    with pytest.raises(WeightsError, match="nobody-trained-this"):
        predict_files(row.model_copy(update={"name": "nobody-trained-this"}), list(images.values()), tmp_path / "masks")
    assert not (tmp_path / "masks").exists()


def test_the_command_and_a_folder_that_cannot_be_written(images, tmp_path, capsys):
    path = save(network(load_row("denoising", "report")), tmp_path / "model.safetensors")

    def command(*inputs, out=tmp_path / "masks"):
        return main(["predict", "denoising", "report", *map(str, inputs), "--out", str(out), "--weights", str(path)])

    assert command(images["wide"], images["high"]) == 0
    assert capsys.readouterr().err == ""
    assert grey(tmp_path / "masks" / "high.png").shape == SIZES["high"]
    assert command(images["wide"], tmp_path / "missing.png") == 1
    assert "missing.png: no such file" in capsys.readouterr().err
    assert command(images["wide"], out=path) == 1
    assert f"expected a folder for the masks, got the file {path}; give another with --out" in capsys.readouterr().err


def test_the_object_view_and_colours_are_seen_where_the_row_has_them(drawn, tmp_path, masked, seen):
    row = load_row("neural_segmentello", "object-view", overrides={"data.longest": None})
    found, hint = masked(row, network(row), drawn[:1], tmp_path / "hints"), rectangle(*BRUSH["wide"])
    assert [batch.shape for batch in seen] == [(1, 3, *hint[window(hint)].shape)]
    assert np.array_equal(found["wide.png"], 255 * hint)
    row = load_row("neural_segmentello", "rgb", overrides={"data.longest": None})
    masked(row, network(row), drawn[:1], tmp_path / "hints")
    photo = cv2.imread(str(drawn[0]), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_allclose(seen[1][0, 1:4], photo.transpose(2, 0, 1) / 255, atol=1e-6)
