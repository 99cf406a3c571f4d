"""Metrics of one mask of 480×640 pixels beside MONAI's, SciPy's, OpenCV's, and the official boundary IoU.

torchmetrics' Hausdorff distance takes every pixel of one outline with every pixel of the other, and at this size more
memory than the machine has; it is measured on squares of 128×128 (of other shapes it is wrong)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import torch
from monai.metrics import compute_hausdorff_distance
from scipy import ndimage
from scipy.spatial import KDTree
from torchmetrics.functional.segmentation import hausdorff_distance

from seglib.metrics import boundary_iou, hausdorff

from .timing import in_turns, ratios

SHAPE, SMALL, PAIRS, ROUNDS = (480, 640), (128, 128), 8, 11


def masks(count: int, shape: tuple[int, int] = SHAPE, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of a rounded object that fills about a third of the picture, and a network's idea of it, with another
    outline."""
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(count):
        softness = max(shape) / 16
        hills = ndimage.gaussian_filter(rng.normal(size=shape), softness)
        other = hills + 0.3 * hills.std() * ndimage.gaussian_filter(rng.normal(size=shape), softness / 4) * 35
        level = np.quantile(hills, 2 / 3)
        pairs.append((other > level, hills > level))
    return pairs


def official_boundary_iou(prediction: np.ndarray, target: np.ndarray, ratio: float = 0.02) -> float:
    """Cheng et al.'s, step by step as their paper and program have it: pad by a pixel, erode d times, subtract."""

    def boundary(mask: np.ndarray) -> np.ndarray:
        height, width = mask.shape
        dilation = max(1, round(ratio * np.sqrt(height**2 + width**2)))
        padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=dilation)
        return mask - eroded[1 : height + 1, 1 : width + 1]

    a, b = boundary(target.astype(np.uint8)), boundary(prediction.astype(np.uint8))
    return ((a * b) > 0).sum() / ((a + b) > 0).sum()


def scipy_boundary_iou(prediction: np.ndarray, target: np.ndarray, ratio: float = 0.02) -> float:
    """The same by SciPy's distance to the nearest pixel outside, in steps of a king."""
    dilation = max(1, round(ratio * float(np.hypot(*target.shape))))
    a, b = (
        mask & (ndimage.distance_transform_cdt(np.pad(mask, 1), "chessboard")[1:-1, 1:-1] <= dilation)
        for mask in (target, prediction)
    )
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


def outline_distances(distances: Callable) -> Callable:
    """The larger of two directed percentiles of `distances` from one outline's pixels to the other outline."""

    def hausdorff(prediction: np.ndarray, target: np.ndarray, percentile: float = 100) -> float:
        a, b = (mask & ~ndimage.binary_erosion(mask) for mask in (prediction, target))
        return max(float(np.percentile(distances(start, goal), percentile)) for start, goal in ((a, b), (b, a)))

    return hausdorff


WAYS = {
    "SciPy's distance transform": outline_distances(lambda start, goal: ndimage.distance_transform_edt(~goal)[start]),
    "SciPy's k-d tree": outline_distances(
        lambda start, goal: KDTree(np.argwhere(goal)).query(np.argwhere(start), workers=-1)[0]
    ),
    "OpenCV's distance transform": outline_distances(
        lambda start, goal: cv2.distanceTransform((~goal).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[start]
    ),
}


def monai_hausdorff(prediction: np.ndarray, target: np.ndarray, percentile: float | None = None) -> float:
    tensors = (torch.from_numpy(mask)[None, None] for mask in (prediction, target))
    return float(compute_hausdorff_distance(*tensors, include_background=True, percentile=percentile))


def torchmetrics_hausdorff(prediction: np.ndarray, target: np.ndarray) -> float:
    tensors = (torch.from_numpy(mask)[None, None] for mask in (prediction, target))
    return float(hausdorff_distance(*tensors, num_classes=1, include_background=True))


# What, on masks of which shape, and the ways to it.
CASES: list[tuple[str, tuple[int, int], dict[str, Callable]]] = [
    ("Hausdorff distance", SHAPE, {"seglib": hausdorff, "MONAI": monai_hausdorff, **WAYS}),
    ("Hausdorff distance", SMALL, {"seglib": hausdorff, "torchmetrics": torchmetrics_hausdorff}),
    (
        "HD95",
        SHAPE,
        {"seglib": partial(hausdorff, percentile=95), "MONAI": partial(monai_hausdorff, percentile=95)}
        | {name: partial(way, percentile=95) for name, way in WAYS.items()},
    ),
    (
        "boundary IoU",
        SHAPE,
        {"seglib": boundary_iou, "official code": official_boundary_iou, "SciPy's distances": scipy_boundary_iou},
    ),
]


def measure() -> dict:
    found = []
    for name, shape, ways in CASES:
        pairs = masks(PAIRS, shape)
        values = {way: [function(*pair) for pair in pairs] for way, function in ways.items()}
        for way, theirs in values.items():
            np.testing.assert_allclose(theirs, values["seglib"], rtol=1e-5, err_msg=f"{name} by {way}")
        calls = {way: (lambda f=function, pairs=pairs: [f(*pair) for pair in pairs]) for way, function in ways.items()}
        seconds = {way: [s / PAIRS for s in all_] for way, all_ in in_turns(calls, ROUNDS).items()}
        case = {
            "metric": name,
            "shape": shape,
            "boundary_pixels": [int((mask & ~ndimage.binary_erosion(mask)).sum()) for pair in pairs for mask in pair],
            "milliseconds": {way: round(1000 * float(np.median(s)), 3) for way, s in seconds.items()},
            "ratios": {way: ratios(s, seconds["seglib"]) for way, s in seconds.items() if way != "seglib"},
        }
        print(case)
        found.append(case)
    return {"cases": found}
