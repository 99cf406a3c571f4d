"""The face-mask report's baselines on pictures made by hand."""

from itertools import product

import numpy as np
import pytest
from by_hand import overlap, two_colours
from scipy.ndimage import label
from skimage.filters import threshold_otsu

from seglib.reports.face_masks import baselines
from seglib.reports.face_masks.baselines import (
    REGION_SETTINGS,
    better_polarity,
    otsu,
    region_based,
    tune_region_based,
)


def block(height=24, width=36):
    mask = np.zeros((height, width), np.uint8)
    mask[6:16, 8:30] = 1
    return mask


def ellipse(height, width, y=0.72, x=0.5, dy=0.2, dx=0.3):
    """An ellipse, its place and semi-axes as shares of height and width."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    return (((rows / height - y) / dy) ** 2 + ((columns / width - x) / dx) ** 2 <= 1).astype(np.uint8)


def test_otsu_takes_bright_for_foreground_as_another_library_s_threshold_does():
    mask = block()
    assert otsu(two_colours(mask, 200, 60)).dtype == bool
    assert np.array_equal(otsu(two_colours(mask, 200, 60)), mask == 1)
    assert np.array_equal(otsu(two_colours(mask, 60, 200)), mask == 0)
    # The eye's weights of red, green and blue: pure blue is darker than a green half as strong.
    assert np.array_equal(otsu(two_colours(mask, (0, 130, 0), (0, 0, 255))), mask == 1)
    picture = two_colours(mask, (180, 120, 90), (90, 110, 160), sigma=40)
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
        found = region_based(two_colours(truth, inside, outside, sigma), sigma=1.0, seed_height=0.75, seed_radius=0.14)
        assert (found.shape, found.dtype) == (size, bool)
        assert overlap(found, truth) > 0.9


def test_region_based_finds_one_piece_without_holes():
    truth = ellipse(96, 70)
    picture = two_colours(truth, 220, 90, sigma=10)
    picture[64:67, 40:43] = 40  # a hole in it
    picture[10:30, 10:30] = 220  # as bright, but elsewhere
    found = region_based(picture, sigma=1.0, seed_height=0.75, seed_radius=0.08)
    assert overlap(found, truth) > 0.9
    assert label(found)[1] == label(~found)[1] == 1


def test_region_based_knows_the_seed_only_by_its_place():
    """Two ellipses: the one around the disc is taken, whichever that is."""
    low, high = ellipse(90, 70, y=0.75, dy=0.15), ellipse(90, 70, y=0.38, dy=0.12)
    picture = two_colours(low | high, 210, 80, sigma=5)
    for seed_height, truth in ((0.75, low), (0.38, high)):
        assert overlap(region_based(picture, 1.0, seed_height, 0.08), truth) > 0.85


def test_region_based_settings_are_shares_of_the_height():
    truth = ellipse(48, 36)
    picture = two_colours(truth, 210, 80, sigma=25)
    small, large = (
        region_based(p, sigma=3.0, seed_height=0.75, seed_radius=0.14)
        for p in (picture, picture.repeat(4, 0).repeat(4, 1))
    )
    assert overlap(large[2::4, 2::4], small) > 0.9


def test_region_based_finds_a_mask_of_some_kind_in_plain_pictures_and_in_the_smallest_that_a_row_may_have():
    for picture in (np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8), np.full((40, 60, 3), 7, np.uint8)):
        for settings in product(*REGION_SETTINGS.values()):
            found = region_based(picture, *settings)
            assert (found.dtype, found.shape) == (bool, picture.shape[:2])


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
    images = [two_colours(mask, 190, 90, sigma=30, seed=i) for i, mask in enumerate(masks)]
    scores = {
        settings: np.mean([overlap(region_based(image, *settings), mask) for image, mask in zip(images, masks)])
        for settings in product(*grid.values())
    }
    assert len(set(scores.values())) > 4
    chosen = tune_region_based(images, masks)
    assert list(chosen) == list(grid)
    assert scores[tuple(chosen.values())] == max(scores.values())
    assert chosen["seed_height"] == height
