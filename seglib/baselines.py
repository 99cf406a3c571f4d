"""Classical methods that the networks are compared with."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from itertools import product

import cv2
import numpy as np
from scipy import ndimage
from skimage.filters import sobel, threshold_otsu
from skimage.measure import block_reduce
from skimage.restoration import denoise_tv_chambolle
from skimage.segmentation import random_walker, watershed

from .metrics import iou

# Each filter: from an 8-bit image and a strength to an image, and the strengths to choose from.
FILTERS = {
    "none": (lambda image, strength: image, (0,)),
    # Standard deviation in pixels.
    "gaussian": (lambda image, sigma: cv2.GaussianBlur(image, (0, 0), sigma), (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)),
    # Side of the window in pixels.
    "median": (cv2.medianBlur, (3, 5, 7, 9, 11)),
    # Weight of the total variation in Chambolle's (2004) functional: higher is smoother.
    "total-variation": (
        lambda image, weight: denoise_tv_chambolle(image / 255, weight),
        (0.2, 0.4, 0.6, 0.8, 1.0, 1.4),
    ),
}


def segment(image: np.ndarray, filter: str, strength: float) -> np.ndarray:
    """Smooths a grey 8-bit image (H, W) and cuts it at Otsu's threshold (1979): bright is foreground, bool (H, W)."""
    if image.dtype != np.uint8 or image.ndim != 2:
        raise ValueError(f"expected a grey uint8 image (H, W), got {image.dtype} of shape {image.shape}")
    smooth = FILTERS[filter][0](image, strength)
    return smooth > threshold_otsu(smooth)


def tune(images: Sequence[np.ndarray], masks: Sequence[np.ndarray], filter: str) -> float:
    """The strength of a filter with the highest mean IoU over the given images (at least one)."""

    def score(strength: float) -> float:
        return np.mean([iou(segment(image, filter, strength), mask) for image, mask in zip(images, masks)])

    strengths = FILTERS[filter][1]
    return max(strengths, key=score) if len(strengths) > 1 else strengths[0]


def otsu(image: np.ndarray) -> np.ndarray:
    """Otsu's threshold on the grey values of an RGB uint8 image (H, W, 3): bright is foreground, bool (H, W)."""
    grey = _grey(image)
    return grey > threshold_otsu(grey)


def better_polarity(mask: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """A mask or its complement, whichever overlaps more with the truth: an oracle, for it looks at the answer."""
    return max(mask, ~mask, key=lambda candidate: iou(candidate, truth))


# What `region_based` can be tuned by, and the values to choose from.
REGION_SETTINGS = {"sigma": (1.0, 2.0, 3.0), "seed_height": (0.65, 0.75, 0.85), "seed_radius": (0.08, 0.14, 0.2)}


def region_based(image: np.ndarray, sigma: float, seed_height: float, seed_radius: float) -> np.ndarray:
    """Thresholding, edges and region growing from where a mask is to be expected.

    1. Gaussian smoothing. 2. A seed: the part of a disc, centred below the middle, that lies on the side of Otsu's
    threshold to which most of the disc belongs. 3. Growing: the watershed of the Sobel gradient, between that seed
    and the image's upper edge and corners. 4. Opening, the largest piece, holes filled.

    Args:
        image: RGB uint8 (H, W, 3).
        sigma: of the smoothing, in pixels of an image 128 pixels high; scaled with the image.
        seed_height: centre of the disc, as a share of the height from the top.
        seed_radius: its radius, as a share of the height.

    Returns:
        bool (H, W).
    """
    height, width = image.shape[:2]
    smooth = cv2.GaussianBlur(_grey(image), (0, 0), sigma * height / 128)
    y, x = np.mgrid[:height, :width] + 0.5
    disc = np.hypot(x - width / 2, y - seed_height * height) < seed_radius * height
    bright = smooth > threshold_otsu(smooth)
    seed = disc & (bright == (np.mean(bright[disc]) > 0.5))
    markers = np.where(seed, 1, 0)
    markers[: max(1, height // 6)] = 2
    markers[: height // 2, [0, -1]] = 2
    grown = watershed(sobel(smooth), markers) == 1
    radius = max(1, height // 64)
    opened = ndimage.binary_opening(grown, iterations=radius)
    pieces, count = ndimage.label(opened if opened.any() else grown)
    if count == 0:
        return grown
    largest = pieces == 1 + np.argmax(ndimage.sum_labels(np.ones_like(pieces), pieces, range(1, count + 1)))
    return ndimage.binary_fill_holes(largest)


def tune_region_based(images: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> dict[str, float]:
    """The settings of `region_based` with the highest mean IoU over the given images (at least one)."""
    choices = [dict(zip(REGION_SETTINGS, values)) for values in product(*REGION_SETTINGS.values())]
    return max(choices, key=lambda chosen: np.mean([iou(region_based(i, **chosen), m) for i, m in zip(images, masks)]))


def _grey(image: np.ndarray) -> np.ndarray:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected an RGB uint8 image (H, W, 3), got {image.dtype} of shape {image.shape}")
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def hint_itself(image: np.ndarray, hint: np.ndarray) -> np.ndarray:
    """Doing nothing: the hint's foreground, bool (H, W)."""
    return hint > 0


def nothing(image: np.ndarray, hint: np.ndarray) -> np.ndarray:
    """No object anywhere: bool (H, W)."""
    return np.zeros(hint.shape, bool)


def nearest_stroke(image: np.ndarray, hint: np.ndarray) -> np.ndarray:
    """Each pixel goes to the side of the stroke that is nearest, the object's where both are as near: bool (H, W).

    Where only one side has strokes, everything is on it; with none at all, everything is background.
    """
    to_object, to_background = (
        ndimage.distance_transform_edt(hint != side) if (hint == side).any() else np.full(hint.shape, np.inf)
        for side in (1, -1)
    )
    return (to_object <= to_background) & np.isfinite(to_object)


def grabcut(image: np.ndarray, hint: np.ndarray, reach: float | None = 0.05) -> np.ndarray:
    """GrabCut (Rother et al. 2004): colour models of both sides and a minimal cut, in turns, five times.

    The hint's foreground belongs to the object for certain, and so does its −1 to the background; what is farther from
    the foreground than `reach` times the image's diagonal is background too. The rest is to be found out, and starts as
    foreground in the nearer half of that distance.

    Args:
        image: RGB uint8 (H, W, 3).
        hint: (H, W) of −1, 0 and 1.
        reach: None: only the hint itself is certain, and the rest starts with the nearest stroke.

    Returns:
        bool (H, W); without both sides to learn from, the hint itself.
    """
    if reach is None:
        likely = nearest_stroke(image, hint)
    else:
        likely = ndimage.distance_transform_edt(hint <= 0) <= reach / 2 * np.hypot(*hint.shape)
    labels = np.where(likely, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[_certain_background(hint, reach)] = cv2.GC_BGD
    labels[hint > 0] = cv2.GC_FGD
    if not (labels == cv2.GC_FGD).any() or not (labels == cv2.GC_BGD).any():
        return hint_itself(image, hint)
    cv2.setRNGSeed(0)  # its colour models start from random clusters
    labels, _, _ = cv2.grabCut(image, labels, None, None, None, 5, cv2.GC_INIT_WITH_MASK)
    return (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)


def _certain_background(hint: np.ndarray, reach: float | None) -> np.ndarray:
    """Where a hint says background, and what is farther from its foreground than `reach` times the diagonal."""
    if reach is None:
        return hint < 0
    return (hint < 0) | (ndimage.distance_transform_edt(hint <= 0) > reach * np.hypot(*hint.shape))


def random_walk(image: np.ndarray, hint: np.ndarray, reach: float | None = 0.05) -> np.ndarray:
    """The random walker (Grady 2006): each pixel goes to the side that a walk which shuns edges reaches first.

    Marked are what `grabcut` takes for certain. Images are halved until their longest side is at most 320 pixels, for
    a linear system with an unknown a pixel is to be solved; the result is brought back by nearest neighbour.

    Args and returns as for `grabcut`; a picture of one colour has no edges, and gives the hint as well.
    """
    step = 2 ** max(0, int(np.ceil(np.log2(max(hint.shape) / 320))))
    # A stroke that is thinner than a pixel of the smaller picture is still there.
    background, foreground = (
        block_reduce(where, step, np.max) for where in (_certain_background(hint, reach), hint > 0)
    )
    markers = np.where(background, 2, foreground.astype(int))
    if not (markers == 1).any() or not (markers == 2).any() or image.std() == 0:
        return hint_itself(image, hint)
    shrunk = cv2.resize(image, markers.shape[::-1], interpolation=cv2.INTER_AREA)
    # Islands of unknown pixels between marked ones are pruned by the function itself, with a warning.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        walked = random_walker(shrunk, markers, beta=90, mode="cg_j", channel_axis=-1) == 1
    return cv2.resize(walked.astype(np.uint8), hint.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0


# From a photograph and a hint to a mask, without training.
FROM_HINT = {"hint": hint_itself, "grabcut": grabcut, "random-walker": random_walk}
# From a photograph and strokes on both sides, likewise.
FROM_STROKES = {
    "background": nothing,
    "nearest": nearest_stroke,
    "grabcut": partial(grabcut, reach=None),
    "random-walker": partial(random_walk, reach=None),
}
