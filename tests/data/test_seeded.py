"""From what a user drew to a mask, without training: pictures made by hand, distances by brute force."""

from functools import partial

import cv2
import numpy as np
import pytest

from seglib.data.seeded import FROM_HINT, grabcut, hint_itself, nearest_stroke, random_walk
from seglib.reports.scribbles.baselines import FROM_STROKES, nothing


def overlap(prediction, mask):
    return (prediction & (mask == 1)).sum() / (prediction | (mask == 1)).sum()


def colour(mask, inside, outside, sigma=0.0, seed=0):
    """An RGB picture of two colours and noise."""
    picture = np.where(mask[..., None] == 1, inside, outside) + np.random.default_rng(seed).normal(
        0, sigma, (*mask.shape, 3)
    )
    return np.clip(picture, 0, 255).astype(np.uint8)


FROM_PICTURE = [grabcut, random_walk]
PAINTED = {"inside": (230, 200, 70), "outside": (50, 70, 130)}


def disc(height, width, radius):
    rows, columns = np.mgrid[:height, :width]
    return (np.hypot(rows - height // 2, columns - width // 2) <= radius).astype(np.int8)


def test_the_methods_that_need_a_hint():
    assert list(FROM_HINT.items()) == [("hint", hint_itself), ("grabcut", grabcut), ("random-walker", random_walk)]
    found = hint_itself(np.zeros((2, 3, 3), np.uint8), np.array([[1, 0, -1], [-1, 1, 1]], np.int8))
    assert found.dtype == bool
    assert found.tolist() == [[True, False, False], [False, True, True]]


@pytest.mark.parametrize("method", FROM_PICTURE)
@pytest.mark.parametrize(("size", "radius"), [((60, 80), 20), ((91, 70), 25), ((48, 131), 19), ((331, 402), 100)])
@pytest.mark.parametrize("bright", [True, False])
def test_a_disc_is_found_from_a_smaller_one_within_it(method, size, radius, bright):
    truth, hint = disc(*size, radius), disc(*size, radius - 3)
    picture = colour(truth, *(PAINTED.values() if bright else reversed(PAINTED.values())), sigma=4)
    assert overlap(hint_itself(picture, hint), truth) < (0.95 if radius == 100 else 0.8)
    kept = picture.copy(), hint.copy()
    found = method(picture, hint)
    assert (found.dtype, found.shape) == (bool, size)
    assert overlap(found, truth) > 0.95
    assert found[hint == 1].all()
    assert np.array_equal(picture, kept[0])  # what came in is as it was
    assert np.array_equal(hint, kept[1])


@pytest.mark.parametrize("method", FROM_PICTURE)
def test_farther_than_the_reach_from_the_hint_is_background(method):
    """100 pixels along the diagonal: within 5 of the hint, unless another share is given."""
    truth, hint = disc(60, 80, 20), disc(60, 80, 10)
    picture = colour(truth, **PAINTED, sigma=2)
    rows, columns = np.mgrid[:60, :80]
    distance = np.hypot(rows - 30, columns - 40)
    for reach, options in ((5, {}), (3, {"reach": 0.03}), (15, {"reach": 0.15})):
        found = method(picture, hint, **options)
        assert not found[distance > 10 + reach + 1].any()
        assert found[hint > 0].all()
        if reach > 10:  # all of the disc is near enough
            assert overlap(found, truth) > 0.95


@pytest.mark.parametrize("method", FROM_PICTURE)
@pytest.mark.parametrize("dtype", [np.int8, np.int64])
def test_what_the_hint_forbids_is_left_out(method, dtype):
    """Strokes down and across a bar that is all found without them."""
    truth, hint = np.zeros((60, 90), dtype), np.zeros((60, 90), dtype)
    truth[20:40, 15:60] = 1
    hint[23:37, 18:42] = 1
    picture = colour(truth, **PAINTED, sigma=2)
    assert overlap(method(picture, hint, reach=0.2), truth) > 0.95
    hint[:, 50:53] = -1
    hint[28:31] = -1
    found = method(picture, hint, reach=0.2)
    assert not found[hint < 0].any()
    assert found[hint > 0].all()
    assert overlap(found[:, :50], truth[:, :50] * (hint[:, :50] >= 0)) > 0.7  # near a stroke, it is a guess


@pytest.mark.parametrize("method", FROM_PICTURE)
def test_without_two_sides_to_learn_from_the_hint_stays(method):
    picture = colour(disc(30, 44, 9), **PAINTED, sigma=4)
    nothing, everything = np.zeros((30, 44), np.int8), np.ones((30, 44), np.int8)
    almost = everything.copy()
    almost[:2, :2] = 0  # within reach of the rest, so for certain background nowhere
    stroke = drawn((30, 44), (np.s_[14:17, 18:26], 1))
    for hint, options in [
        *((hint, {}) for hint in (nothing, -everything, everything, almost)),
        *((hint, {"reach": None}) for hint in (stroke, -stroke, nothing)),
    ]:
        found = method(picture, hint, **options)
        assert found.dtype == bool
        assert np.array_equal(found, hint > 0)


@pytest.mark.parametrize("method", FROM_PICTURE)
def test_a_hint_gives_the_same_mask_every_time(method):
    """In pictures of noise, where colour models have nothing to hold on to but the clusters that they start from."""
    hint = disc(40, 56, 12)
    for picture in np.random.default_rng(0).integers(0, 256, (8, 40, 56, 3), np.uint8):
        found = []
        for seed in (0, 1, 1234):  # whatever random numbers were drawn before
            cv2.setRNGSeed(seed)
            np.random.seed(seed)  # noqa: NPY002
            found.append(method(picture, hint))
        assert not np.array_equal(found[0], hint > 0)
        assert np.array_equal(found[0], found[1])
        assert np.array_equal(found[0], found[2])
    found = method(np.full((40, 56, 3), 90, np.uint8), hint)  # nor in one of a single colour
    assert found[hint == 1].all()
    assert method is grabcut or np.array_equal(found, hint > 0)


# --- from strokes on both sides ---

RED_ON_GREEN = {"inside": (210, 30, 40), "outside": (40, 180, 60)}
WITHOUT_REACH = [partial(grabcut, reach=None), partial(random_walk, reach=None)]


def nearest_by_brute_force(hint):
    """The squared distance to every stroke pixel, in whole numbers; nothing is infinitely far."""
    rows, columns = np.mgrid[: hint.shape[0], : hint.shape[1]]
    found = np.zeros(hint.shape, bool)
    for y, x in np.argwhere(np.ones_like(hint)):
        squares = (rows - y) ** 2 + (columns - x) ** 2
        to_object, to_background = (min(squares[hint == side], default=np.inf) for side in (1, -1))
        found[y, x] = to_object <= to_background and to_object < np.inf
    return found


def drawn(size, *strokes):
    """Strokes in rectangles of rows and columns: ((rows, columns), side)."""
    hint = np.zeros(size, np.int8)
    for place, side in strokes:
        hint[place] = side
    return hint


def test_the_methods_that_need_strokes():
    assert list(FROM_STROKES) == ["background", "nearest", "grabcut", "random-walker"]
    hint = drawn((40, 56), (np.s_[18:22, 20:30], 1), (np.s_[2:4, 5:50], -1))
    picture = colour(disc(40, 56, 14), **RED_ON_GREEN, sigma=4)
    for name, method in zip(FROM_STROKES, [nothing, nearest_stroke, *WITHOUT_REACH]):
        found = FROM_STROKES[name](picture, hint)
        assert (found.dtype, found.shape) == (bool, (40, 56))
        assert np.array_equal(found, method(picture, hint))
        assert not found[hint < 0].any()
        assert found[hint > 0].all() == found.any() == (name != "background")


@pytest.mark.parametrize("share", [0.003, 0.05, 0.5])
@pytest.mark.parametrize("size", [(13, 21), (30, 17), (1, 9)])
def test_the_nearest_stroke_by_brute_force(size, share):
    rng = np.random.default_rng([*size, int(1000 * share)])
    for _ in range(3):
        hint = rng.choice([-1, 0, 1], size, p=[share, 1 - 2 * share, share] if share < 0.5 else [0.4, 0.2, 0.4])
        found = nearest_stroke(rng.integers(0, 256, (*size, 3), np.uint8), hint)
        assert found.dtype == bool
        assert np.array_equal(found, nearest_by_brute_force(hint))


def test_as_near_to_both_is_the_object_s():
    hint = drawn((3, 7), (np.s_[:, 0], 1), (np.s_[:, 6], -1))
    assert nearest_stroke(np.zeros((3, 7, 3), np.uint8), hint).tolist() == [[True] * 4 + [False] * 3] * 3
    assert nearest_stroke(np.zeros((3, 7, 3), np.uint8), -hint).tolist() == [[False] * 3 + [True] * 4] * 3
    # A knight's move either way is as far.
    hint = drawn((5, 5), (np.s_[0, 1], -1), (np.s_[1, 0], 1))
    assert nearest_stroke(np.zeros((5, 5, 3), np.uint8), hint)[2, 2]


@pytest.mark.parametrize("method", WITHOUT_REACH)
@pytest.mark.parametrize("size", [(60, 80), (91, 70)])
@pytest.mark.parametrize("sigma", [0.0, 6.0])
def test_a_red_disc_on_green_is_found_from_a_stroke_each(method, size, sigma):
    """The strokes are short, and neither is where the disc's edge is."""
    truth, (y, x) = disc(*size, 22), (size[0] // 2, size[1] // 2)
    hint = drawn(size, (np.s_[y - 1 : y + 2, x - 10 : x + 10], 1), (np.s_[2:4, 6:-6], -1))
    picture = colour(truth, **RED_ON_GREEN, sigma=sigma)
    kept = picture.copy(), hint.copy()
    found = method(picture, hint)
    assert overlap(found, truth) > 0.98
    assert overlap(nearest_stroke(picture, hint), truth) < 0.7  # which says less
    assert np.array_equal(picture, kept[0])
    assert np.array_equal(hint, kept[1])


@pytest.mark.parametrize("name", ["grabcut", "random-walker"])
def test_far_from_the_stroke_the_object_is_found_without_a_reach_alone(name):
    """A bar of 150 pixels with a stroke at one end; 0.05 of the diagonal are 9."""
    truth = np.zeros((60, 170), np.int8)
    truth[20:40, 10:160] = 1
    hint = drawn(truth.shape, (np.s_[29:32, 13:30], 1), (np.s_[4:6, 5:-5], -1), (np.s_[54:56, 5:-5], -1))
    picture = colour(truth, **RED_ON_GREEN, sigma=4)
    assert overlap(FROM_STROKES[name](picture, hint), truth) > 0.97
    near = FROM_HINT[name](picture, hint)
    assert not near[:, 30 + 10 :].any()
    assert overlap(near, truth) < 0.3


def test_grabcut_finds_another_object_of_the_same_colour():
    """Which no walk reaches: the green between them is nearer to the background's stroke."""
    one, other = disc(60, 170, 18)[:, 40:125], disc(60, 85, 18)
    truth = np.hstack([one, other])
    hint = drawn(truth.shape, (np.s_[29:32, 35:52], 1), (np.s_[2:5, 5:-5], -1))
    picture = colour(truth, **RED_ON_GREEN, sigma=4)
    assert overlap(FROM_STROKES["grabcut"](picture, hint), truth) > 0.97
    assert overlap(FROM_HINT["grabcut"](picture, hint), truth) < 0.6
    walked = FROM_STROKES["random-walker"](picture, hint)
    assert overlap(walked[:, :85], one) > 0.97
    assert not walked[other.nonzero()[0], 85 + other.nonzero()[1]].any()


@pytest.mark.parametrize("method", WITHOUT_REACH)
def test_thin_strokes_in_a_picture_of_the_challenge_s_size(method):
    """Lines of one pixel in odd rows, in a picture that is walked at half its size."""
    truth = disc(375, 500, 110)
    above_and_below = ((np.s_[row, 41:461], -1) for row in (31, 343))
    hint = drawn(truth.shape, (np.s_[187, 221:281], 1), *above_and_below)
    found = method(colour(truth, **RED_ON_GREEN), hint)
    assert found.shape == (375, 500)
    assert overlap(found, truth) > 0.97
    assert found[hint > 0].all()
    assert not found[hint < 0].any()
