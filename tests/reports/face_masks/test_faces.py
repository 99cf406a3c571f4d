"""Faces with masks: what is drawn, how hard it is, what is read, how it is split, and how it is augmented."""

import os
import re
import warnings
from collections import Counter
from pathlib import Path

import albumentations as A
import cv2
import numpy as np
import pytest
import skimage.data
from by_hand import overlap, rng
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import distance_transform_edt, gaussian_filter, label
from skimage.color import rgb2gray
from skimage.filters import threshold_otsu

from seglib.data.datasets import SegmentationDataset
from seglib.data.textures import as_photographed
from seglib.reports.face_masks import face_drawing, faces
from seglib.reports.face_masks.face_drawing import CANVAS, MASK_STYLES, Head, Light, draw_mask, draw_person
from seglib.reports.face_masks.faces import (
    AUGMENTATIONS,
    DataError,
    Pairs,
    generate,
    mask_portrait,
    person,
    split_folds,
)

REAL = os.environ.get("SEGLIB_DATA")
HEAD = Head(128, 115, 75, 90)
LIGHT = Light(np.array([0.0, 0.0, 1.0]), 0.5)


def large_parts(mask):
    """How many connected parts cover at least 2 % of the frame."""
    parts, _ = label(mask)
    return (np.bincount(parts.ravel())[1:] >= 0.02 * mask.size).sum()


# --- generated faces ---


@pytest.fixture(scope="module")
def calibrated():
    return generate(60, 128, seed=0, two_people=0.12)


def test_generated_pairs_have_the_documented_form_and_the_size_changes_nothing_else():
    small, large = generate(2, 64, seed=5), generate(2, 128, seed=5)
    for pairs, size in ((small, 64), (large, 128)):
        assert pairs.images.shape == (2, size, size, 3)
        assert pairs.masks.shape == (2, size, size)
        assert pairs.images.dtype == pairs.masks.dtype == np.uint8
        assert all(set(np.unique(mask)) == {0, 1} for mask in pairs.masks)
        assert len(pairs) == len(set(pairs.names)) == 2
    halved = large.images.reshape(2, 64, 2, 64, 2, 3).mean((2, 4))
    assert np.abs(small.images - halved).max() <= 1.5
    assert all(overlap(*pair) > 0.95 for pair in zip(small.masks, large.masks[:, ::2, ::2]))


def test_a_frame_depends_on_seed_and_index_alone_and_none_comes_twice(calibrated):
    np.random.seed(3)  # noqa: NPY002 — the global state must not matter
    again, other = (generate(4, 128, seed=seed, two_people=0.12) for seed in (0, 1))
    for column in ("images", "masks", "names"):
        every, same, others = (getattr(pairs, column) for pairs in (calibrated, again, other))
        assert np.array_equal(same, every[:4])
        assert len({np.asarray(one).tobytes() for one in (*every, *others)}) == 64


@pytest.mark.parametrize(
    ("name", "value"),
    [("count", 0), ("count", -3), ("size", 0), ("two_people", 1.1), ("two_people", -0.1), ("two_people", float("nan"))],
)
def test_impossible_frames_are_refused(name, value):
    with pytest.raises(ValueError, match=f"expected .*{name}.* got .*{value}"):
        generate(**{"count": 1, "size": 64, "seed": 0, name: value})


@pytest.mark.parametrize(("share", "least", "most"), [(1.0, 0.8, 1), (0.0, 0, 0.1)])
def test_two_people_wear_two_masks_and_one_person_one(share, least, most):
    parts = np.array([large_parts(mask) for mask in generate(14, 64, seed=1, two_people=share).masks])
    assert least <= np.mean(parts >= 2) <= most
    assert np.mean(parts >= 1) > 0.9


def test_the_task_is_as_hard_as_the_real_one(calibrated):
    """Otsu's threshold on MFSD: mean IoU 0.29 with masks taken to be bright, 0.54 where it may choose; 38 % is mask."""
    bright, better = [], []
    for image, mask in zip(calibrated.images, calibrated.masks):
        grey = rgb2gray(image)
        found = grey > threshold_otsu(grey)
        bright.append(overlap(found, mask))
        better.append(max(overlap(found, mask), overlap(~found, mask)))
    assert np.mean(bright) == pytest.approx(0.29, abs=0.08)
    assert np.mean(better) == pytest.approx(0.54, abs=0.08)
    assert calibrated.masks.mean() == pytest.approx(0.38, abs=0.08)
    assert np.mean([large_parts(mask) >= 2 for mask in calibrated.masks]) == pytest.approx(0.12, abs=0.06)


def test_pairs_are_taken_and_joined_with_their_names():
    pairs = Pairs(np.arange(12, dtype=np.uint8).reshape(4, 1, 1, 3), np.eye(4, dtype=np.uint8)[..., None], list("abcd"))
    for indices in ([2, 0], np.array([2, 0])):
        both = pairs.take(indices) + pairs
        order = [2, 0, 0, 1, 2, 3]
        assert both.names == list("caabcd")
        assert len(both) == 6
        assert np.array_equal(both.images, pairs.images[order])
        assert np.array_equal(both.masks, pairs.masks[order])


# --- heads ---

angles, radii = st.floats(-180, 180), st.floats(20, 160)
positions = st.floats(0, 256)


def test_points_of_a_frontal_head_by_hand():
    head = Head(100, 120, 50, 60)
    assert head.project(0, 0).tolist() == [100, 120]
    assert head.project(0, [80, 40, 0, -40, -80])[:, 0].tolist() == [100] * 5
    np.testing.assert_allclose(head.project([90, -90], 0), [[150, 120], [50, 120]], atol=1 / 16)
    np.testing.assert_allclose(head.project(0, [90, -90]), [[100, 60], [100, 180]], atol=1 / 16)
    np.testing.assert_allclose(head.project(30, 0)[0], 125, atol=0.3)  # half of it; the nose adds a little
    np.testing.assert_allclose(head.project(90, 0, lift=0.2), [160, 120], atol=1 / 16)


@settings(max_examples=50, deadline=None)
@given(azimuth=angles, elevation=angles, pitch=st.floats(-30, 30), lift=st.floats(0, 0.3))
def test_a_frontal_head_is_symmetric(azimuth, elevation, pitch, lift):
    left, right = Head(100, 120, 50, 60, pitch=pitch).project([-azimuth, azimuth], elevation, lift) - [100, 120]
    np.testing.assert_allclose(left * [-1, 1], right, atol=1 / 16)


@settings(max_examples=100, deadline=None)
@given(
    where=st.tuples(positions, positions, radii, radii),
    turn=st.tuples(st.floats(-90, 90), st.floats(-30, 30)),
    azimuth=angles,
    elevation=angles,
    lift=st.floats(0, 0.3),
)
def test_points_stay_within_the_silhouette(where, turn, azimuth, elevation, lift):
    head = Head(*where, *turn)
    nose = 0.16 if abs(azimuth) < 60 else 0  # it stands out, by at most this
    x, y = np.abs(head.project(azimuth, elevation, lift) - [head.x, head.y])
    assert x <= head.width * (1 + lift + nose) + 0.04
    assert y <= head.height * (1 + 0.3 * (lift + nose)) + 0.04


@settings(max_examples=50, deadline=None)
@given(azimuth=angles, elevation=angles, yaw=st.floats(-90, 90), roll=angles)
def test_roll_turns_the_picture_plane_about_the_centre(azimuth, elevation, yaw, roll):
    upright, rolled = (Head(100, 120, 50, 60, yaw, roll=r).project(azimuth, elevation) for r in (0, roll))
    turned = complex(*(upright - [100, 120])) * np.exp(1j * np.radians(roll))
    np.testing.assert_allclose(rolled - [100, 120], [turned.real, turned.imag], atol=0.1)


def test_yaw_turns_to_the_side_and_pitch_looks_up():
    mouth = (0, -40)
    turned, straight, away = (Head(100, 120, 50, 60, yaw).project(*mouth)[0] for yaw in (40, 0, -40))
    assert turned > straight + 10 > away + 20
    up, down = (Head(100, 120, 50, 60, pitch=pitch).project(*mouth)[1] for pitch in (20, -20))
    assert up < down - 10


@pytest.mark.parametrize(("yaw", "limb", "behind"), [(40, 50, [51, 70, 130]), (-25, -65, [-66, -90, -120])])
def test_hidden_points_lie_on_the_visible_edge(yaw, limb, behind):
    head = Head(100, 120, 50, 60, yaw, 5, 10)
    for elevation in (-50, 0, 30):
        edge = head.project(limb, elevation)
        np.testing.assert_allclose(head.project(behind, elevation), [edge] * 3, atol=1 / 16)
    assert head.visible([0, limb * 0.9, *behind]).tolist() == [True, True, False, False, False]


def test_points_come_in_the_shape_of_their_angles_and_in_sixteenths():
    points = Head(100.3, 120.7, 51.1, 63.3, 17, 3, 5).project(np.linspace(-90, 90, 7), np.linspace(-90, 90, 5)[:, None])
    assert points.shape == (5, 7, 2)
    assert np.array_equal(points * 16, np.round(points * 16))


def test_heads_stand_where_a_crop_has_them():
    for seed in range(20):
        (one,), (left, right) = face_drawing.heads(rng(seed), 1), face_drawing.heads(rng(seed), 2)
        face = one.project(0, 0)[0] if abs(one.yaw) < 60 else CANVAS / 2
        assert abs(face - CANVAS / 2) < 0.35 * CANVAS
        assert left.x < CANVAS / 2 < right.x
        assert right.x - left.x > 0.8 * max(left.width, right.width)
        assert max(left.width, right.width) < one.width + 20


def test_light_falls_on_what_faces_the_lamp():
    light = Light(np.array([1.0, 0, 0]), 0.25)
    normals = np.array([[[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0.6, 0, 0.8]]])
    np.testing.assert_allclose(light.on(normals)[..., 0], [[1, 0.25, 0.25, 0.25 + 0.75 * 0.6]])


# --- drawn masks ---


WHITE = np.ones((CANVAS, CANVAS, 3), np.float32)
each_style = pytest.mark.parametrize("style", MASK_STYLES)


@each_style
def test_a_mask_covers_the_mouth_leaves_the_eyes_and_stays_near_its_head(style):
    (mouth, *eyes) = np.round(HEAD.project([0, -24, 24], [-50, 15, 15])).astype(int)
    shares, centres = [], []
    for seed in range(8):
        picture, mask = draw_mask(WHITE, HEAD, LIGHT, rng(seed), style)
        assert picture.shape == (CANVAS, CANVAS, 3)
        assert -1e-3 < picture.min() <= picture.max() < 1 + 1e-3
        assert mask.shape == (CANVAS, CANVAS)
        assert set(np.unique(mask)) == {0, 1}
        assert mask[mouth[1], mouth[0]] == 1
        assert not any(mask[y, x] for x, y in eyes)
        rows, columns = np.nonzero(mask)
        assert np.abs(columns - HEAD.x).max() < 1.2 * HEAD.width
        assert HEAD.y - 0.35 * HEAD.height < rows.min() <= rows.max() < HEAD.y + 1.1 * HEAD.height
        shares.append(mask.mean())
        centres.append((rows.mean(), columns.mean()))
    assert (WHITE == 1).all()  # what is drawn on is a copy
    assert 0.05 < min(shares) <= max(shares) < 0.5
    centre_y, centre_x = np.mean(centres, 0)
    assert centre_y > HEAD.y + 0.2 * HEAD.height
    assert centre_x == pytest.approx(HEAD.x, abs=2)


@each_style
def test_the_mirrored_head_wears_the_mirrored_mask(style):
    head = Head(115, 115, 75, 90, 35, 4, 8)
    mirrored = Head(255 - 115, 115, 75, 90, -35, 4, -8)
    one, other = (draw_mask(WHITE, h, LIGHT, rng(), style)[1] == 1 for h in (head, mirrored))
    assert overlap(one, other[:, ::-1]) > 0.97


@each_style
def test_a_mask_follows_its_face_to_the_side(style):
    for yaw in (-60, 60):
        mask = draw_mask(WHITE, Head(128, 115, 75, 90, yaw), LIGHT, rng(), style)[1]
        assert np.argwhere(mask)[:, 1].mean() * np.sign(yaw) > HEAD.x * np.sign(yaw) + 15


def test_a_mask_is_of_the_style_that_is_asked_for():
    picture, mask = draw_mask(WHITE, HEAD, LIGHT, rng(), "black")
    assert np.median(picture[mask == 1]) < 0.25
    assert np.median(picture[mask == 0]) == 1
    for seed in range(3):  # that of a person too
        picture, truth = draw_person(WHITE.copy(), HEAD, LIGHT, rng(seed), "black")
        assert np.median(picture[truth == 1]) < 0.25


def test_masks_without_a_style_are_of_every_kind():
    looks = {draw_mask(WHITE, HEAD, LIGHT, rng(seed))[0][175, 128].round(2).tobytes() for seed in range(12)}
    assert len(looks) > 8


def test_what_is_no_part_of_a_person_stays_as_it_was():
    for seed in range(6):
        before = rng(100 + seed).random((CANVAS, CANVAS, 3), np.float32)
        picture, truth = draw_person(before.copy(), HEAD, LIGHT, rng(seed))
        assert set(np.unique(truth)) <= {-1, 0, 1}
        assert np.array_equal((picture != before).any(2), truth >= 0)
        assert truth[0, 0] == truth[0, -1] == -1
        assert (truth == 1).mean() > 0.03


def black_hair(canvas, mask, style, seed):
    return face_drawing._draw_hair(canvas, mask, HEAD, style, np.zeros(3), rng(seed))


def black_hand(canvas, mask, style, seed):
    return face_drawing._draw_hand(canvas, mask, HEAD, np.zeros(3), LIGHT, rng(seed))


@pytest.mark.parametrize(
    ("draw", "style"),
    [*((black_hair, style) for style in ("short", "long", "fringe", "cap", "scarf", "bald")), (black_hand, None)],
)
def test_what_hides_a_mask_is_no_mask(draw, style):
    for seed in range(4):
        picture, mask = draw(WHITE.copy(), np.ones((CANVAS, CANVAS)), style, seed)
        dark = picture.mean(2) < 0.5
        assert (dark.mean() > 0.005) == (style != "bald")
        # The brim of a cap stands out over a forehead, which no mask reaches.
        assert overlap(dark, mask == 0) > (0.7 if style == "cap" else 0.9)


def test_a_photograph_keeps_a_scene_s_colours_apart_and_its_outlines_in_place():
    scene = np.full((CANVAS, CANVAS, 3), (0.5, 0.35, 0.2), np.float32)
    scene[:, 100:] *= 0.5
    for seed in range(10):
        picture = as_photographed(scene, rng(seed))
        assert (picture.dtype, picture.shape) == (np.uint8, scene.shape)
        for part in (picture[:, :95], picture[:, 105:]):
            red, green, blue = part.mean((0, 1))
            assert red > green > blue
        columns = np.abs(np.diff(picture.mean((0, 2))))
        assert columns.argmax() == pytest.approx(99, abs=1)


# --- a mask on a photograph ---

PORTRAIT = rng(9).integers(0, 256, (CANVAS, CANVAS, 3), np.uint8)


@pytest.mark.parametrize("style", [None, *MASK_STYLES])
def test_a_portrait_changes_at_its_mask_and_nowhere_else(style):
    for seed in range(3):
        picture, mask = mask_portrait(PORTRAIT, HEAD, seed, style)
        assert picture.shape == PORTRAIT.shape
        assert mask.shape == (CANVAS, CANVAS)
        assert picture.dtype == mask.dtype == np.uint8
        assert set(np.unique(mask)) == {0, 1}
        changed = (picture != PORTRAIT).any(2)
        assert changed[mask == 1].mean() > 0.99
        assert distance_transform_edt(mask == 0)[changed].max() < 14  # a mask's shadow
        assert not changed[: CANVAS // 4].any()
        assert mask.mean() > 0.05


def test_the_report_s_figures_are_two_people_a_profile_and_two_black_masks():
    shown = faces.report_figures()
    assert [name.split(", ")[-1] for name in shown] == ["two people", "profile", "black mask", "black mask"]
    for picture, mask in shown.values():
        assert (picture.shape, picture.dtype, mask.shape) == ((256, 256, 3), np.uint8, (256, 256))
        assert set(np.unique(mask)) == {0, 1}
    pictures, masks = zip(*shown.values())
    _, pieces = cv2.connectedComponents(cv2.erode(masks[0], np.ones((9, 9))))  # without straps
    assert pieces.max() == 2
    columns = np.flatnonzero(masks[1].any(0))
    assert columns.mean() > 128 + 20  # turned to the side
    for picture, mask in zip(pictures[2:], masks[2:]):
        assert np.median(picture[mask == 1]) < 60
    again = faces.report_figures()
    assert all(np.array_equal(a, b) for pair in zip(shown.values(), again.values()) for a, b in zip(*pair))


def test_portraits_wear_their_mask_below_the_eyes_and_above_the_collar():
    portraits = faces.portraits()
    assert len(portraits) == 2
    for portrait, head in portraits.values():
        picture, mask = mask_portrait(portrait, head, 0, "surgical")
        assert picture.shape == (CANVAS, CANVAS, 3)
        rows, columns = np.nonzero(mask)
        assert 0.35 * CANVAS < rows.min() < rows.max() < 0.98 * CANVAS
        assert abs(columns.mean() - CANVAS / 2) < 0.1 * CANVAS


def test_the_seed_and_the_head_say_which_mask_goes_where():
    first, again, other = (mask_portrait(PORTRAIT, HEAD, seed) for seed in (3, 3, 4))
    assert all(map(np.array_equal, first, again))
    assert not any(map(np.array_equal, first, other))
    moved = mask_portrait(PORTRAIT, Head(HEAD.x - 20, HEAD.y + 15, HEAD.width, HEAD.height), 3)[1]
    assert np.array_equal(np.roll(first[1], (15, -20), (0, 1)), moved)


def test_a_portrait_s_reduction():
    picture, mask = mask_portrait(PORTRAIT, HEAD, 0)
    small, small_mask = mask_portrait(PORTRAIT, HEAD, 0, size=64)
    assert np.abs(small - picture.reshape(64, 4, 64, 4, 3).mean((1, 3))).max() <= 0.5
    assert np.array_equal(small_mask, mask[2::4, 2::4])


@pytest.mark.parametrize("portrait", [PORTRAIT[:-1], PORTRAIT[..., 0], PORTRAIT[..., [0, 1, 2, 0]], PORTRAIT / 255])
def test_a_portrait_of_another_kind_is_refused(portrait):
    message = f"expected a uint8 portrait (256, 256, 3), got {portrait.dtype} {portrait.shape}"
    with pytest.raises(ValueError, match=re.escape(message)):
        mask_portrait(portrait, HEAD, 0)


@pytest.mark.parametrize("style", ["velvet", "", "Surgical"])
def test_an_unknown_style_is_told_the_known_ones(style):
    with pytest.raises(ValueError, match=f"style: expected one of {', '.join(MASK_STYLES)}; got '{style}'"):
        mask_portrait(PORTRAIT, HEAD, 0, style)


# --- reading ---

READERS = {
    "mfsd": (faces.read_mfsd, "mfsd/MSFD/1/face_crop/{}.jpg", "mfsd/MSFD/1/face_crop_segmentation/{}.jpg"),
    "masked-face-net": (faces.read_masked_face_net, "masked_face_net/image/{}.jpg", "masked_face_net/mask/{}.png"),
}
HOW = {"mfsd": "https://github.com/sadjadrz/MFSD", "masked-face-net": "https://github.com/cabani/MaskedFace-Net"}
each_reader = pytest.mark.parametrize("dataset", READERS)


def lay_out(folder, dataset, **pairs):
    """Writes pairs of picture and mask as the publisher does; None: no such file.

    Of flat 16 × 16 blocks a JPEG keeps nearly everything.
    """
    for name, files in pairs.items():
        for template, picture in zip(READERS[dataset][1:], files):
            path = folder / template.format(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(picture, bytes):
                path.write_bytes(picture)
            elif picture is not None:
                Image.fromarray(picture).save(path, quality=100, subsampling=0)


def blocks(values, side=16):
    """A picture with a flat block for each of the values."""
    return np.array(values, np.uint8).repeat(side, 0).repeat(side, 1)


COLOURS = blocks([[(200, 30, 60), (10, 220, 40)], [(20, 50, 240), (128, 128, 128)]])
GREYS = blocks([[0, 127], [128, 255]])


@each_reader
def test_pictures_are_rgb_and_masks_what_is_above_127(dataset, tmp_path):
    lay_out(tmp_path, dataset, b=(COLOURS, GREYS), a=(COLOURS[::-1], GREYS[::-1]))
    for folder in (tmp_path, str(tmp_path)):
        pairs = READERS[dataset][0](folder, 32)
        assert pairs.names == ["a", "b"]
        assert pairs.images.dtype == pairs.masks.dtype == np.uint8
        assert np.abs(pairs.images[1].astype(int) - COLOURS).max() <= 3
        assert np.array_equal(pairs.masks[1], blocks([[0, 0], [1, 1]]))
        assert np.array_equal(pairs.masks[0], pairs.masks[1][::-1])


@each_reader
@pytest.mark.parametrize("turn", [False, True])
def test_pictures_of_any_shape_become_squares_by_area_and_masks_by_nearest_neighbour(dataset, turn, tmp_path):
    """Stripes one pixel wide: their area is grey; a mask's pixels stay what one of them was."""
    stripes, mask, expected = np.zeros((32, 64), np.uint8), GREYS.repeat(2, 1), blocks([[0, 0], [1, 1]], side=4)
    stripes[:, ::2] = 255
    stripes, mask, expected = (part.T if turn else part for part in (stripes, mask, expected))
    lay_out(tmp_path, dataset, stripes=(np.stack([stripes] * 3, -1), mask))
    pairs = READERS[dataset][0](tmp_path, 8)
    assert pairs.images.shape == (1, 8, 8, 3)
    assert np.abs(pairs.images[0] - 127.5).max() < 4
    assert np.array_equal(pairs.masks, [expected])


@pytest.mark.parametrize(("length", "size"), [(40, 16), (32, 8), (250, 128)])
def test_reduction_equals_its_definition(length, size):
    image, mask = rng().integers(0, 256, (length, length, 3), np.uint8), rng().integers(0, 2, 2 * [length], np.uint8)
    small, small_mask = faces.reduce(image, mask, size)
    edges, pixels = np.arange(size + 1) * length / size, np.arange(length)
    covered = np.minimum.outer(edges[1:], pixels + 1) - np.maximum.outer(edges[:-1], pixels)
    covered = covered.clip(0) * size / length  # the share that each pixel has in each of the new ones
    assert np.abs(small - np.einsum("ia,jb,abc->ijc", covered, covered, image, optimize=True)).max() <= 0.51
    middles = ((np.arange(size) + 0.5) * length / size).astype(int)
    assert np.array_equal(small_mask, mask[middles][:, middles])


@each_reader
def test_each_pair_that_cannot_be_used_is_named_in_one_warning_and_left_out(dataset, tmp_path):
    text, whole = b"no picture at all" * 50, (COLOURS, GREYS)
    bad = {"alone": (COLOURS, None), "cropped": (COLOURS, GREYS[:, :-3]), "garbage": (text, GREYS)}
    bad |= {"empty": (b"", GREYS), "torn": (COLOURS, text), "blank": (COLOURS, b"")}
    lay_out(tmp_path, dataset, good=whole, fine=whole, **bad)
    with pytest.warns(UserWarning, match="pairs in") as caught:
        pairs = READERS[dataset][0](tmp_path, 16)
    assert pairs.names == ["fine", "good"]
    assert len(pairs.images) == len(pairs.masks) == 2
    assert [one.filename for one in caught] == [__file__]
    _, images, masks = READERS[dataset]
    start, reasons = str(caught[0].message).split(" left out: ")
    assert start == f"6 of 8 pairs in {(tmp_path / images).parent.parent}"
    said = dict(reason.split(": ", 1) for reason in re.split(r"; (?=\w+\.jpg: )", reasons))
    assert said.pop("alone.jpg") == "no mask of its name"
    assert said.pop("cropped.jpg") == "its mask has 29×32 pixels, not 32×32"
    for name, place in (("garbage", images), ("empty", images), ("torn", masks), ("blank", masks)):
        assert said.pop(f"{name}.jpg").startswith(f"{tmp_path / place}: not a readable image (".format(name))
    assert not said


@each_reader
def test_files_that_belong_to_no_picture_are_ignored(dataset, tmp_path):
    lay_out(tmp_path, dataset, good=(COLOURS, GREYS), orphan=(None, GREYS))
    _, images, masks = READERS[dataset]
    for template in (images, masks):
        (tmp_path / template).parent.joinpath("README.txt").write_text("read me")
        (tmp_path / template).parent.joinpath("more").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert READERS[dataset][0](tmp_path, 16).names == ["good"]


@each_reader
def test_where_nothing_is_there_one_is_told_where_it_was_looked_for_and_how_to_get_it(dataset, tmp_path):
    read, *places = READERS[dataset]
    for folder in (tmp_path, tmp_path / "nowhere", str(tmp_path)):
        with pytest.raises(DataError) as error:
            read(folder, 16)
        for part in (HOW[dataset], str(folder), *(str(Path(template).parent) for template in places)):
            assert part in str(error.value)


@each_reader
def test_where_nothing_is_left_the_reasons_and_the_source_are_named(dataset, tmp_path):
    lay_out(tmp_path, dataset, alone=(COLOURS, None), empty=(b"", GREYS))
    with (
        pytest.warns(UserWarning, match=r"2 of 2 pairs.*alone\.jpg.*empty\.jpg"),
        pytest.raises(DataError, match=HOW[dataset]),
    ):
        READERS[dataset][0](tmp_path, 16)


real_only = pytest.mark.skipif(not REAL, reason="SEGLIB_DATA is not set: no real data at hand")


@real_only
def test_real_mfsd():
    pairs = faces.read_mfsd(REAL, 128)
    assert len(pairs) >= 150
    assert pairs.images.shape == (len(pairs), 128, 128, 3)
    assert set(np.unique(pairs.masks)) == {0, 1}
    assert pairs.masks.mean() == pytest.approx(0.38, abs=0.05)
    people = Counter(map(person, pairs.names))
    assert 0.4 * len(pairs) < len(people) < len(pairs)
    assert people.most_common(1)[0][1] < 0.1 * len(pairs)
    parts = split_folds(pairs.names, 5, seed=0)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@real_only
def test_real_masked_face_net():
    pairs = faces.read_masked_face_net(REAL, 64)
    assert len(pairs) >= 300
    assert pairs.images.shape == (len(pairs), 64, 64, 3)
    assert set(np.unique(pairs.masks)) == {0, 1}
    assert 0.1 < pairs.masks.mean() < 0.5


# --- people and folds ---


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("faceMsak_jingtian_1_0_7", "jingtian"),
        ("FACEMSAK_ZhangBo_0_0_1", "zhangbo"),  # capital letters make no other person
        ("faceMsak_dilireba_0_0_2a30011513926397f286f6b6107948f1", "dilireba"),
        ("facemask_t1_CharlieBaker_0004", "charliebaker"),
        *((name, name) for name in ("faceMask1_ttt_100_0_1", "faceMsak_t1_19_1", "faceMsak_t1_5851_1_2")),
        *((name, name) for name in ("00042", "generated-0-00007", "")),
    ],
)
def test_a_person_s_name_is_read_from_the_file_s(name, expected):
    assert person(name) == expected


FILES = st.one_of(
    st.builds(
        "faceMsak_{}_0_0_{}".format, st.sampled_from(["wangfei", "WangFei", "luhan", "oudi"]), st.integers(0, 99)
    ),
    st.builds("faceMask1_ttt_{}_0_1".format, st.integers(0, 99)),
    st.builds("{:05d}".format, st.integers(0, 99)),
)


def one_person(name):
    """Without a regular expression: these four names, or the file's own."""
    middle = name.split("_")[1].lower() if "_" in name else ""
    return middle if middle in ("wangfei", "luhan", "oudi") else name


@settings(max_examples=150, deadline=None)
@given(names=st.lists(FILES, min_size=1, max_size=60), folds=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_folds_share_out_everything_and_no_person_twice(names, folds, seed):
    people = [one_person(name) for name in names]
    if folds < 2 or len(set(people)) < folds:
        with pytest.raises(ValueError, match=f"got {folds} and {len(set(people))} people"):
            split_folds(names, folds, seed)
        return
    parts = split_folds(names, folds, seed)
    assert len(parts) == folds
    assert sorted(np.concatenate(parts)) == list(range(len(names)))
    shown = [{people[i] for i in part} for part in parts]
    assert sum(map(len, shown)) == len(set().union(*shown))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= max(Counter(people).values())
    assert min(sizes) >= 1
    assert all(map(np.array_equal, parts, split_folds(names, folds, seed)))


def test_one_person_of_many_pictures_leaves_the_others_to_the_other_fold():
    names = [*(f"{i:05d}" for i in range(6)), *(f"faceMsak_luhan_0_0_{i}" for i in range(6))]
    for seed in range(10):
        assert sorted(part.tolist() for part in split_folds(names, 2, seed)) == [[*range(6)], [*range(6, 12)]]


def test_another_seed_splits_differently_also_people_of_several_pictures():
    alone = [f"{i:05d}" for i in range(40)]
    assert len({tuple(np.concatenate(split_folds(alone, 4, seed))) for seed in range(10)}) == 10
    names = [f"faceMsak_{name}_0_0_{i}" for name in ("a", "b", "c", "d") for i in range(5)]
    assert len({tuple(np.concatenate(split_folds(names, 2, seed))) for seed in range(20)}) > 2


# --- augmentation ---

SOUND = [name for name in AUGMENTATIONS if name != "faces-image-only"]
PHOTOMETRIC = (A.ColorJitter, A.RandomGamma, A.ToGray, A.GaussianBlur, A.Downscale, A.GaussNoise, A.ImageCompression)
PHOTO = skimage.data.astronaut()[:96, 180:276]


def blob(seed, size=96):
    """A large shape without symmetry, 40 % of the frame."""
    hills = gaussian_filter(rng(seed).standard_normal((size, size)), 14, mode="reflect")
    return (hills > np.quantile(hills, 0.6)).astype(np.uint8)


def as_image(mask):
    return np.stack([255 * mask] * 3, axis=-1)


def changes_values_only(transform):
    if isinstance(transform, A.OneOf):
        return all(map(changes_values_only, transform.transforms))
    return isinstance(transform, (*PHOTOMETRIC, A.CoarseDropout))  # whose holes are in the image alone, as they should


def overlaps(pipeline):
    """IoU of mask and image after augmentation, the image being the mask itself, for a hundred items."""
    masks = [blob(seed) for seed in range(100)]
    found = []
    for image, target in SegmentationDataset([as_image(mask) for mask in masks], masks, augment=pipeline):
        grey = image.numpy().mean(0)
        found.append(overlap(grey > (grey.min() + grey.max()) / 2, target[0].numpy()))
    return np.array(found)


def moving_part(name):
    """The pipeline's members that may move anything; an unknown one may."""
    return A.Compose([t for t in AUGMENTATIONS[name]().transforms if not changes_values_only(t)])


def moves_together(found):
    """What remains are pixels on the outline, where the image is interpolated and the mask is not."""
    return found.min() > 0.97


def mostly_moves_together(found):
    """Holes, noise and blur may spoil a picture in eight."""
    return np.median(found) > 0.97 and np.mean(found > 0.9) > 0.8


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_image_and_mask_move_together(name):
    """And where the picture moves alone, both checks find that bug."""
    assert moves_together(overlaps(moving_part(name))) == (name in SOUND)
    assert mostly_moves_together(overlaps(AUGMENTATIONS[name]())) == (name in SOUND)


PHOTO = skimage.data.astronaut()[:96, 180:276]


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentation_keeps_form_and_values_and_follows_its_seed(name):
    mask, pipeline = blob(1), AUGMENTATIONS[name]()
    outputs = []
    for seed in [*range(40), *range(40)]:
        pipeline.set_random_seed(seed)
        after = pipeline(image=PHOTO, mask=mask)
        assert after["image"].shape == PHOTO.shape
        assert after["mask"].shape == mask.shape
        assert after["image"].dtype == after["mask"].dtype == np.uint8
        assert set(np.unique(after["mask"])) == {0, 1}
        outputs.append((after["image"].tobytes(), after["mask"].tobytes()))
    assert outputs[:40] == outputs[40:]
    images, masks = map(set, zip(*outputs))
    assert len(images) >= 30
    assert len(masks) > (30 if name in SOUND else 1)  # nothing would disagree either if nothing moved


@pytest.mark.parametrize("name", SOUND)
def test_neither_holes_nor_borders_reach_the_mask(name):
    for value in (0, 1):
        masks = [np.full((96, 96), value, np.uint8)] * 100
        data = SegmentationDataset([as_image(blob(0))] * 100, masks, augment=AUGMENTATIONS[name]())
        assert all((target == value).all() for _, target in data)


def angles_and_brightness(name, count=200):
    """By how many degrees a face turns to the left, and how bright it becomes: a bar, and a picture of one grey."""
    bar = np.zeros((129, 129), np.uint8)
    bar[60:69, 20:109] = 1
    grey = np.full((129, 129, 3), 128, np.uint8)
    degrees, brightness = [], []
    for image, target in SegmentationDataset([grey] * count, [bar] * count, augment=AUGMENTATIONS[name]()):
        points = np.argwhere(target[0].numpy()) - 64
        down, right = np.linalg.eigh(points.T @ points)[1][:, 1]
        degrees.append(-np.degrees(np.arctan(down / right)))
        brightness.append(image.mean().item() * 255 / 128)
    return np.array(degrees), np.array(brightness)


@pytest.mark.parametrize(("name", "degrees", "jitter"), [("faces-weak", 10, 0.1), ("faces-strong", 15, 0.2)])
def test_faces_turn_and_brighten_as_much_as_documented_and_one_says_nothing_of_the_other(name, degrees, jitter):
    angles, brightness = angles_and_brightness(name)
    for found, limit in ((angles, degrees), (brightness - 1, jitter)):
        assert -1.1 * limit < found.min() < -0.9 * limit
        assert 0.9 * limit < found.max() < 1.1 * limit
        assert found.std() == pytest.approx(limit / np.sqrt(3), rel=0.15)
    assert abs(np.corrcoef(angles, brightness)[0, 1]) < 0.3


def test_a_face_stays_as_it_is_as_rarely_as_the_pipeline_s_probabilities_say():
    pipeline = AUGMENTATIONS["faces-wide"]()
    expected = np.prod([1 - transform.p for transform in pipeline.transforms])
    data = SegmentationDataset([PHOTO] * 300, [blob(0)] * 300, augment=pipeline)
    untouched = [np.array_equal(image.permute(1, 2, 0) * 255, PHOTO) for image, _ in data]
    assert np.mean(untouched) == pytest.approx(expected, abs=0.02)
