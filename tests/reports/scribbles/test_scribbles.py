"""The scribble challenge: its files, strokes as people draw them, what a network sees of both, and folds."""

import os
import re
import shutil
import unicodedata
import warnings
from pathlib import Path

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from by_hand import box, disc, rng, smooth_picture, store_challenge
from PIL import Image
from scipy import ndimage
from scipy.ndimage import distance_transform_cdt, distance_transform_edt
from skimage.morphology import skeletonize

from seglib.__main__ import main
from seglib.data import challenge, scenes
from seglib.data.challenge import Scribbled, read_challenge, read_scribble, write_scribble
from seglib.data.clues import colour_likelihood, geodesic_distance
from seglib.data.datasets import channel_statistics
from seglib.data.images import DataError
from seglib.data.strokes import scribble
from seglib.reports.scribbles import scribbles
from seglib.reports.scribbles.scribbles import (
    ScribbleDataset,
    augmentation,
    build_from_voc,
    generated,
    network_input,
    resized,
    resized_labels,
    stratified_folds,
)

REAL = os.environ.get("SEGLIB_DATA")
EIGHT = np.ones((3, 3))  # neighbours by a corner are connected
NAME = "2008_004212"
SIZE = (40, 60)  # of the pictures below
TRUTH = np.zeros(SIZE, np.uint8)
TRUTH[3:20, 5:30] = 1
TRUTH[20:25, 30:40] = 1  # touches the first by a corner: one object
TRUTH[30:38, 45:55] = 1
STROKES = np.full(SIZE, 255, np.uint8)  # as files have them
STROKES[6:8, 8:25] = 1
STROKES[30:33, 3:30] = 0
SIGNS = np.select([STROKES == 0, STROKES == 1], [-1, 1], 0)  # as programs do
LEVELS = ("low", "medium", "high")


def save_palette(path, indices, palette):
    picture = Image.fromarray(indices)
    picture.putpalette(palette)
    picture.save(path)


def store(folder, name=NAME, part="train", colour=(200, 90, 20)):
    return store_challenge(Path(folder), name, np.full((*SIZE, 3), colour, np.uint8), SIGNS, TRUTH, part)


@pytest.fixture
def folder(tmp_path):
    store(tmp_path)
    return tmp_path


# --- reading ---


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_zero_is_background_one_object_and_255_nothing(folder, mode):
    path = folder / f"scribbles/train/scribbles/{NAME}.png"
    Image.fromarray(STROKES).convert(mode).save(path)
    (strokes,) = read_challenge(folder).scribbles
    assert strokes.dtype == np.int8
    np.testing.assert_array_equal(strokes, SIGNS)
    np.testing.assert_array_equal(read_scribble(path), SIGNS)
    write_scribble(folder / "new/a.png", strokes)  # and written as they were
    np.testing.assert_array_equal(np.array(Image.open(folder / "new/a.png")), STROKES)


@pytest.mark.parametrize("colour", [[128, 0, 0], [255, 255, 255], [0, 0, 1]])
def test_the_truth_is_index_1_whatever_its_colour(folder, colour):
    save_palette(folder / f"scribbles/train/ground_truth/{NAME}.png", TRUTH, [0, 0, 0, *colour])
    (mask,) = read_challenge(folder).masks
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, TRUTH)


def test_photographs_are_rgb_and_in_the_order_of_their_names(folder):
    store(folder, "2010_000001")
    store(folder, "2007_000032", colour=(20, 30, 220))
    found = read_challenge(str(folder), "train")
    assert len(found) == 3
    assert found.names == ["2007_000032", NAME, "2010_000001"]
    for image, colour in zip(found.images, [(20, 30, 220), (200, 90, 20), (200, 90, 20)]):
        assert (image.shape, image.dtype) == ((*SIZE, 3), np.uint8)
        np.testing.assert_allclose(image.mean((0, 1)), colour, atol=3)


def test_what_is_taken_keeps_its_order():
    data = Scribbled(*([f"{kind}{i}" for i in range(4)] for kind in "abcd"))
    assert vars(data.take([2, 0])) == vars(Scribbled(["a2", "a0"], ["b2", "b0"], ["c2", "c0"], ["d2", "d0"]))
    assert data.take(np.array([], int)).names == []
    assert len(Scribbled(["a", "b"], ["c", "d"], [], ["e", "f"]).take([1])) == 1


def test_a_test_part_has_no_masks_and_a_training_part_without_any_is_refused(folder):
    for part in ("train", "test"):
        truth = store(folder, part=part) / "ground_truth"
        (truth / f"{NAME}.png").unlink()
        truth.rmdir()
    found = read_challenge(folder, "test")
    assert (len(found), found.masks, found.take([0]).masks) == (1, [], [])
    with pytest.raises(ValueError, match=r"expected a mask for each of 1 photographs, got 0"):
        ScribbleDataset(found, SIZE)
    for read in (read_challenge, challenge.objects):
        with pytest.raises(DataError, match=r"ground_truth"):
            read(folder)


def test_other_values_are_refused_and_shown(folder):
    for value in (2, 128, 254):
        strokes = STROKES.copy()
        strokes[0, 0] = value
        Image.fromarray(strokes).save(folder / f"scribbles/train/scribbles/{NAME}.png")
        message = rf"scribbles/{NAME}\.png: expected 0 .*got also \[{value}\]; was it saved as"
        with pytest.raises(DataError, match=message):
            read_challenge(folder)


@pytest.mark.parametrize("kind", ["images", "scribbles", "ground_truth"])
def test_a_file_that_is_of_another_size_unreadable_or_missing_is_named(folder, kind):
    store(folder, "2010_000001")
    path = folder / f"scribbles/train/{kind}/2010_000001.{'jpg' if kind == 'images' else 'png'}"
    for size in ((60, 40), (40, 59), (20, 30)) if kind != "images" else ():
        Image.fromarray(np.ones(size, np.uint8)).save(path)
        problem = rf"expected the photograph's height and width \(40, 60\), got {re.escape(str(size))}"
        with pytest.raises(DataError, match=rf"{kind}/{path.name}: {problem}"):
            read_challenge(folder)
    for content in (b"", b"no picture"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"{kind}/{path.name}: not a readable image"):
            read_challenge(folder)
    path.unlink()
    for read in (read_challenge, challenge.objects) if kind != "images" else ():
        with pytest.raises(DataError, match=rf"{kind}/{path.name}: no such file"):
            read(folder)


@pytest.mark.parametrize("kind", ["0 and 1", "VOC's border", "0 and 255", "soft", "JPEG"])
def test_the_truth_may_be_stored_as_people_do(folder, kind):
    """255 is the object, or Pascal VOC's border beside classes; JPEG and soft edges are grey values."""
    store(folder, "2010_000001")
    place = folder / "scribbles/train/ground_truth"
    picture = TRUTH.astype(np.uint8) * (1 if kind in ("0 and 1", "VOC's border") else 255)
    if kind == "VOC's border":
        picture[(ndimage.binary_dilation(TRUTH) & ~TRUTH)] = 255
    elif kind == "soft":
        picture = np.where(ndimage.binary_dilation(TRUTH) & ~TRUTH, 60, picture).astype(np.uint8)
    (place / "2010_000001.png").unlink()
    Image.fromarray(picture).save(place / f"2010_000001.{'jpg' if kind == 'JPEG' else 'png'}", quality=95)
    found = read_challenge(folder).masks[0]
    assert np.mean(found != TRUTH) < (0.02 if kind == "JPEG" else 1e-9)


def test_photographs_may_have_any_name_and_suffix(folder):
    shutil.rmtree(folder / "scribbles")
    for name in ("IMG 1", "ä"):
        store(folder, name)
    place = folder / "scribbles/train"
    (place / "images/IMG 1.jpg").rename(place / "images/IMG 1.JPG")
    (place / "scribbles/ä.png").rename(place / "scribbles" / unicodedata.normalize("NFD", "ä.png"))
    assert read_challenge(folder).names == ["IMG 1", "ä"]
    found = challenge.objects(folder)
    assert {entry.path.name for entry in found} == {"IMG 1.JPG", "ä.jpg"}
    assert len({entry.image_id for entry in found}) == 2
    assert challenge.number_of("2007_000032") == 2007000032
    assert challenge.number_of("IMG 1") == challenge.number_of("IMG 1") != challenge.number_of("IMG 2")


@pytest.mark.parametrize("read", [read_challenge, challenge.objects])
def test_a_folder_without_photographs_says_how_to_get_some(tmp_path, read):
    with pytest.raises(DataError, match=r"no photograph in .*train/images; `python -m seglib build scribbles` makes"):
        read(tmp_path)


@pytest.mark.parametrize(("kept", "values"), [(0, {-1, 0}), (1, {0, 1}), (255, {0})])
def test_strokes_on_one_side_are_legal_and_named(folder, kept, values):
    place = store(folder, "2010_000001")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # both sides are nothing to warn of
        read_challenge(folder)
    strokes = np.where(kept == STROKES, STROKES, 255).astype(np.uint8)
    Image.fromarray(strokes).save(place / "scribbles/2010_000001.png")
    with pytest.warns(UserWarning, match=r"1 of 2 scribbles in .*train have .* one side only.*: 2010_000001$"):
        found = read_challenge(folder)
    assert set(np.unique(found.scribbles[1])) == values


# --- objects ---


def test_objects_are_the_connected_parts_of_the_truth(folder):
    found = challenge.objects(folder)
    assert [entry.area for entry in found] == [17 * 25 + 5 * 10, 8 * 10]
    np.testing.assert_array_equal(sum(entry.mask().astype(int) for entry in found), TRUTH)
    for entry in found:
        assert ndimage.label(entry.mask(), EIGHT)[1] == 1
        assert (entry.image_id, entry.size, entry.annotated) == (2008004212, (40, 60), 2)
        assert entry.image().shape == (40, 60, 3)
    assert [entry.annotation_id for entry in found] == [2008004212001, 2008004212002]


# --- from Pascal VOC ---

LARGE = (375, 500)


@pytest.fixture
def voc(tmp_path):
    """Two photographs to take, and one for each reason to leave it."""
    (tmp_path / "VOC2012/JPEGImages").mkdir(parents=True)
    (tmp_path / "masks").mkdir()
    classes = np.zeros(LARGE, np.uint8)
    classes[100:200, 50:250] = 5
    classes[200:300, 240:400] = 20
    classes[95:100, 50:250] = 255  # the border that VOC leaves out
    nothing = np.where(classes == 255, classes, 0).astype(np.uint8)
    pictures = {
        "2007_000033": classes,
        "2009_000001": classes[:, ::-1],
        "2008_000002": classes.T,  # portrait
        "2008_000003": nothing,
        "2008_000004": classes,  # without a photograph
    }
    for name, indices in pictures.items():
        save_palette(tmp_path / f"masks/{name}.png", indices, rng(1).integers(0, 256, 768).tolist())
        photograph = Image.fromarray(np.full((*indices.shape, 3), (90, 120, int(name[3]) * 20), np.uint8))
        if name != "2008_000004":
            photograph.save(tmp_path / f"VOC2012/JPEGImages/{name}.jpg")
    return tmp_path


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def build(voc, out="data/scribbles/train", **options):
    return build_from_voc(voc / "VOC2012", voc / "masks", voc / out, **options)


def test_it_is_built_from_the_command_line(voc, capsys):
    arguments = ["build", "scribbles", str(voc / "VOC2012"), "--masks", str(voc / "masks")]
    arguments += ["--out", str(voc / "here/scribbles/train"), "--seed", "3"]
    assert main(arguments) == 0
    assert "2 photographs with strokes and masks" in capsys.readouterr().out
    build(voc, seed=3)
    assert main([*arguments[:-1], "4"]) == 1
    assert "is there already; give a new folder" in capsys.readouterr().err
    assert contents(voc / "here/scribbles/train") == contents(voc / "data/scribbles/train")  # what is there is kept
    assert main(["build", "scribbles", str(voc / "VOC2012"), "--out", str(voc / "there")]) == 1
    assert "SegmentationClass" in capsys.readouterr().err


def test_what_is_built_is_what_the_loader_reads(voc):
    assert build(voc) == 2
    names = ["2007_000033", "2009_000001"]
    expected = {f"images/{name}.jpg" for name in names}
    expected |= {f"{kind}/{name}.png" for name in names for kind in ("scribbles", "ground_truth")}
    assert contents(voc / "data/scribbles/train").keys() == expected
    found = read_challenge(voc / "data")
    assert found.names == names
    for name, image, strokes, mask in zip(names, found.images, found.scribbles, found.masks):
        classes = np.array(Image.open(voc / f"masks/{name}.png"))
        assert np.array_equal(mask, (classes > 0) & (classes != 255))
        photograph = (voc / f"VOC2012/JPEGImages/{name}.jpg").read_bytes()
        assert (voc / f"data/scribbles/train/images/{name}.jpg").read_bytes() == photograph
        assert image.shape == (*LARGE, 3)
        assert mask[strokes > 0].all()
        assert not mask[strokes < 0].any()
        assert set(np.unique(strokes)) == {-1, 0, 1}
    assert len(challenge.objects(voc / "data")) == 2


def test_strokes_depend_on_seed_and_name_alone(voc):
    build(voc, "a")
    build(voc, "b", seed=0)
    build(voc, "c", seed=1)
    (voc / "masks/2007_000033.png").unlink()
    assert build(voc, "d") == 1
    one, same, other, alone = (contents(voc / name) for name in "abcd")
    assert one == same
    assert alone.items() <= one.items()
    different = {name for name in one if one[name] != other[name]}
    assert different == {name for name in one if name.startswith("scribbles/")}


def test_without_a_usable_photograph_or_when_it_fails_midway_nothing_is_left(voc, monkeypatch):
    drawn = []

    def fails(mask, *rest):
        drawn.append(mask)
        if len(drawn) > 1:
            raise OSError("disk full")
        return scribble(mask, *rest)

    monkeypatch.setattr(scribbles, "scribble", fails)
    with pytest.raises(OSError, match=r"disk full"):
        build(voc, "new/out")
    assert list((voc / "new").iterdir()) == []
    for name in ("2007_000033", "2009_000001"):
        (voc / f"masks/{name}.png").unlink()
    with pytest.raises(DataError, match=r"no class mask of 500×375 pixels in .*masks shows an object"):
        build(voc, "new/out")
    assert list((voc / "new").iterdir()) == []


@pytest.mark.parametrize("missing", ["masks", "VOC2012"])
def test_without_pascal_voc_it_says_how_to_get_it(voc, missing):
    (voc / missing).rename(voc / "elsewhere")
    with pytest.raises(DataError, match=r"expected photographs in .*JPEGImages and class masks in .*pascal-voc-2012`"):
        build(voc)
    assert not (voc / "data").exists()


# --- strokes ---


def any_mask(seed):
    """Of any size, height not width: a single pixel, speckles, blobs, or nearly full."""
    random = rng(seed)
    height, width = random.choice(np.arange(1, 90), 2, replace=False)
    if seed % 4 == 0:
        return box(height, width, (y := random.integers(height), y + 1), (x := random.integers(width), x + 1))
    if seed % 4 == 1:
        return random.random((height, width)) < 0.05
    if seed % 4 == 2:
        return ndimage.gaussian_filter(random.standard_normal((height, width)), 5) > 0.02
    return random.random((height, width)) < 0.95


# OpenCV's closing moves what it closes when its disc has an even diameter: round(9 * scale).


@pytest.mark.parametrize("scale", [0.1, 0.2, 0.25, 0.3, 0.4, 0.6, 0.78125, 1])
def test_strokes_are_never_on_the_wrong_side(scale):
    kept = 0
    for seed in range(80):
        mask = any_mask(seed)
        before = mask.copy()
        hint = scribble(mask, rng(seed), scale)
        assert np.array_equal(mask, before)
        assert (hint.shape, hint.dtype) == (mask.shape, np.int8)
        assert set(np.unique(hint)) <= {-1, 0, 1}
        assert mask[hint > 0].all()
        assert (hint > 0).any() == mask.any()
        if (hint < 0).any() and mask.any():
            kept += 1
            assert distance_transform_cdt(~mask, "chessboard")[hint < 0].min() > round(10 * scale)
    assert kept > 5


@pytest.mark.parametrize("scale", [0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.78125, 0.9, 1])
def test_an_object_of_one_pixel_gets_a_dot(scale):
    for y, x in ((0, 0), (0, 100), (75, 0), (75, 100), (30, 64)):
        mask = box(76, 101, (y, y + 1), (x, x + 1))
        hint = scribble(mask, rng(), scale)
        assert np.array_equal(hint > 0, mask)
        assert (hint < 0).any()


def test_the_same_seed_draws_the_same_strokes():
    mask = disc(150, 210, 70, 60, 40) | disc(150, 210, 80, 160, 30)
    drawn = [scribble(mask, rng(seed)) for seed in range(20)]
    assert all(np.array_equal(hint, scribble(mask, rng(seed))) for seed, hint in enumerate(drawn))
    assert len({hint.tobytes() for hint in drawn}) == 20


def test_each_large_part_has_one_stroke():
    parts = [disc(200, 300, 60, 60, 30), disc(200, 300, 140, 150, 40), box(200, 300, (20, 70), (200, 290))]
    speck = disc(200, 300, 20, 120, 12)  # of 441 pixels, and a stroke of its own takes 1600
    for seed in range(20):
        hint = scribble(np.logical_or.reduce([*parts, speck]), rng(seed))
        assert [ndimage.label(part & (hint > 0), EIGHT)[1] for part in parts] == [1, 1, 1]
        assert not hint[speck].any()
        assert ndimage.label(hint < 0, EIGHT)[1] == 1


def test_the_least_part_with_a_stroke_of_its_own_shrinks_with_the_scale():
    for scale in (1, 0.6):
        side = round(40 * scale)  # 1600 pixels at scale 1
        for width, strokes in ((side - 1, 1), (side, 2)):
            mask = box(100, 160, (5, 75), (5, 75)) | box(100, 160, (30, 30 + side), (100, 100 + width))
            assert ndimage.label(scribble(mask, rng(), scale) > 0, EIGHT)[1] == strokes


def test_the_largest_part_has_a_stroke_however_small():
    small, smaller = disc(90, 120, 20, 20, 9), disc(90, 120, 60, 90, 7)
    hint = scribble(small | smaller, rng())
    assert (hint[small] > 0).any()
    assert not (hint[smaller] > 0).any()


def test_what_hardly_comes_apart_is_one_part():
    halves = box(120, 170, (75, 105), (20, 60)) | box(120, 170, (75, 105), (68, 108))  # 1200 pixels each, 8 between
    far = box(120, 170, (75, 105), (20, 60)) | box(120, 170, (75, 105), (70, 110))  # 10 between
    large = box(120, 170, (5, 60), (5, 60))
    assert all((scribble(large | halves, rng(seed))[75:] > 0).any() for seed in range(10))
    assert not any((scribble(large | far, rng(seed))[75:105, :130] > 0).any() for seed in range(10))


THICKNESS = 6.9  # at scale 1: the challenge's strokes have 5.4 pixels of area for each of their skeleton, at 500 / 640


@pytest.mark.parametrize("scale", [0.3, 0.4, 0.5, 0.6, 0.78125, 1, 1.2])
def test_strokes_are_as_thick_as_the_challenge_s(scale):
    height, width = round(300 * scale), round(400 * scale)
    mask = disc(height, width, height / 2, height / 2, 120 * scale)
    strokes = [scribble(mask, rng(seed), scale) > 0 for seed in range(12)]
    length = [skeletonize(stroke).sum() for stroke in strokes]
    assert 0.45 < np.median(length) / (240 * scale) < 1.1  # of the disc's diameter
    assert np.median([stroke.sum() / n for stroke, n in zip(strokes, length)]) == pytest.approx(
        THICKNESS * scale, rel=0.25
    )


def test_a_stroke_keeps_away_from_the_object_s_border():
    mask = disc(300, 400, 150, 200, 100)
    depth = distance_transform_edt(mask)
    assert min(depth[scribble(mask, rng(seed)) > 0].min() for seed in range(20)) >= 1
    middle = [depth[skeletonize(scribble(mask, rng(seed)) > 0)].min() for seed in range(20)]
    assert min(middle) >= 1.5


def test_the_background_s_stroke_is_in_one_region_beside_the_object():
    mask = box(200, 300, (80, 120), (150, 230))
    yy, xx = np.mgrid[:200, :300]
    regions = [xx < 140, xx >= 240, yy < 70, yy >= 130]  # ten pixels away from the box
    used = np.zeros(4, int)
    for seed in range(60):
        background = scribble(mask, rng(seed)) < 0
        assert ndimage.label(background, EIGHT)[1] == 1
        inside = [region[background].all() for region in regions]
        assert any(inside)
        used += inside
    assert (used > 0).all()


@pytest.mark.parametrize("turn", range(4))
def test_the_background_s_stroke_may_come_as_near_as_ten_pixels(turn):
    mask = np.rot90(box(100, 160, (0, 100), (0, 60)), turn)
    away = distance_transform_cdt(~mask, "chessboard")
    assert min(away[scribble(mask, rng(seed)) < 0].min() for seed in range(40)) == 11  # ten pixels lie between


@pytest.mark.parametrize("scale", [1, 0.5])
def test_a_region_beside_the_object_needs_1600_pixels(scale):
    """Where none has as many, the stroke may also lie within the object's bounding box."""
    height, slope, margin = round(100 * scale), round(120 * scale), round(10 * scale)
    for width in (round(16 * scale) - 1, round(16 * scale)):
        y, x = np.mgrid[:height, : slope + margin + width]
        mask = (x <= y * slope / height) & (x < slope)  # a triangle that leaves one corner of its bounding box
        mask[-1, :slope] = True
        beside = [np.nonzero(scribble(mask, rng(seed), scale) < 0)[1].min() >= slope + margin for seed in range(20)]
        assert all(beside) == (width == round(16 * scale))


@pytest.mark.parametrize("scale", [1, 0.5])
@pytest.mark.parametrize("turn", [0, 1])
def test_a_gap_in_the_object_needs_1600_pixels_beyond_the_margin(scale, turn):
    enough, margin, length = round(16 * scale), round(10 * scale), round(100 * scale)
    for width in (enough - 1, enough):
        gap = np.rot90(box(120, length, (20, 20 + width + 2 * margin), (0, length)), turn)  # from edge to edge
        assert (scribble(~gap, rng(), scale) < 0).any() == (width == enough)


def test_a_region_is_the_likelier_the_larger():
    mask = box(200, 120, (60, 80), (0, 120))  # 50 rows above it and 110 below are free
    above = [(scribble(mask, rng(seed))[:60] < 0).any() for seed in range(200)]
    assert np.mean(above) == pytest.approx(50 / 160, abs=0.1)


def test_an_object_from_edge_to_edge_has_background_in_its_corners():
    cross = box(200, 300, (95, 105), (0, 300)) | box(200, 300, (0, 200), (145, 155))
    corners = set()
    for seed in range(40):
        y, x = np.nonzero(scribble(cross, rng(seed)) < 0)
        assert len(y)
        corner = {*zip((y > 100).tolist(), (x > 150).tolist())}
        assert len(corner) == 1
        corners |= corner
    assert len(corners) == 4


def test_a_full_mask_has_no_background_stroke_and_an_empty_one_no_other():
    for size in ((60, 90), (7, 3), (1, 1)):
        assert set(np.unique(scribble(np.ones(size, bool), rng()))) - {0} == {1}
    assert set(np.unique(scribble(np.zeros((90, 140), bool), rng()))) == {-1, 0}
    assert not scribble(np.zeros((9, 14), bool), rng()).any()


def test_where_there_is_no_room_there_is_no_background_stroke():
    mask = box(120, 160, (25, 95), (30, 130))
    assert (scribble(mask, rng()) < 0).any()
    mask = box(120, 160, (12, 108), (12, 148))  # beyond the margin is a frame of two pixels, in all fewer than 1600
    for seed in range(10):
        assert set(np.unique(scribble(mask, rng(seed)))) == {0, 1}


# --- generated scenes ---


@pytest.fixture(scope="module")
def drawn():
    return generated(4, seed=0)


def test_generated_scenes_are_of_the_challenge_s_size_with_strokes_on_their_sides_and_mostly_on_both(drawn):
    assert len(drawn) == len(drawn.images) == len(drawn.scribbles) == len(drawn.masks) == len(set(drawn.names)) == 4
    for image, strokes, mask in zip(drawn.images, drawn.scribbles, drawn.masks):
        assert (image.shape, image.dtype) == ((375, 500, 3), np.uint8)
        assert (strokes.shape, strokes.dtype) == ((375, 500), np.int8)
        assert (mask.shape, mask.dtype) == ((375, 500), bool)
        assert mask[strokes > 0].all()
        assert not mask[strokes < 0].any()
        assert (strokes > 0).any()
    assert sum((strokes < 0).any() for strokes in drawn.scribbles) >= 3


def test_generated_scenes_depend_on_seed_and_number_alone(drawn):
    again, other = generated(2, seed=0), generated(1, seed=1)
    for column in ("images", "scribbles", "masks", "names"):
        expected = getattr(drawn, column)
        assert all(np.array_equal(one, two) for one, two in zip(getattr(again, column), expected))
        assert not np.array_equal(expected[0], expected[1])
        assert not np.array_equal(expected[0], getattr(other, column)[0])


def test_every_annotated_object_is_foreground_and_crowds_are_not(monkeypatch):
    cup, dog, stones = (box(60, 90, (5, 25), columns) for columns in ((5, 30), (25, 50), (60, 80)))
    drawn = iter([[], [["stone", stones, True]], [["cup", cup, False], ["stone", stones, True], ["dog", dog, False]]])
    monkeypatch.setattr(scenes, "draw_scene", lambda height, width, _: (np.zeros((60, 90, 3), np.uint8), next(drawn)))
    (mask,) = generated(1, 0).masks
    assert np.array_equal(mask, cup | dog)


# --- what a network sees ---


def strokes_in(size, seed=0):
    return rng(seed).choice([-1, 0, 0, 0, 1], size).astype(np.int8)


@pytest.mark.parametrize("size", [(5, 9), (17, 8), (1, 7)])
def test_channels_by_hand(size):
    image, strokes = rng(1).integers(0, 256, (*size, 3), np.uint8), strokes_in(size)
    found = network_input(image, strokes)
    assert (found.shape, found.dtype) == ((4, *size), torch.float32)
    np.testing.assert_allclose(found[:3], np.moveaxis(image, 2, 0) / 255, atol=1e-6)
    np.testing.assert_array_equal(found[3], strokes)


def test_clues_are_further_channels():
    image, strokes = smooth_picture(20, 30), strokes_in((20, 30))
    # At this size the picture is not reduced for the distances.
    near, far = (geodesic_distance(image, strokes == side).astype(float) for side in (1, -1))
    expected = {"likelihood": colour_likelihood(image, strokes), "geodesic": far / (near + far)}
    for clues in (["likelihood"], ["geodesic"], ["likelihood", "geodesic"]):
        found = network_input(image, strokes, clues)
        assert (found.shape, found.dtype) == ((4 + len(clues), 20, 30), torch.float32)
        assert torch.equal(found[:4], network_input(image, strokes))
        np.testing.assert_allclose(found[4:], [expected[clue] for clue in clues], atol=1e-5)


@pytest.mark.parametrize("values", [(0,), (0, 1), (0, -1), (-1, 0, 1)])
@pytest.mark.parametrize("size", [(31, 46), (130, 200), (200, 9)])
def test_clues_are_from_0_to_1_even_for_strokes_on_one_side(values, size):
    strokes = cv2.resize(rng(2).choice(values, (8, 8)).astype(np.int16), size[::-1], interpolation=cv2.INTER_NEAREST)
    for image in (smooth_picture(*size), np.zeros((*size, 3), np.uint8)):
        found = network_input(image, strokes.astype(np.int8), scribbles.CLUES)
        assert torch.isfinite(found).all()
        assert found[4:].min() >= 0
        assert found[4:].max() <= 1


def octile(size, seeds):
    """Distance to the nearest seed of a king on a board, whose steps across a corner are as long as they are."""
    down, across = np.abs(np.mgrid[: size[0], : size[1]][:, None] - np.argwhere(seeds).T[:, :, None, None])
    return (abs(down - across) + np.sqrt(2) * np.minimum(down, across)).min(0)


def test_without_edges_the_share_is_that_of_distances_on_the_board():
    strokes, plain = np.zeros((60, 90), np.int8), np.full((60, 90, 3), 77, np.uint8)
    strokes[20:24, 10:40], strokes[45:48, 50:80] = 1, -1
    near, far = (octile((60, 90), strokes == side) for side in (1, -1))
    for kept, expected in (
        (strokes, far / (near + far)),
        # With one side only the other is as far as the farthest pixel.
        (np.maximum(strokes, 0), near.max() / (near + near.max())),
        (np.minimum(strokes, 0), far / (far + far.max())),
        (0 * strokes, np.full((60, 90), 0.5)),
    ):
        np.testing.assert_allclose(scribbles._geodesic_share(plain, kept), expected, atol=1e-5)


@pytest.mark.parametrize("size", [(60, 90), (90, 60), (375, 500)])
def test_the_share_is_above_half_on_the_object_s_strokes(size):
    scale = max(size) / 640
    for seed in range(2):
        mask = disc(*size, 0.5 * size[0], 0.4 * size[1], 0.2 * min(size))
        strokes = scribble(mask, rng(seed), 0.1 if size != LARGE else scale)
        assert set(np.unique(strokes)) == {-1, 0, 1}
        for kept in (strokes, np.maximum(strokes, 0), np.minimum(strokes, 0)):
            found = scribbles._geodesic_share(smooth_picture(*size, seed), kept)
            assert (found[kept > 0] > 0.5).all()
            assert (found[kept < 0] < 0.5).all()


def test_the_share_follows_edges():
    mask = disc(200, 300, 90, 120, 60)
    image = np.where(mask[..., None], (200, 60, 60), (60, 80, 190)).astype(np.uint8)
    strokes = np.zeros((200, 300), np.int8)
    strokes[88:92, 110:130], strokes[150:154, 200:290] = 1, -1
    found = scribbles._geodesic_share(image, strokes) > 0.5
    assert (found == mask)[distance_transform_edt(mask) + distance_transform_edt(~mask) > 3].all()


def test_a_line_of_one_pixel_is_seen_wherever_it_is_and_a_picture_that_is_one_stroke_is_object():
    for row in range(100, 110):
        strokes = np.zeros(LARGE, np.int8)
        strokes[row, 50:300], strokes[250:260, 50:300] = 1, -1
        found = scribbles._geodesic_share(np.full((*LARGE, 3), 90, np.uint8), strokes)
        assert (found[strokes > 0] > 0.5).all()
    assert (scribbles._geodesic_share(smooth_picture(6, 9), np.ones((6, 9), np.int8)) > 0.5).all()


# --- sizes ---


@pytest.mark.parametrize("size", [(20, 30), (13, 47), (80, 90)])
def test_labels_are_those_of_the_nearest_pixel(size):
    labels = strokes_in((41, 61))  # odd: of an even number two can be equally near
    found = resized_labels(labels, size)
    rows, columns = (((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip(size, labels.shape))
    assert found.dtype == np.int8
    assert np.array_equal(found, labels[np.ix_(rows, columns)])


def test_a_picture_and_its_mask_are_reduced_alike():
    mask = disc(200, 300, 90, 160, 50)
    picture = np.stack([255 * mask.astype(np.uint8)] * 3, axis=-1)
    small, labels = resized(picture, (80, 120)), resized_labels(mask.astype(np.uint8), (80, 120))
    assert (small.shape, small.dtype) == ((80, 120, 3), np.uint8)
    expected = 0.4 * (np.array([90, 160]) + 0.5)
    np.testing.assert_allclose(np.array(ndimage.center_of_mass(small[..., 0])) + 0.5, expected, atol=0.1)
    np.testing.assert_allclose(np.argwhere(labels).mean(0) + 0.5, expected, atol=0.3)


# --- augmented items ---

VIEW = (120, 180)
# By label, three times the mask plus the stroke; far apart however they are jittered.
COLOURS = {0: (40, 40, 170), -1: (225, 225, 225), 3: (200, 60, 60), 4: (60, 200, 60)}


def colour_coded(size=VIEW):
    """A picture whose colours tell mask and strokes; nothing in it is symmetric."""
    height, width = size
    mask, strokes = np.zeros(size, bool), np.zeros(size, np.int8)
    mask[height // 8 : 5 * height // 8, width // 8 : width // 2] = True
    mask[height // 2 : 3 * height // 4, width // 2 : 2 * width // 3] = True
    strokes[height // 4 : height // 2, width // 6 : width // 3] = 1
    strokes[3 * height // 4 + 5 : height - 5, width // 10 : width // 2] = -1
    image = np.zeros((*size, 3), np.uint8)
    for label, colour in COLOURS.items():
        image[3 * mask + strokes == label] = colour
    return image, strokes, mask


def one_picture(*pictures):
    images, strokes, masks = zip(*pictures)
    return Scribbled(list(images), list(strokes), list(masks), [f"picture{i}" for i in range(len(images))])


def items(dataset, epochs):
    """Image (H, W, 3) from 0 to 255, strokes (H, W) and mask (H, W) of every item in some epochs."""
    for epoch in range(epochs):
        dataset.set_epoch(epoch)
        for seen, mask in dataset:
            yield 255 * seen[:3].numpy().transpose(1, 2, 0), seen[3].numpy(), mask[0].numpy()


def disagreement(image, strokes, mask):
    """How far colours stray where mask and strokes say that they are the same, and from what classes that is known.

    Borders are left out: there colours mix and are blurred. Background has two colours, its own and that of what comes
    from outside; it must only not have another class's.
    """
    label = (3 * mask + strokes).astype(int)
    outside = {"mode": "constant", "cval": 9}  # at the picture's edge, too, colours mix with what is outside
    inner = ndimage.maximum_filter(label, 13, **outside) == ndimage.minimum_filter(label, 13, **outside)
    worst, known = 0, {}
    for value in set(COLOURS) - {0}:
        pixels = image[inner & (label == value)]
        if len(pixels) >= 20:
            known[value] = np.median(pixels, 0)
            worst = max(worst, np.abs(pixels - known[value]).max())
    background = image[inner & (label == 0)]
    for colour in known.values():
        near = np.abs(background - colour).max(1, initial=0) < 30
        worst = max(worst, 255 * near.any())
    return worst, known


@pytest.mark.parametrize("level", LEVELS)
def test_image_strokes_and_mask_move_together(level):
    image, strokes, mask = colour_coded()
    dataset = ScribbleDataset(one_picture((image, strokes, mask)), VIEW, augment=augmentation(level, VIEW))
    seen, moved = {value: 0 for value in COLOURS}, 0
    for item in items(dataset, 60):
        worst, known = disagreement(*item)
        assert worst < 20
        for value, colour in known.items():
            seen[value] += 1
            assert all(np.abs(colour - other).max() > 40 for key, other in known.items() if key != value)
        moved += (item[2] != mask).mean() > 0.02
    assert min(seen[value] for value in (-1, 3, 4)) > 35
    assert moved > 45


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("move", ["across", "down", "shift"])
def test_what_moves_alone_would_be_seen(which, move):
    """The check above can fail."""
    item = [np.array(part, float) for part in colour_coded()]
    assert disagreement(*item)[0] == 0
    item[which] = np.roll(item[which], (9, 9), (0, 1)) if move == "shift" else np.flip(item[which], move == "across")
    assert disagreement(*item)[0] > 20


@pytest.mark.parametrize("synthetic", [0, 1])
@pytest.mark.parametrize("level", ["none", *LEVELS])
def test_strokes_keep_their_values_and_their_sides_given_ones_and_fresh_ones(level, synthetic):
    mask = colour_coded()[2]
    twice = one_picture(*2 * [(smooth_picture(*VIEW), scribble(mask, rng(), 0.3), mask)])
    found, drawn = ScribbleDataset(twice, VIEW, augment=augmentation(level, VIEW), synthetic=synthetic), set()
    for _, strokes, mask in items(found, 15):
        drawn.add(strokes.tobytes())
        assert set(np.unique(mask)) <= {0, 1}
        assert set(np.unique(strokes)) <= {-1, 0, 1}
        assert (mask[strokes > 0] == 1).all()
        assert (mask[strokes < 0] == 0).all()
        assert not synthetic or (strokes > 0).any() == mask.any()
    if synthetic:
        assert len(drawn) == 30  # in every epoch, and two items of one picture differ, too


def test_without_augmentation_an_item_is_what_was_given():
    image, strokes, mask = (
        smooth_picture(40, 60),
        strokes_in((40, 60)),
        TRUTH > 0,
    )  # strokes on either side: all six labels
    assert augmentation("none", VIEW) is None
    seen, target = ScribbleDataset(one_picture((image, strokes, mask)), (40, 60))[0]
    assert torch.equal(seen, network_input(image, strokes))
    np.testing.assert_array_equal(target[0], mask)


@pytest.mark.parametrize("level", LEVELS)
def test_what_comes_from_outside_is_background_and_not_drawn_on(level):
    """A white picture that is object and drawn on all over: what is dark is from outside."""
    white = np.full((*VIEW, 3), 255, np.uint8), np.full(VIEW, -1, np.int8), np.ones(VIEW, bool)
    found = 0
    for image, strokes, mask in items(ScribbleDataset(one_picture(white), VIEW, augment=augmentation(level, VIEW)), 40):
        outside = mask == 0
        assert np.array_equal(strokes, np.where(outside, 0, -1))
        known = ndimage.maximum_filter(mask, 13) == ndimage.minimum_filter(mask, 13)
        if (outside & known).any() and not outside.all():
            found += 1
            grey = image.mean(2)
            assert grey[outside & known].max() < grey[~outside & known].min() - 40
        elif not outside.any():
            assert np.ptp(image) < 10
    assert found > 10


def test_colour_jitter_and_blur_change_the_image_alone():
    image, *labels = colour_coded()
    steps = [one for one in augmentation("high", VIEW).transforms if isinstance(one, A.ColorJitter | A.GaussianBlur)]
    assert len(steps) == 2
    found = list(items(ScribbleDataset(one_picture((image, *labels)), VIEW, augment=A.Compose(steps)), 30))
    assert all(np.array_equal(*pair) for item in found for pair in zip(item[1:], labels))
    assert 15 < sum(np.abs(item[0] - image).mean() > 1 for item in found) < 30


def windows():
    """Height and width of what each crop shows, and whether an object of four pixels is in it."""
    yy, xx = np.mgrid[:100, :150]
    mask = box(100, 150, (80, 82), (3, 5)).astype(np.uint8)
    steps = augmentation("medium", (100, 150)).transforms
    crops = A.Compose([step for step in steps if isinstance(step, A.OneOf)], seed=0)
    for _ in range(600):
        found = crops(image=np.stack([yy, xx, 0 * xx], -1).astype(np.uint8), mask=mask)
        assert found["image"].shape == (100, 150, 3)
        yield *(int(np.ptp(found["image"][..., channel])) + 1 for channel in (0, 1)), found["mask"].any()


def is_aware(height, width):
    return abs(height - 70) <= 1 and abs(width - 105) <= 1


def test_half_of_the_items_are_crops_and_half_of_those_hold_the_object_for_certain():
    found = list(windows())
    crops = [(is_aware(height, width), height * width, holds) for height, width, holds in found if width < 149]
    assert len(crops) / len(found) == pytest.approx(0.5, abs=0.08)
    assert np.mean([aware for aware, *_ in crops]) == pytest.approx(0.5, abs=0.08)
    # A few of the others are of the same size by chance.
    assert np.mean([holds for aware, _, holds in crops if aware]) > 0.9
    assert np.mean([holds for aware, _, holds in crops if not aware]) < 0.8
    assert min(area for _, area, _ in crops) > 0.35 * 100 * 150


# --- the data set ---


def small_data():
    found = []
    for i, size in enumerate([(50, 70), (70, 50), (64, 64)]):
        mask = disc(*size, 30, 25 + i, 15)
        found.append((smooth_picture(*size, i), scribble(mask, rng(i), 0.1), mask))
    return one_picture(*found)


def dataset(seed=0, level="high", size=(48, 72), **options):
    return ScribbleDataset(small_data(), size, augment=augmentation(level, size), seed=seed, **options)


@pytest.mark.parametrize("clues", [(), ("likelihood",), ("likelihood", "geodesic")])
@pytest.mark.parametrize("size", [(48, 72), (72, 48)])
def test_photographs_of_any_size_become_items_of_one(size, clues):
    for level in ("none", "high"):
        found = dataset(level=level, size=size, clues=clues)
        assert len(found) == 3
        assert found.names == ["picture0", "picture1", "picture2"]
        for seen, mask in found:
            assert (seen.shape, seen.dtype) == ((4 + len(clues), *size), torch.float32)
            assert (mask.shape, mask.dtype) == ((1, *size), torch.float32)
            assert 0 <= seen[:3].min() < seen[:3].max() <= 1
            assert torch.equal(seen, network_input(*as_given(seen), clues))  # clues are about what is seen


def as_given(seen):
    return (255 * seen[:3]).round().numpy().astype(np.uint8).transpose(1, 2, 0), seen[3].numpy().astype(np.int8)


def test_items_depend_on_seed_epoch_and_index_alone():
    one, other = (dataset(synthetic=0.5) for _ in range(2))
    expected = {}
    for epoch in range(4):
        one.set_epoch(epoch)
        expected |= {(epoch, index): one[index] for index in range(3)}
    for epoch, index in rng().permutation(list(expected)).tolist():  # in another order, with others left out
        other.set_epoch(epoch)
        for part, same in zip(other[index], expected[epoch, index]):
            assert torch.equal(part, same)
    assert len({seen.numpy().tobytes() for seen, _ in expected.values()}) == 12
    assert not torch.equal(dataset(seed=1)[0][0], dataset()[0][0])


def test_asking_leaves_the_data_as_it_was():
    found = dataset(synthetic=0.5, clues=scribbles.CLUES)
    before = [np.copy(part) for part in (*found.images, *found.scribbles, *found.masks)]
    list(items(found, 3))
    assert all(np.array_equal(*two) for two in zip(before, (*found.images, *found.scribbles, *found.masks)))


@pytest.mark.parametrize(("synthetic", "share"), [(0, 0), (0.3, 0.3), (1, 1)])
def test_synthetic_says_how_often(synthetic, share):
    found = dataset(level="none", synthetic=synthetic)
    own = [any(np.array_equal(strokes, given) for given in found.scribbles) for _, strokes, _ in items(found, 60)]
    assert 1 - np.mean(own) == pytest.approx(share, abs=0.1 if 0 < share < 1 else 0)


# --- folds ---


def of_shares(shares):
    masks = [np.arange(200).reshape(10, 20) < round(200 * share) for share in shares]
    return Scribbled([None] * len(masks), [None] * len(masks), masks, [str(i) for i in range(len(masks))])


@pytest.mark.parametrize(("photographs", "count"), [(10, 3), (7, 7), (228, 5), (5, 1), (11, 4)])
def test_folds_are_a_partition_into_equal_parts_that_depends_on_the_seed_alone(photographs, count):
    data = of_shares(rng(1).random(photographs))
    folds, same, other = (stratified_folds(data, count, seed) for seed in (3, 3, 4))
    assert len(folds) == count
    assert sorted(np.concatenate(folds).tolist()) == list(range(photographs))
    assert all((np.diff(fold) > 0).all() for fold in folds)
    assert max(map(len, folds)) - min(map(len, folds)) <= 1
    assert all(map(np.array_equal, folds, same))
    assert all(map(np.array_equal, folds, other)) == (count == 1)


def test_each_fold_has_one_of_every_run_of_sizes():
    shares = rng(2).permutation(np.arange(60) / 80)
    folds = stratified_folds(of_shares(shares), 5, 0)
    for fold in folds:
        assert np.array_equal(np.sort((80 * shares[fold]).round().astype(int)) // 5, np.arange(12))
    # So two folds' means differ by at most the range over the runs: 59 / 80 / 12.
    means = [shares[fold].mean() for fold in folds]
    assert np.ptp(means) <= 59 / 80 / 12


def test_photographs_with_equal_objects_are_dealt_out_too():
    folds = [stratified_folds(of_shares([0.4] * 30), 3, seed) for seed in range(20)]
    assert {len(fold) for one in folds for fold in one} == {10}
    assert len({one[0].tobytes() for one in folds}) == 20
    with pytest.raises(DataError, match=r"4 photographs with masks cannot be split into 5 folds"):
        stratified_folds(of_shares([0.1, 0.2, 0.3, 0.4]), 5, 0)


# --- real data ---

real_only = pytest.mark.skipif(not REAL, reason="SEGLIB_DATA is not set: no real data at hand")


@pytest.fixture(scope="module")
def real():
    with pytest.warns(UserWarning, match=r"1 of 228 scribbles .* on one side only, object or background: 2009_002972$"):
        return read_challenge(REAL)


@real_only
def test_the_real_challenge(real):
    assert len(real) == len(real.masks) == 228
    assert {image.shape for image in real.images} == {(375, 500, 3)}
    assert {strokes.shape for strokes in real.scribbles} == {mask.shape for mask in real.masks} == {(375, 500)}
    assert all((strokes > 0).any() for strokes in real.scribbles)
    assert [(strokes < 0).any() for strokes in real.scribbles].count(False) == 1
    for strokes, mask in zip(real.scribbles, real.masks):
        assert mask[strokes > 0].all()
        assert not mask[strokes < 0].any()


@real_only
def test_the_real_challenge_s_statistics(real):
    mean, deviation = channel_statistics(real.images)
    np.testing.assert_allclose(mean, (0.4589, 0.4589, 0.4215), atol=1e-4)
    np.testing.assert_allclose(deviation, (0.2618, 0.2633, 0.2822), atol=1e-4)
    foreground = sum(int(mask.sum()) for mask in real.masks)
    assert (228 * 375 * 500 - foreground) / foreground == pytest.approx(3.88, abs=0.01)


@real_only
@pytest.mark.filterwarnings("ignore:1 of 228 scribbles")
def test_the_real_challenge_s_objects(real):
    found = challenge.objects(REAL)
    assert len({entry.image_id for entry in found}) == 228
    for index in (0, 100, 227):
        number = int(real.names[index].replace("_", ""))
        masks = [entry.mask() for entry in found if entry.image_id == number]
        path = Path(REAL) / f"scribbles/train/ground_truth/{real.names[index]}.png"
        np.testing.assert_array_equal(sum(mask.astype(int) for mask in masks), np.array(Image.open(path)))


@real_only
def test_real_objects_are_spread_over_folds_alike(real):
    shares = np.array([mask.mean() for mask in real.masks])
    means = [shares[fold].mean() for fold in stratified_folds(real, 5, 0)]
    assert np.ptp(means) < 0.02  # of a mean of 0.2; of folds at random 0.04


def about_strokes(hints, sign):
    """Of each photograph with strokes of that sign: length and thickness in pixels, share of the picture."""
    found = []
    for hint in hints:
        stroke = hint == sign
        if stroke.any():
            (rows, columns) = ndimage.find_objects(stroke.astype(int))[0]
            part = np.pad(stroke[rows, columns], 1)
            length = skeletonize(part).sum()
            found.append((length, stroke.sum() / length, stroke.mean()))
    return np.median(found, axis=0)


@real_only
def test_generated_strokes_are_like_the_real_ones(real):
    """On the real masks. People's strokes in the object are shorter, and more of them: together they are as long."""
    hints = [scribble(mask, rng([0, i]), 500 / 640) for i, mask in enumerate(real.masks)]
    for hint, mask in zip(hints, real.masks):
        assert mask[hint > 0].all()
        assert not mask[hint < 0].any()
        assert (hint > 0).any()
    assert sum(not (hint < 0).any() for hint in hints) <= 3
    for sign in (1, -1):
        np.testing.assert_allclose(about_strokes(hints, sign), about_strokes(real.scribbles, sign), rtol=0.2)


@real_only
def test_real_strokes_are_on_their_side_of_the_geodesic_share(real):
    for image, strokes in list(zip(real.images, real.scribbles))[::12]:
        found = scribbles._geodesic_share(image, strokes)
        assert (found[strokes > 0] > 0.5).all()
        assert (found[strokes < 0] < 0.5).all()
