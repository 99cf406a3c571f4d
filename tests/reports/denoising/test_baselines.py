"""Classical baselines on images made by hand, with filters and scores written again here."""

from functools import partial
from itertools import product

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, label, median_filter
from skimage.filters import threshold_otsu
from skimage.restoration import denoise_tv_chambolle

from seglib import baselines
from seglib.baselines import (
    FILTERS,
    FROM_HINT,
    FROM_STROKES,
    REGION_SETTINGS,
    better_polarity,
    grabcut,
    hint_itself,
    nearest_stroke,
    nothing,
    otsu,
    random_walk,
    region_based,
    segment,
    tune,
    tune_region_based,
)

FILTERED = {
    "none": lambda image, _: image,
    "gaussian": lambda image, sigma: gaussian_filter(image.astype(float), sigma, mode="mirror"),
    "median": lambda image, side: median_filter(image, side, mode="nearest"),
    "total-variation": lambda image, weight: denoise_tv_chambolle(image / 255, weight=weight),
}


def block(height=24, width=36):
    mask = np.zeros((height, width), np.uint8)
    mask[6:16, 8:30] = 1
    return mask


def noisy(seed, mask, sigma=40.0, salt=0.0):
    rng = np.random.default_rng(seed)
    image = np.clip(80 + 90 * mask + rng.normal(0, sigma, mask.shape), 0, 255)
    image[rng.random(mask.shape) < salt] = 255
    return image.astype(np.uint8)


def overlap(prediction, mask):
    return (prediction & (mask == 1)).sum() / (prediction | (mask == 1)).sum()


@pytest.mark.parametrize("filter", FILTERS)
def test_a_clean_image_is_cut_into_its_two_intensities(filter):
    mask = block()
    found = segment(40 + 120 * mask, filter, FILTERS[filter][1][0])
    assert found.dtype == bool
    assert found.shape == mask.shape
    inside, outside = np.s_[8:14, 10:28], np.s_[19:, :]  # smoothing may round the corners
    assert found[inside].all()
    assert not found[outside].any()
    assert overlap(found, mask) > 0.95


def test_without_a_filter_bright_is_foreground():
    mask = block()
    assert np.array_equal(segment(50 + 20 * mask, "none", 0), mask == 1)
    assert np.array_equal(segment(50 + 20 * (1 - mask), "none", 0), mask == 0)


def test_salt_that_a_median_removes():
    mask = block()
    image = 40 + 100 * mask
    image[2, 3] = image[20, 30] = 255
    image[10, 20] = 0
    assert not np.array_equal(segment(image, "none", 0), mask == 1)
    assert segment(image, "none", 0)[2, 3]
    found = segment(image, "median", 3)
    assert not found[2, 3]
    assert not found[20, 30]
    assert found[10, 20]


@pytest.mark.parametrize("filter", FILTERS)
def test_equal_to_filter_and_threshold_by_other_libraries(filter):
    image = noisy(0, block(), salt=0.02)
    for strength in FILTERS[filter][1]:
        smooth = FILTERED[filter](image, strength)
        expected = smooth > threshold_otsu(smooth)
        # OpenCV's Gaussian is rounded to 8 bits, which moves a few pixels across the threshold.
        differing = np.mean(segment(image, filter, strength) != expected)
        assert differing <= (0.02 if filter == "gaussian" else 0)


def test_an_image_of_one_intensity_has_no_foreground():
    for filter, (_, strengths) in FILTERS.items():
        assert not segment(np.full((9, 14), 7, np.uint8), filter, strengths[0]).any()


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize(("sigma", "salt"), [(1.0, 0.0), (45.0, 0.0), (20.0, 0.2)])
def test_tune_picks_the_best_strength(filter, sigma, salt):
    masks = [block(), block()[::-1, ::-1], block(30, 40)]
    images = [noisy(seed, mask, sigma, salt) for seed, mask in enumerate(masks)]
    scores = {}
    for strength in FILTERS[filter][1]:
        smooth = [FILTERED[filter](image, strength) for image in images]
        scores[strength] = np.mean([overlap(s > threshold_otsu(s), mask) for s, mask in zip(smooth, masks)])
    chosen = tune(images, masks, filter)
    tolerance = 0.01 if filter == "gaussian" else 0
    assert scores[chosen] >= max(scores.values()) - tolerance


def test_more_noise_takes_a_stronger_filter():
    masks = [block(48, 72)] * 3
    for filter in ("gaussian", "median", "total-variation"):
        weak, strong = (tune([noisy(i, masks[0], sigma) for i in range(3)], masks, filter) for sigma in (1.0, 80.0))
        assert weak < strong


@pytest.mark.parametrize(
    ("image", "came"),
    [
        (np.zeros((4, 6)), r"float64 of shape \(4, 6\)"),
        (np.zeros((4, 6), bool), r"bool of shape \(4, 6\)"),
        (np.zeros((4, 6, 3), np.uint8), r"uint8 of shape \(4, 6, 3\)"),
    ],
)
def test_images_that_are_not_grey_and_8_bit(image, came):
    with pytest.raises(ValueError, match=rf"expected a grey uint8 image \(H, W\), got {came}"):
        segment(image, "none", 0)


# --- face masks ---


def colour(mask, inside, outside, sigma=0.0, seed=0):
    """An RGB picture of two colours and noise."""
    picture = np.where(mask[..., None] == 1, inside, outside) + np.random.default_rng(seed).normal(
        0, sigma, (*mask.shape, 3)
    )
    return np.clip(picture, 0, 255).astype(np.uint8)


def ellipse(height, width, y=0.72, x=0.5, dy=0.2, dx=0.3):
    """An ellipse, its place and semi-axes as shares of height and width."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    return (((rows / height - y) / dy) ** 2 + ((columns / width - x) / dx) ** 2 <= 1).astype(np.uint8)


def test_otsu_takes_bright_for_foreground():
    mask = block()
    assert np.array_equal(otsu(colour(mask, 200, 60)), mask == 1)
    assert np.array_equal(otsu(colour(mask, 60, 200)), mask == 0)
    # The eye's weights of red, green and blue: pure blue is darker than a green half as strong.
    assert np.array_equal(otsu(colour(mask, (0, 130, 0), (0, 0, 255))), mask == 1)
    assert otsu(colour(mask, 200, 60)).dtype == bool


def test_otsu_equals_another_library_s_threshold():
    picture = colour(block(), (180, 120, 90), (90, 110, 160), sigma=40)
    grey = np.round(picture @ [0.299, 0.587, 0.114])
    expected = grey > threshold_otsu(grey.astype(np.uint8))
    assert np.mean(otsu(picture) != expected) < 0.01  # greys may be rounded the other way
    alike = np.dstack([picture[..., 0]] * 3)
    assert np.array_equal(otsu(alike), picture[..., 0] > threshold_otsu(picture[..., 0]))


def test_better_polarity_looks_at_the_answer():
    truth, rng = block(), np.random.default_rng(0)
    for wrong in (0.05, 0.3, 0.7, 0.95):
        mask = (truth == 1) ^ (rng.random(truth.shape) < wrong)
        chosen = better_polarity(mask, truth)
        assert overlap(chosen, truth) == max(overlap(mask, truth), overlap(~mask, truth))
        assert np.array_equal(chosen, mask if wrong < 0.5 else ~mask)
    assert np.array_equal(better_polarity(truth == 0, truth), truth == 1)


@pytest.mark.parametrize("size", [(64, 48), (60, 90), (128, 100), (48, 120)])
@pytest.mark.parametrize(("inside", "outside"), [((210, 220, 235), (120, 90, 70)), ((40, 45, 50), (190, 150, 130))])
def test_region_based_finds_an_ellipse_where_a_mask_is_to_be_expected(size, inside, outside):
    truth = ellipse(*size, dx=0.28 * size[0] / size[1])
    for sigma in (0.0, 12.0):
        found = region_based(colour(truth, inside, outside, sigma), sigma=1.0, seed_height=0.75, seed_radius=0.14)
        assert found.dtype == bool
        assert found.shape == size
        assert overlap(found, truth) > 0.9


def test_region_based_finds_one_piece_without_holes():
    truth = ellipse(96, 70)
    picture = colour(truth, 220, 90, sigma=10)
    picture[64:67, 40:43] = 40  # a hole in it
    picture[10:30, 10:30] = 220  # as bright, but elsewhere
    found = region_based(picture, sigma=1.0, seed_height=0.75, seed_radius=0.08)
    assert overlap(found, truth) > 0.9
    assert label(found)[1] == label(~found)[1] == 1


def test_region_based_knows_the_seed_only_by_its_place():
    """Two ellipses: the one around the disc is taken, whichever that is."""
    low, high = ellipse(90, 70, y=0.75, dy=0.15), ellipse(90, 70, y=0.38, dy=0.12)
    picture = colour(low | high, 210, 80, sigma=5)
    for seed_height, truth in ((0.75, low), (0.38, high)):
        assert overlap(region_based(picture, 1.0, seed_height, 0.08), truth) > 0.85


def test_region_based_settings_are_shares_of_the_height():
    truth = ellipse(48, 36)
    picture = colour(truth, 210, 80, sigma=25)
    small, large = (
        region_based(p, sigma=3.0, seed_height=0.75, seed_radius=0.14)
        for p in (picture, picture.repeat(4, 0).repeat(4, 1))
    )
    assert overlap(large[2::4, 2::4], small) > 0.9


def test_region_based_of_a_plain_picture_finds_a_mask_of_some_kind():
    found = region_based(np.full((40, 60, 3), 7, np.uint8), 1.0, 0.75, 0.14)
    assert (found.dtype, found.shape) == (bool, (40, 60))


def test_region_based_in_the_smallest_pictures_that_a_row_may_have():
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    for settings in product(*REGION_SETTINGS.values()):
        assert region_based(picture, *settings).shape == (8, 8)


@pytest.mark.parametrize("method", [otsu, lambda image: region_based(image, 1.0, 0.75, 0.1)])
@pytest.mark.parametrize(
    ("image", "came"),
    [
        (np.zeros((4, 6), np.uint8), r"uint8 of shape \(4, 6\)"),
        (np.zeros((4, 6, 4), np.uint8), r"uint8 of shape \(4, 6, 4\)"),
        (np.zeros((4, 6, 3)), r"float64 of shape \(4, 6, 3\)"),
        (np.zeros((1, 4, 6, 3), np.uint8), r"uint8 of shape \(1, 4, 6, 3\)"),
    ],
)
def test_images_that_are_not_rgb_and_8_bit(method, image, came):
    with pytest.raises(ValueError, match=rf"expected an RGB uint8 image \(H, W, 3\), got {came}"):
        method(image)


@pytest.mark.parametrize("height", [0.38, 0.75])
def test_tune_region_based_picks_the_best_of_the_grid(height, monkeypatch):
    """Against a loop over settings, on ellipses of several sizes that lie where only one of the seeds does."""
    grid = {"sigma": (1.0, 8.0), "seed_height": (0.38, 0.75), "seed_radius": (0.05, 0.2)}
    monkeypatch.setattr(baselines, "REGION_SETTINGS", grid)
    masks = [ellipse(48, 36, height, dy=0.14), ellipse(40, 56, height, dy=0.12), ellipse(44, 40, height, dx=0.2)]
    images = [colour(mask, 190, 90, sigma=30, seed=i) for i, mask in enumerate(masks)]
    scores = {}
    for sigma in grid["sigma"]:
        for seed_height in grid["seed_height"]:
            for seed_radius in grid["seed_radius"]:
                found = [region_based(image, sigma, seed_height, seed_radius) for image in images]
                scores[sigma, seed_height, seed_radius] = np.mean([overlap(f, m) for f, m in zip(found, masks)])
    assert len(set(scores.values())) > 4
    chosen = tune_region_based(images, masks)
    assert list(chosen) == list(grid)
    assert scores[tuple(chosen.values())] == max(scores.values())
    assert chosen["seed_height"] == height


# --- from a hint ---

FROM_PICTURE = [grabcut, random_walk]
PAINTED = {"inside": (230, 200, 70), "outside": (50, 70, 130)}


def disc(height, width, radius):
    rows, columns = np.mgrid[:height, :width]
    return (np.hypot(rows - height // 2, columns - width // 2) <= radius).astype(np.int8)


def test_the_methods_that_need_a_hint():
    assert list(FROM_HINT.items()) == [("hint", hint_itself), ("grabcut", grabcut), ("random-walker", random_walk)]
    hint = np.array([[1, 0, -1], [-1, 1, 1]], np.int8)
    found = hint_itself(np.zeros((2, 3, 3), np.uint8), hint)
    assert found.dtype == bool
    assert found.tolist() == [[True, False, False], [False, True, True]]


@pytest.mark.parametrize("method", FROM_PICTURE)
@pytest.mark.parametrize(("size", "radius"), [((60, 80), 20), ((91, 70), 25), ((48, 131), 19)])
@pytest.mark.parametrize("bright", [True, False])
def test_a_disc_is_found_from_a_smaller_one_within_it(method, size, radius, bright):
    truth, hint = disc(*size, radius), disc(*size, radius - 3)
    picture = colour(truth, *(PAINTED.values() if bright else reversed(PAINTED.values())), sigma=4)
    assert overlap(hint_itself(picture, hint), truth) < 0.8
    kept = picture.copy(), hint.copy()
    found = method(picture, hint)
    assert (found.dtype, found.shape) == (bool, size)
    assert overlap(found, truth) > 0.95
    assert found[hint == 1].all()
    assert np.array_equal(picture, kept[0])  # what came in is as it was
    assert np.array_equal(hint, kept[1])


@pytest.mark.parametrize("method", FROM_PICTURE)
def test_a_larger_picture_is_walked_at_half_its_size(method):
    truth, hint = disc(331, 402, 100), disc(331, 402, 92)
    found = method(colour(truth, **PAINTED), hint)
    assert found.shape == (331, 402)
    assert overlap(found, truth) > 0.95 > overlap(hint, truth)


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


def test_a_thin_stroke_forbids_in_a_large_picture_too():
    truth, hint = disc(331, 402, 100), disc(331, 402, 92)
    hint[165] = -1  # an odd row
    assert not random_walk(colour(truth, **PAINTED), hint)[165].any()


@pytest.mark.parametrize("method", FROM_PICTURE)
def test_without_two_sides_to_learn_from_the_hint_stays(method):
    picture = colour(disc(30, 44, 9), **PAINTED, sigma=4)
    nothing, everything = np.zeros((30, 44), np.int8), np.ones((30, 44), np.int8)
    almost = everything.copy()
    almost[:2, :2] = 0  # within reach of the rest, so for certain background nowhere
    for hint in (nothing, -everything, everything, almost):
        found = method(picture, hint)
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


@pytest.mark.parametrize("method", FROM_PICTURE)
def test_a_picture_of_one_colour_keeps_the_hint(method):
    hint = disc(40, 56, 12)
    found = method(np.full((40, 56, 3), 90, np.uint8), hint)
    assert (found.dtype, found.shape) == (bool, (40, 56))
    assert found[hint == 1].all()


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
        assert found[hint > 0].all() == (name != "background")


def test_nothing_is_nothing():
    hint = drawn((5, 8), (np.s_[1:3, 2:4], 1))
    found = nothing(np.zeros((5, 8, 3), np.uint8), hint)
    assert (found.dtype, found.shape) == (bool, (5, 8))
    assert not found.any()


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


@pytest.mark.parametrize(("side", "everything"), [(1, True), (-1, False), (0, False)])
def test_the_nearest_stroke_where_one_side_or_none_was_drawn(side, everything):
    hint = drawn((9, 14), (np.s_[2:4, 3:11], side))
    found = nearest_stroke(np.zeros((9, 14, 3), np.uint8), hint)
    assert (found.dtype, found.shape) == (bool, (9, 14))
    assert (found == everything).all()


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
def test_without_a_reach_one_side_alone_stays_as_it_was_drawn(method):
    picture = colour(disc(30, 44, 9), **RED_ON_GREEN, sigma=4)
    for side in (1, -1, 0):
        hint = drawn((30, 44), (np.s_[14:17, 18:26], side))
        found = method(picture, hint)
        assert found.dtype == bool
        assert np.array_equal(found, hint > 0)


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
