"""The classical methods of the face-mask report: Otsu's threshold, and regions that grow from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import cv2
import numpy as np
from scipy import ndimage
from skimage.filters import sobel, threshold_otsu
from skimage.segmentation import watershed

from ...metrics import iou


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
