"""What people do to the command line: where they write, what they draw, and when they stop it."""

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from seglib import prediction, weights
from seglib.__main__ import main
from seglib.data.images import DataError
from seglib.experiment import data_folder, make_model
from seglib.files import user_path, write_whole
from seglib.reports import find_report
from seglib.results import result_path
from seglib.rows import load_row

BRUSH, NOISY, MARS = ("neural_segmentello", "tiny16-32_bce-dice"), ("denoising", "report"), ("mars_terrain", "baseline")


def picture(path, height=24, width=40, colours=True, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (height, width, 3) if colours else (height, width)
    path.write_bytes(cv2.imencode(".png", np.random.default_rng(seed).integers(0, 256, shape, np.uint8))[1])
    return path


def hint(path, height=24, width=40):
    mask = np.zeros((height, width), np.uint8)
    mask[6:18, 10:30] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", mask)[1])
    return path


@pytest.fixture
def weight(tmp_path):
    """A file with the weights of an untrained network of a row, outside the folder that a test works in."""

    def weight(row):
        torch.manual_seed(0)
        path = tmp_path / "weights" / f"{row[0]}.safetensors"
        path.parent.mkdir(exist_ok=True)
        weights.save(make_model(load_row(*row)), path)
        return path

    return weight


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The working folder."""
    (tmp_path / "place").mkdir()
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def refused(command, folder, capsys, said):
    """A command that ends in one sentence, before anything is written."""
    before = content(folder)
    assert main([str(part) for part in command]) == 1
    error = capsys.readouterr().err
    assert error.startswith("seglib predict: ")
    assert said in error
    assert len(error.splitlines()) == 1
    assert content(folder) == before


# --- nothing that a user gave is written over ---


@pytest.mark.parametrize("out", [".", "../place", "linked", "sub/.."])
def test_an_input_is_not_replaced_by_its_mask(place, weight, capsys, out):
    picture(place / "noisy.png", colours=False)
    picture(place / "sub" / "other.png", colours=False)
    (place / "linked").symlink_to(place, target_is_directory=True)
    command = ["predict", *NOISY, "sub/other.png", "noisy.png", "--out", out, "--weights", weight(NOISY)]
    refused(command, place, capsys, "noisy.png would replace noisy.png, which is an input")


def test_nor_is_another_input_that_has_the_mask_s_name_or_a_link_to_one(place, weight, capsys):
    picture(place / "a" / "1.png", colours=False)
    picture(place / "1.png", colours=False, seed=1)
    refused(
        ["predict", *NOISY, "a/1.png", "1.png", "--out", ".", "--weights", weight(NOISY)], place, capsys, "1.png would"
    )
    (place / "out").mkdir()
    (place / "out" / "1.png").hardlink_to(place / "1.png")
    refused(
        ["predict", *NOISY, "a/1.png", "1.png", "--out", "out", "--weights", weight(NOISY)],
        place,
        capsys,
        "which is an",
    )


def test_nor_are_hints(place, weight, capsys):
    picture(place / "a.png")
    hint(place / "strokes" / "a.png")
    (place / "linked").symlink_to("strokes", target_is_directory=True)
    command = ["predict", *BRUSH, "a.png", "--hints", "strokes", "--weights", weight(BRUSH), "--out"]
    refused([*command, "linked"], place, capsys, "would replace strokes/a.png, which is an input, a hint or weights")
    (place / "strokes" / "a.png").rename(place / "strokes" / "a.PNG")
    refused([*command, "strokes"], place, capsys, "would be taken for hints the next time")


def test_nor_are_the_pictures_that_an_npz_stands_beside(place, weight, capsys):
    np.savez(place / "set.npz", images=np.zeros((2, 8, 9), np.uint8))
    before = picture(place / "set_00001.png", colours=False).read_bytes()
    command = ["predict", *NOISY, "set_00001.png", "set.npz", "--out", ".", "--weights", str(weight(NOISY))]
    refused(command, place, capsys, "set_00001.png would replace")
    assert main([*command[:3], "set.npz", *command[5:]]) == 1  # nor is a file beside them, whatever it is
    assert "set_00001.png is there already, beside the images" in capsys.readouterr().err
    assert (place / "set_00001.png").read_bytes() == before
    for _ in range(2):  # an older mask is replaced
        assert main([*command[:3], "set.npz", "--out", "masks", *command[-2:]]) == 0


def test_nor_is_a_file_of_another_suffix_beside_an_image(place, weight, capsys):
    picture(place / "a.png", colours=False).rename(place / "a.bmp")
    before = picture(place / "a.png", colours=False, seed=1).read_bytes()
    assert main(["predict", *NOISY, "a.bmp", "--out", ".", "--weights", str(weight(NOISY))]) == 1
    assert "a.png is there already, beside the images; write to another folder" in capsys.readouterr().err
    assert (place / "a.png").read_bytes() == before


def test_nor_is_anything_by_a_submission(place, weight, capsys):
    np.savez(place / "set.npz", images=np.zeros((2, 16, 32), np.uint8))
    path = weight(MARS)
    picture(place / "a.png", colours=False)
    command = ["predict", *MARS, "set.npz", "a.png", "--out", "out", "--weights", path, "--submission"]
    for target in ("set.npz", path):
        refused([*command, target], place.parent, capsys, f"{target} would replace {target}, which is an input")
    for target in ("out/a.png", "."):
        refused(
            [*command, target], place.parent, capsys, f"expected a file of its own for the submission, got {target}"
        )


def test_one_target_that_cannot_be_written_leaves_the_others(place, weight, capsys):
    """A folder of its name, or a name that is too long once it ends in .png."""
    names = ["a.png", f"{'x' * 253}", "b.png", "c.png"]
    for name in names:
        picture(place / "in" / name, colours=False)
    (place / "masks" / "b.png").mkdir(parents=True)
    inputs = [f"in/{name}" for name in names]
    assert main(["predict", *NOISY, *inputs, "--out", "masks", "--weights", str(weight(NOISY))]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert sorted(path.name for path in (place / "masks").iterdir()) == ["a.png", "b.png", "c.png"]


# --- home ---


def test_home_is_never_a_folder_of_that_name(place, weight, monkeypatch, capsys):
    home = place / "home"
    monkeypatch.setenv("HOME", str(home))
    picture(home / "in" / "a.png")
    hint(home / "strokes" / "a.png")
    path = weight(BRUSH).rename(home / "w.safetensors")
    command = ["predict", *BRUSH, "~/in/a.png", "--hints=~/strokes", "--weights", f"~/{path.name}", "--out=~/masks"]
    assert main(command) == 0, capsys.readouterr().err
    assert (home / "masks" / "a.png").is_file()
    write_whole("~/note", lambda file: file.write(b"x"))
    assert (home / "note").read_bytes() == b"x"
    assert result_path("a", "b", "quick", 0, {}, "~/results").parent == home / "results" / "a"
    assert data_folder("~/in") == home / "in"
    monkeypatch.setenv("SEGLIB_DATA", "~/in")
    assert data_folder(None) == home / "in"
    assert not (place / "~").exists()


def test_a_home_that_nobody_knows(monkeypatch):
    def unknown(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", unknown)
    with pytest.raises(ValueError, match="~/a: the home folder is not known; name it in full"):
        user_path("~/a")
    assert user_path("~nobody.png") == Path("~nobody.png")


# --- Ctrl-C ---


def test_a_stopped_prediction_says_what_is_done_and_what_is_not(place, weight, capsys, monkeypatch):
    paths = [picture(place / name, colours=False).name for name in ("a.png", "c.png", "d.png")]
    seen, write = [], prediction.write_mask

    def stop_at_the_second(path, mask):
        seen.append(path)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return write(path, mask)

    monkeypatch.setattr(prediction, "write_mask", stop_at_the_second)
    command = ["predict", *NOISY, "a.png", "b.png", *paths[1:], "--out", "masks", "--weights", str(weight(NOISY))]
    assert main(command) == 130
    missing, said = capsys.readouterr().err.splitlines()
    assert missing == "b.png: no such file; skipped"
    assert said == "interrupted; 1 of 4 inputs are done, their masks in masks; not done: b.png, c.png, d.png"
    assert [path.name for path in (place / "masks").iterdir()] == ["a.png"]


# --- what they give it ---


def test_several_pictures_in_a_file_and_few_bits_are_said_in_a_line_each(place, weight, capsys):
    deep = np.random.default_rng(0).integers(0, 4096, (20, 30)).astype(np.uint16)
    Image.fromarray(deep).save(place / "deep.png")
    pages = [Image.fromarray(np.full((20, 30), value, np.uint8)) for value in (10, 200)]
    pages[0].save(place / "pages.tif", save_all=True, append_images=pages[1:])
    Image.fromarray((deep >> 4).astype(np.uint8)).save(place / "plain.png")
    names = ["deep.png", "pages.tif", "plain.png"]
    assert main(["predict", *NOISY, *names, "--out", "masks", "--weights", str(weight(NOISY))]) == 0
    few, many = capsys.readouterr().err.splitlines()
    assert few.startswith("deep.png: a file of 16 bits a sample with none above ")
    assert many == "pages.tif: holds 2 pictures; the first is used"
    assert (place / "masks/deep.png").read_bytes() == (place / "masks/plain.png").read_bytes()


def test_a_photograph_its_hint_and_its_mask_are_upright(place, weight, capsys):
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = cv2.imread(str(picture(place / "up" / "a.png")), cv2.IMREAD_COLOR_RGB)
    Image.fromarray(np.ascontiguousarray(np.rot90(upright))).save(place / "a.png", exif=exif)
    hint(place / "strokes" / "a.png")
    command = ["--hints", "strokes", "--weights", str(weight(BRUSH)), "--out"]
    assert (
        main(["predict", *BRUSH, "a.png", *command, "one"])
        == main(["predict", *BRUSH, "up/a.png", *command, "two"])
        == 0
    )
    assert (place / "one/a.png").read_bytes() == (place / "two/a.png").read_bytes()
    hint(place / "strokes" / "a.png", 40, 24)  # drawn on what is stored
    assert main(["predict", *BRUSH, "a.png", *command, "one"]) == 1
    assert "got (40, 24); the image is seen upright, as its orientation tag says" in capsys.readouterr().err


def test_names_that_differ_in_the_form_of_an_accent_are_one(place, weight, capsys):
    composed, apart = (unicodedata.normalize(form, "Käfer.png") for form in ("NFC", "NFD"))
    picture(place / composed)
    hint(place / "strokes" / apart)
    command = ["predict", *BRUSH, composed, "--hints", "strokes", "--weights", str(weight(BRUSH)), "--out", "masks"]
    assert main(command) == 0, capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are Unicode")
def test_names_that_are_no_text_end_no_process(place, weight, capsys):
    """OpenCV would end it, and all later pictures would be lost."""
    for name in (os.fsdecode(b"caf\xe9.png"), "z.png"):
        picture(place / name, colours=False)
    (place / os.fsdecode(b"t\xe9xt.png")).write_text("no picture")
    names = [os.fsdecode(name) for name in sorted(os.listdir(os.fsencode(place)))]
    assert main(["predict", *NOISY, *names, "--out", "masks", "--weights", str(weight(NOISY))]) == 1
    assert sorted(os.listdir(os.fsencode(place / "masks"))) == [b"caf\xe9.png", b"z.png"]


def test_an_npz_with_several_arrays_is_refused_unless_one_is_called_images(place, weight, capsys):
    labels, images = np.zeros((2, 8, 9), np.uint8), np.random.default_rng(0).integers(0, 256, (2, 8, 9), np.uint8)
    command = ["predict", *NOISY, "a.npz", "--out", "masks", "--weights", str(weight(NOISY))]
    np.savez(place / "a.npz", y_train=labels, x_train=images)
    assert main(command) == 1
    assert "a.npz: holds several arrays that could be pictures: y_train, x_train; call one of them images" in (
        capsys.readouterr().err
    )
    np.savez(place / "a.npz", y_train=labels, images=images)
    assert main(command) == 0
    np.savez(place / "a.npz", numbers=np.arange(4), x_train=images)
    assert main(command) == 0
    np.savez(place / "a.npz", y_train=labels, x_train=images / np.float32(255))
    assert main(command) == 1
    assert "several arrays that could be pictures" in capsys.readouterr().err


def test_terrain_a_pixel_wide_is_refused(place, weight, capsys):
    for name, shape in (("slit.png", (3000, 1)), ("wide.png", (2, 3000))):
        cv2.imwrite(str(place / name), np.zeros(shape, np.uint8))
    assert main(["predict", *MARS, "slit.png", "wide.png", "--out", "masks", "--weights", str(weight(MARS))]) == 1
    said = capsys.readouterr().err
    assert "slit.png: pictures of 3000 by 1 pixels, which are " in said
    assert "wide.png" not in said
    assert cv2.imread(str(place / "masks/wide.png"), cv2.IMREAD_UNCHANGED).shape == (2, 3000)


@pytest.mark.parametrize(
    ("report", "shape", "said"),
    [
        (MARS, (20, 30, 3), "expected uint8 images (N, H, W), got uint8 (20, 30, 3); store them so"),
        (("face_masks", "model-2"), (2, 3, 20, 30), "expected uint8 images (N, H, W, 3), got uint8 (2, 3, 20, 30)"),
        (("face_masks", "model-2"), (2, 20, 30, 4), "expected uint8 images (N, H, W, 3), got uint8 (2, 20, 30, 4)"),
    ],
)
def test_arrays_of_another_order_are_no_pictures(place, weight, capsys, report, shape, said):
    np.savez(place / "a.npz", images=np.zeros(shape, np.uint8))
    assert main(["predict", *report, "a.npz", "--out", "masks", "--weights", str(weight(report))]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({0: 1, 1: 1, 255: 1}, None),
        ({1: 1, 255: 1}, None),
        ({0: 1, 255: 1}, "none on the object; white strokes on black are not taken"),
        ({255: 1}, "no stroke at all"),
        ({}, "got strokes on every pixel; is it a mask?"),
        ({0: 1, 1: 1, 77: 1}, "got also [77]"),
    ],
)
def test_scribbles_need_a_stroke_on_the_object(place, values, said):
    strokes = np.full((12, 15), 255, np.uint8)
    for i, value in enumerate(values):
        strokes[i] = value
    if values == {}:
        strokes[:] = np.arange(12)[:, None] % 2
    cv2.imwrite("a.png", strokes)
    read = find_report("scribbles").read_hint
    if said is None:
        assert np.array_equal(read(Path("a.png")), np.select([strokes == 0, strokes == 1], [-1, 1], 0))
    else:
        with pytest.raises(DataError, match=r"a\.png: expected .*255") as error:
            read(Path("a.png"))
        assert said in str(error.value)


# --- where it runs ---


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_the_rows_are_listed_on_any_terminal(encoding):
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "seglib", "rows", "mars_terrain"], capture_output=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert b"mars_terrain" in done.stdout
    assert len(done.stdout.decode(encoding).splitlines()) > 5
