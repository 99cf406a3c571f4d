"""The classical methods of the denoising report: a filter, then Otsu's threshold."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from skimage.filters import threshold_otsu
from skimage.restoration import denoise_tv_chambolle

from ...metrics import iou

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
