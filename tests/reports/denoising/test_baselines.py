"""The denoising report's baselines on images made by hand, with filters and scores written again here."""

import numpy as np
import pytest
from by_hand import overlap
from scipy.ndimage import gaussian_filter, median_filter
from skimage.filters import threshold_otsu
from skimage.restoration import denoise_tv_chambolle

from seglib.reports.denoising.baselines import FILTERS, segment, tune

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


def test_without_a_filter_bright_is_foreground():
    mask = block()
    assert np.array_equal(segment(50 + 20 * mask, "none", 0), mask == 1)
    assert np.array_equal(segment(50 + 20 * (1 - mask), "none", 0), mask == 0)


def test_salt_that_a_median_removes():
    image = 40 + 100 * block()
    image[2, 3] = image[20, 30] = 255
    image[10, 20] = 0
    assert segment(image, "none", 0)[2, 3]
    found = segment(image, "median", 3)
    assert (found[2, 3], found[20, 30], found[10, 20]) == (False, False, True)


@pytest.mark.parametrize("filter", FILTERS)
def test_equal_to_filter_and_threshold_by_other_libraries(filter):
    image = noisy(0, block(), salt=0.02)
    for strength in FILTERS[filter][1]:
        smooth = FILTERED[filter](image, strength)
        expected = smooth > threshold_otsu(smooth)
        # OpenCV's Gaussian is rounded to 8 bits, which moves a few pixels across the threshold.
        found = segment(image, filter, strength)
        assert (found.dtype, found.shape) == (bool, image.shape)
        assert np.mean(found != expected) <= (0.02 if filter == "gaussian" else 0)


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
