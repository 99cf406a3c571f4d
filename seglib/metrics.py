"""Segmentation metrics: of one mask (`iou`, `dice`, `mean_iou` …) and, streaming, of a set (`BinaryMetrics`,
`ClassMetrics`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import ClassVar, Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from .losses import DIVIDE, IGNORE, check_classes, check_mask, ignored_within

__all__ = [
    "BinaryMetrics",
    "ClassMetrics",
    "Metrics",
    "boundary_iou",
    "boundary_metrics",
    "class_ious",
    "confusion_matrix",
    "dice",
    "hausdorff",
    "iou",
    "mask_metrics",
    "mean_iou",
    "mean_metrics",
    "pixel_accuracy",
    "reliability",
]


def iou(prediction: ArrayLike | Tensor, target: ArrayLike | Tensor) -> float:
    """Intersection over union (Jaccard index) of two masks: TP / (TP + FP + FN).

    Args:
        prediction, target: (H, W), boolean or values 0 and 1, NumPy or torch.

    Returns:
        0 to 1; two empty masks agree: 1.

    Raises:
        ValueError: shapes differ, or values other than 0 and 1.
    """
    prediction, target = _as_masks(prediction, target)
    union = np.count_nonzero(prediction | target)
    return float(np.count_nonzero(prediction & target) / union) if union else 1.0


def dice(prediction: ArrayLike | Tensor, target: ArrayLike | Tensor) -> float:
    """Dice coefficient (F1 score) of two masks: 2 TP / (2 TP + FP + FN) = 2 IoU / (1 + IoU).

    Args, values and errors as for `iou`; two empty masks: 1.
    """
    prediction, target = _as_masks(prediction, target)
    total = np.count_nonzero(prediction) + np.count_nonzero(target)
    return float(2 * np.count_nonzero(prediction & target) / total) if total else 1.0


def pixel_accuracy(prediction: ArrayLike | Tensor, target: ArrayLike | Tensor) -> float:
    """Share of the pixels on which two masks agree. Labels of several classes may be compared as well.

    Args:
        prediction, target: (H, W) with at least one pixel, boolean or integer labels, NumPy or torch.

    Raises:
        ValueError: shapes differ, there is no pixel, values are no whole numbers, or a mask is compared with one of 0
            and 255.
    """
    labels = _as_arrays(prediction, target)
    # A mask is of True, or of 1, and no other label.
    if any(a.dtype == bool or (_are(a, 0, 1) and _are(b, 0, IGNORE)) for a, b in (labels, labels[::-1])):
        labels = _as_masks(*labels)
    for name, array in zip(("prediction", "target"), labels):
        if array.dtype.kind not in "biu" and not (np.isfinite(array) & (array == np.rint(array))).all():
            raise ValueError(
                f"expected {name} values that are labels (whole numbers or bool), got {_some(array)}; "
                "compare a probability with a threshold first"
            )
    return float(np.mean(labels[0] == labels[1]))


def confusion_matrix(
    prediction: ArrayLike | Tensor, target: ArrayLike | Tensor, num_classes: int, ignore_index: int | None = None
) -> NDArray[np.int64]:
    """How many pixels of each class are taken for which: int64 (C, C), the truth down and the prediction across.

    Args:
        prediction, target: labels (H, W), integers from 0 to C − 1, NumPy or torch.
        num_classes: C.
        ignore_index: pixels whose target is this number do not count.

    Raises:
        ValueError: shapes differ, or a label that is no class or no integer.
    """
    prediction, target = _as_arrays(prediction, target)
    counts = np.full(target.shape, True) if ignore_index is None else target != ignore_index
    for name, labels in (("prediction", prediction[counts]), ("target", target[counts])):
        if labels.dtype.kind not in "biu":
            raise ValueError(f"expected {name} labels that are integers, got {labels.dtype}")
        if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
            raise ValueError(
                f"expected {name} labels from 0 to {num_classes - 1}, got {labels.min()} to {labels.max()}"
            )
    pairs = num_classes * target[counts].astype(np.int64) + prediction[counts].astype(np.int64)
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def class_ious(confusion: ArrayLike) -> NDArray[np.float64]:
    """Each class's IoU from a confusion matrix (C, C): TP / (TP + FP + FN), float64 (C,); of a class that is neither in
    the truth nor in the prediction NaN."""
    confusion = np.asarray(confusion, np.float64)
    right = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - right
    return np.divide(right, union, out=np.full(len(right), np.nan), where=union > 0)


def mean_iou(
    prediction: ArrayLike | Tensor,
    target: ArrayLike | Tensor,
    num_classes: int,
    ignore_index: int | None = None,
    exclude: Sequence[int] = (),
) -> float:
    """Mean over classes of the IoU of two label maps.

    Args:
        prediction, target, num_classes, ignore_index: as for `confusion_matrix`.
        exclude: classes that the mean leaves out. With `ignore_index=0, exclude=(0,)` pixels that nobody labelled (0)
            do not count at all; with `exclude=(0,)` alone they are false positives of what is predicted there.

    Returns:
        0 to 1. A class that is neither in the truth nor in the prediction is left out; NaN where none is left.

    Raises:
        ValueError: as for `confusion_matrix`, or an excluded class that does not exist.
    """
    if not set(exclude) <= set(range(num_classes)):
        raise ValueError(f"expected classes to exclude from 0 to {num_classes - 1}, got {list(exclude)}")
    ious = np.delete(class_ious(confusion_matrix(prediction, target, num_classes, ignore_index)), list(exclude))
    return _mean(ious)


def boundary_iou(
    prediction: ArrayLike | Tensor,
    target: ArrayLike | Tensor,
    dilation_ratio: float = 0.02,
    width: int | None = None,
    *,
    pad: bool = True,
) -> float:
    """IoU of the masks' inner contours (Cheng et al. 2021, arXiv 2103.16562): sensitive to outlines at every size.

    A contour is what d erosions with 3×3 ones take from a mask, the outside of the image being background;
    d = max(1, round(`dilation_ratio` · √(H² + W²))).

    Args:
        prediction, target: (H, W), boolean or values 0 and 1, NumPy or torch.
        dilation_ratio: contour width as a share of the image's diagonal.
        width: contour width d in pixels, instead.
        pad: the outside of the image is background, so that an object that reaches its edge has a contour there;
            false: it has none there (with `width=1`, what NeuralSegmentello's table calls boundary IoU).

    Returns:
        0 to 1; two empty masks agree: 1.

    Raises:
        ValueError: shapes differ, values other than 0 and 1, or a width that is no whole number of at least 1.
    """
    masks = _as_masks(prediction, target)
    if width is None:
        width = max(1, round(dilation_ratio * float(np.hypot(*masks[1].shape))))
    if not isinstance(width, Integral):
        raise ValueError(f"expected a contour width in whole pixels, got {width!r}")
    if width < 1:
        raise ValueError(f"expected a contour width of at least 1 pixel, got {width}")
    contours = _inner_contours(*masks, int(width), pad)
    union = cv2.countNonZero(contours)
    return float(np.count_nonzero(contours == 3) / union) if union else 1.0


def hausdorff(
    prediction: ArrayLike | Tensor, target: ArrayLike | Tensor, percentile: float = 100, boundary: bool = True
) -> float:
    """Hausdorff distance of two masks in pixels: how far the farthest point of one is from the other.

    The larger of the two directed distances; below 100 %, the larger of the two directed percentiles (others pool
    both directions, which can differ much).

    Args:
        prediction, target: (H, W), boolean or values 0 and 1, NumPy or torch.
        percentile: of the distances, 0 to 100; 95 forgives stray pixels.
        boundary: between the masks' boundaries (pixels with one of their four neighbours outside the mask or the
            image), else between all their pixels.

    Returns:
        At least 0; two empty masks: 0; one empty mask: infinity.

    Raises:
        ValueError: shapes differ, values other than 0 and 1, or a percentile outside 0 to 100.
    """
    if not 0 <= percentile <= 100:
        raise ValueError(f"expected a percentile from 0 to 100, got {percentile}")
    points = _as_masks(prediction, target)
    if not points[0].any() or not points[1].any():
        return 0.0 if points[0].any() == points[1].any() else float("inf")
    outlines = [_outline(mask) for mask in points]
    one, other = outlines if boundary else points
    there = _directed(one, other, outlines[1], percentile)
    return max(there, _directed(other, one, outlines[0], percentile, enough=there))


def reliability(
    probability: NDArray[np.floating], truth: NDArray[np.number | np.bool], bins: int = 10
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Are probabilities what they say? Pixels are sorted into bins by their probability.

    Args:
        probability: of the foreground, from 0 to 1, any shape.
        truth: of the same shape, bool or 0 and 1.
        bins: of equal width.

    Returns:
        For each bin with pixels in it their mean probability and the share of them that is foreground; and the expected
        calibration error, the mean distance of the two over all pixels (Guo et al. 2017, arXiv 1706.04599).
    """
    which = np.minimum((probability * bins).astype(int), bins - 1).ravel()
    count = np.bincount(which)
    predicted = np.bincount(which, probability.ravel()) / np.maximum(count, 1)
    observed = np.bincount(which, truth.ravel()) / np.maximum(count, 1)
    error = np.sum(count * np.abs(predicted - observed)) / count.sum()
    return predicted[count > 0], observed[count > 0], float(error)


def boundary_metrics(pairs: Iterable[tuple[ArrayLike | Tensor, ArrayLike | Tensor]]) -> dict[str, float]:
    """How well outlines agree over (prediction, target) pairs: mean `boundary_iou`, and mean 95 % `hausdorff` distance.

    There must be at least one pair. The distance's mean is over those where it is finite; `hausdorff_95_infinite` is
    the share of the others, where one of the two is empty. With no finite one, the mean is left out.
    """
    pairs = list(pairs)
    distances = np.array([hausdorff(*pair, percentile=95) for pair in pairs])
    finite = np.isfinite(distances)
    found = {"boundary_iou": float(np.mean([boundary_iou(*pair) for pair in pairs]))}
    if finite.any():
        found["hausdorff_95"] = float(distances[finite].mean())
    return found | {"hausdorff_95_infinite": float((~finite).mean())}


def mask_metrics(prediction: ArrayLike | Tensor, target: ArrayLike | Tensor) -> dict[str, float]:
    """All that a refined mask is measured by, for one (prediction, target) pair.

    Under the definitions of NeuralSegmentello's table: `iou`, `pixel_accuracy`, `boundary_iou_1px` (contours one pixel
    wide, none at the image's edge), `hausdorff_all` (between all pixels of the masks). Under the standard ones: `dice`,
    `boundary_iou`, `hausdorff`, `hausdorff_95`.
    """
    return {
        "iou": iou(prediction, target),
        "dice": dice(prediction, target),
        "pixel_accuracy": pixel_accuracy(prediction, target),
        "boundary_iou": boundary_iou(prediction, target),
        "boundary_iou_1px": boundary_iou(prediction, target, width=1, pad=False),
        "hausdorff": hausdorff(prediction, target),
        "hausdorff_95": hausdorff(prediction, target, percentile=95),
        "hausdorff_all": hausdorff(prediction, target, boundary=False),
    }


def mean_metrics(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means of what `mask_metrics` returned for at least one pair, and `images`, their number.

    Means of distances are over the pairs where they are finite, and left out if there is none; `hausdorff_infinite` is
    the share of the others, where one of the two masks is empty.
    """
    columns = {name: np.array([one[name] for one in found]) for name in found[0]}
    finite = np.isfinite(columns["hausdorff"])
    means = {}
    for name, values in columns.items():
        values = values[finite] if name.startswith("hausdorff") else values
        if values.size:
            means[name] = float(values.mean())
    return means | {"hausdorff_infinite": float((~finite).mean()), "images": len(found)}


class Metrics(Protocol):
    """What `fit` and `evaluate` count with: `BinaryMetrics`, `ClassMetrics`, or what has the same two steps and result.

    `NAMES` are those of the metrics that are always there, by which the best epoch may be chosen.
    """

    NAMES: ClassVar[tuple[str, ...]]

    def count(self, logits: Tensor, target: Tensor, /) -> Tensor:
        """What each image of a batch contributes: (N, columns)."""

    def update(self, counts: Tensor, /) -> None:
        """Adds images, given what `count` returned for them, here or in other processes."""

    def compute(self) -> dict[str, float]:
        """The metrics of all images so far, and `images`, their number."""


class BinaryMetrics:
    """Metrics of a set of binary masks, batch by batch, in constant memory and without waiting for the device.

    Each metric comes in two forms. **Averaged over images** (`iou`, `dice`, `mean_iou`): computed for each image, then
    averaged; every image counts the same. **Pooled** (`iou_pooled` and so on): from the pixels of all images together;
    every pixel counts the same, so large objects dominate. `mean_iou` is the mean of the foreground's IoU and the
    background's. Pixel accuracy and cross-entropy (`bce`) are means over
    pixels; for images of one size the two forms are equal, otherwise they are the means over images.

    All counts are exact, in float64; Apple's GPUs have none, so there the processor counts, and is waited for.

    Over several processes: give `update` what `count` returned, gathered from all of them, and every process holds
    the metrics of the whole set.
    """

    NAMES: ClassVar[tuple[str, ...]] = (
        *("iou", "dice", "mean_iou"),
        *("iou_pooled", "dice_pooled", "mean_iou_pooled"),
        *("pixel_accuracy", "bce"),
    )

    def __init__(self) -> None:
        self.totals: Tensor = torch.zeros(())  # becomes a row of sums on the device of the first counts

    @staticmethod
    def count(logits: Tensor, target: Tensor) -> Tensor:
        """What an image contributes: TP, FP, FN, TN and ignored pixels that are no padding (right of or below all
        others), in pixels, and mean cross-entropy: float64 (N, 6).

        logits and target: (N, 1, H, W); a pixel is foreground where its logit is at least 0 (probability at least ½)
        and its target above ½. Pixels whose target is 255 are ignored; cross-entropy is the mean over the others (0
        where there is none).

        Raises:
            ValueError: other shapes, or (checked on the CPU only) target values outside [0, 1].
        """
        if logits.shape != target.shape or logits.ndim != 4 or logits.shape[1] != 1:
            raise ValueError(
                f"expected logits and target of shape (N, 1, H, W), got {tuple(logits.shape)} and {tuple(target.shape)}"
            )
        ignored = target == IGNORE
        within = ignored_within(ignored)
        counts = ~ignored.flatten(1)
        target = torch.where(counts, target.flatten(1), 0)
        check_mask(target)
        truth = target > 0.5
        logits = torch.where(counts, logits.flatten(1), 0).float()
        predicted = logits >= 0
        agreements = (predicted & truth, predicted & ~truth, ~predicted & truth, ~predicted & ~truth)
        losses = F.binary_cross_entropy_with_logits(logits, truth.float(), reduction="none")
        bce = (losses * counts).sum(1) / counts.sum(1).clamp(min=1)
        pixels = [(agreement & counts).sum(1) for agreement in agreements]
        return _together([torch.stack([*pixels, within], dim=1), bce[:, None]])

    def update(self, counts: Tensor) -> None:
        """Adds a batch of images, given what `count` returned for them."""
        counts = _together([counts])
        tp, fp, fn, tn, ignored, bce = counts.T
        pixels = counts[:, :4].sum(1)
        empty = tp + fp + fn == 0
        image_iou = torch.where(empty, 1, tp / (tp + fp + fn))
        image_dice = torch.where(empty, 1, 2 * tp / (2 * tp + fp + fn))
        background_iou = torch.where(tn + fp + fn == 0, 1, tn / (tn + fp + fn))
        accuracy = torch.where(pixels == 0, 1, (tp + tn) / pixels)
        ones = torch.ones_like(tp)
        columns = [ones, image_iou, image_dice, background_iou, accuracy, bce, tp, fp, fn, tn, ignored]
        self.totals = self.totals + torch.stack(columns, dim=1).sum(0)

    def compute(self) -> dict[str, float]:
        """The metrics of all images so far, and `images`, their number.

        Raises:
            ValueError: there were none; or all their targets were of 0 and 255, which is ignored, without an object:
                then these are masks that were not divided by 255.
        """
        if not self.totals.ndim or self.totals[0] == 0:
            raise ValueError("expected at least one image before compute(), got none")
        images, iou, dice, background_iou, accuracy, bce, tp, fp, fn, tn, ignored = self.totals.tolist()
        if ignored and tp + fn == 0 and fp + tn > 0:
            raise ValueError(
                f"expected target values 0 and 1, or {IGNORE} where it is ignored, got only 0 and {IGNORE} in all "
                f"{images:g} images; {DIVIDE}"
            )
        union, background_union = tp + fp + fn, tn + fp + fn
        pooled = tp / union if union else 1.0
        background_pooled = tn / background_union if background_union else 1.0
        return {
            "iou": iou / images,
            "dice": dice / images,
            "mean_iou": (iou + background_iou) / (2 * images),
            "iou_pooled": pooled,
            "dice_pooled": 2 * tp / (union + tp) if union else 1.0,
            "mean_iou_pooled": (pooled + background_pooled) / 2,
            "pixel_accuracy": accuracy / images,
            "bce": bce / images,
            "images": int(images),
        }


class ClassMetrics:
    """Metrics of a set of label maps, batch by batch, in constant memory and without waiting for the device.

    All come from one confusion matrix over the pixels of all images together. Where `unlabelled` names a class that
    only says that nobody labelled a pixel, no metric asks how well it is found, and two means of the IoU of the others
    stand side by side: `mean_iou` leaves out the pixels whose truth it is, in `mean_iou_all_pixels` they are false
    positives of what is predicted there. A labelled pixel that is predicted to be unlabelled is missed in both.

    Args:
        names: of the classes.
        unlabelled: the number of such a class, or None.

    Raises:
        ValueError: two classes of one name, which `compute` would take for one, or an unlabelled class that there is
            not.

    Counts are exact, as those of `BinaryMetrics`.

    Over several processes: as for `BinaryMetrics`.
    """

    NAMES: ClassVar[tuple[str, ...]] = (
        *("mean_iou", "mean_iou_all_pixels"),
        *("pixel_accuracy", "pixel_accuracy_labelled"),
        "ce",
    )

    def __init__(self, names: Sequence[str], unlabelled: int | None = None):
        self.classes: int = len(names)
        self.unlabelled: int | None = unlabelled
        self.iou_names: list[str] = [f"iou_{name.replace(' ', '_')}" for name in names]
        if len(set(self.iou_names)) < len(names):
            raise ValueError(f"expected names that differ, also with _ for each space, got {list(names)}")
        if unlabelled is not None and not 0 <= unlabelled < len(names):
            raise ValueError(f"expected unlabelled from 0 to {len(names) - 1}, or None, got {unlabelled}")
        self.totals: Tensor = torch.zeros(())  # becomes a row of sums on the device of the first counts

    def count(self, logits: Tensor, target: Tensor) -> Tensor:
        """What an image contributes: its confusion matrix, truth by truth, and mean cross-entropy: float64 (N, C² + 1).

        logits: (N, C, H, W); target: integers (N, H, W), 255 is ignored. Cross-entropy is the mean over
        the others (0 where there is none).
        """
        if logits.ndim != 4 or logits.shape[1] != self.classes or logits.shape[:1] + logits.shape[2:] != target.shape:
            raise ValueError(
                f"expected logits (N, {self.classes}, H, W) and target (N, H, W), got {tuple(logits.shape)} and "
                f"{tuple(target.shape)}"
            )
        counts = target != IGNORE
        logits = torch.where(counts[:, None], logits, 0).float()
        truth = torch.where(counts, target, 0).long()
        check_classes(truth, self.classes)
        pairs = (self.classes * truth + logits.argmax(1)).flatten(1)
        confusion = torch.zeros(len(logits), self.classes**2, dtype=torch.int64, device=logits.device)
        confusion.scatter_add_(1, pairs, counts.flatten(1).long())  # a float32 would stop growing at 2^24
        losses = F.cross_entropy(logits, truth, reduction="none") * counts
        ce = losses.flatten(1).sum(1) / counts.flatten(1).sum(1).clamp(min=1)
        return _together([confusion, ce[:, None]])

    def update(self, counts: Tensor) -> None:
        """Adds a batch of images, given what `count` returned for them."""
        counts = _together([counts])
        self.totals = self.totals + torch.cat([counts.sum(0), counts.new_full((1,), len(counts))])

    @property
    def confusion(self) -> NDArray[np.int64]:
        """The pixels of all images so far: int64 (C, C), the truth down and the prediction across."""
        if not self.totals.ndim or self.totals[-1] == 0:
            raise ValueError("expected at least one image before compute(), got none")
        return self.totals[:-2].round().long().cpu().numpy().reshape(self.classes, self.classes)

    def compute(self) -> dict[str, float]:
        """The metrics of all images so far, and `images`, their number; of each class that there is `iou_` and its
        name. A mean over no class, or no pixel, is NaN.

        Raises:
            ValueError: there were no images.
        """
        confusion = self.confusion
        ce, images = self.totals[-2:].tolist()
        labelled, others = confusion.copy(), list(range(self.classes))
        if self.unlabelled is not None:
            labelled[self.unlabelled] = 0
            others.remove(self.unlabelled)
        ious = class_ious(labelled)
        return {
            "mean_iou": _mean(ious[others]),
            "mean_iou_all_pixels": _mean(class_ious(confusion)[others]),
            **{self.iou_names[k]: float(ious[k]) for k in others if not np.isnan(ious[k])},
            "pixel_accuracy": float(np.trace(confusion) / confusion.sum()) if confusion.any() else float("nan"),
            "pixel_accuracy_labelled": float(np.trace(labelled) / labelled.sum()) if labelled.any() else float("nan"),
            "ce": ce / images,
            "images": int(images),
        }


def _together(columns: Sequence[Tensor]) -> Tensor:
    """Columns side by side, as float64, which holds counts of pixels exactly up to 2^53; on the CPU if the device, as
    Apple's GPUs, has none."""
    if columns[0].device.type == "mps":
        columns = [column.cpu() for column in columns]
    return torch.cat([column.to(torch.float64) for column in columns], dim=1)


def _mean(ious: NDArray[np.float64]) -> float:
    """The mean of those that exist, NaN where none does."""
    there = ious[~np.isnan(ious)]
    return float(there.mean()) if there.size else float("nan")


def _inner_contours(prediction: np.ndarray, target: np.ndarray, width: int, pad: bool) -> np.ndarray:
    """What `width` erosions with 3×3 ones take from two masks: uint8 (H, W), 1 in the first's contour, 2 in the
    second's, 3 in both; `pad`: the image's edge erodes as well.

    A pixel is kept where the square of 2 `width` + 1 pixels around it is full. Both masks are bits of one image, and a
    window of n ones in a row is found in log₂ n steps: full windows of half its length, one after the other.
    """
    bits = prediction.view(np.uint8) | (target.view(np.uint8) << 1)
    height, columns = bits.shape
    width = min(width, max(bits.shape))  # larger squares hold no more pixels
    padded = cv2.copyMakeBorder(bits, width, width, width, width, cv2.BORDER_CONSTANT, value=0 if pad else 3)
    # As one long row, whose ANDs are fast; squares that run over the right or lower edge are cut off at the end.
    full, spare = padded.ravel(), np.zeros(padded.size, np.uint8)
    for stride in (padded.shape[1], 1):
        length = 1
        while length < 2 * width + 1:
            step = min(length, 2 * width + 1 - length)
            np.bitwise_and(full[: -step * stride], full[step * stride :], out=spare[: -step * stride])
            full, spare, length = spare, full, length + step
    return np.bitwise_xor(bits, full.reshape(padded.shape)[:height, :columns])


def _outline(mask: np.ndarray) -> np.ndarray:
    """The pixels of a mask with one of their four neighbours outside it, or outside the image."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inner = cv2.erode(mask.view(np.uint8), cross, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.logical_xor(mask, inner.view(bool))


def _directed(
    start: np.ndarray, goal: np.ndarray, outline: np.ndarray, percentile: float, enough: float = 0.0
) -> float:
    """A percentile of the distances from the pixels of one mask to the nearest of another, which has this outline;
    neither is empty. Where it is not above `enough`, any number up to that may be returned.

    One or two of the sorted distances are all that is asked for, so few are computed. One point in each 8×8 pixels is
    measured, and bounds the others there: over s pixels a distance changes by at most s. Then those are measured that
    can be the ones asked for; for the others a bound will do.
    """
    points = _coordinates(start & ~goal)
    at_zero = np.count_nonzero(start) - len(points)
    rank = percentile / 100 * (at_zero + len(points) - 1) - at_zero
    if rank <= -1 or not len(points):
        return 0.0
    if len(points) + np.count_nonzero(outline) > start.size / 16:  # a distance for every pixel of the image costs less
        distances = cv2.distanceTransform((~goal).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[start]
        # They are roots of whole numbers, in float32; so they become exact.
        return float(np.percentile(np.sqrt(np.rint(np.square(distances, dtype=np.float64))), percentile))
    # Seen from outside, the nearest pixel of a mask lies on its outline.
    tree = cKDTree(_coordinates(outline), leafsize=32, compact_nodes=False, balanced_tree=False)
    cells = points[:, 0] // 8 * start.shape[1] + points[:, 1] // 8
    one_of = np.full(cells.max() + 1, -1)
    one_of[cells] = np.arange(len(points))
    occupied = np.flatnonzero(one_of >= 0)
    known = np.zeros(len(one_of))
    known[occupied] = tree.query(points[one_of[occupied]])[0]
    slack = np.hypot(*(points - points[one_of[cells]]).T)
    low, high = known[cells] - slack, known[cells] + slack

    first, last = max(0, int(np.floor(rank))), int(np.ceil(rank))
    least, most = np.partition(low, first)[first], np.partition(high, last)[last]
    unclear = (high >= least) & (low <= most)
    for floor in (enough, 0.0):
        measured = unclear & (high > floor)
        high[measured] = tree.query(points[measured])[0]
        ordered = np.partition(high, (first, last))
        if not ordered[first] <= enough < ordered[last]:  # else the lower of the two is asked for as well
            break
    below = ordered[first] if rank >= 0 else 0.0  # else the rank is between the last at zero and the first that is not
    return float(below + rank % 1 * (ordered[last] - below))


def _coordinates(mask: np.ndarray) -> np.ndarray:
    """Row and column of the pixels of a mask, int64 (N, 2)."""
    return np.stack(np.divmod(np.flatnonzero(mask), mask.shape[1]), axis=1)


def _as_arrays(prediction: ArrayLike | Tensor, target: ArrayLike | Tensor) -> tuple[np.ndarray, np.ndarray]:
    arrays = _as_array(prediction), _as_array(target)
    if arrays[0].shape != arrays[1].shape or arrays[0].ndim != 2 or arrays[0].size == 0:
        raise ValueError(
            f"expected prediction and target of one shape (H, W), got {arrays[0].shape} and {arrays[1].shape}"
        )
    return arrays


def _as_array(a: ArrayLike | Tensor) -> np.ndarray:
    if not isinstance(a, Tensor):
        return np.asarray(a)
    a = a.detach().cpu()
    return (a.float() if a.dtype == torch.bfloat16 else a).numpy()  # NumPy has no bfloat16


def _as_masks(prediction: ArrayLike | Tensor, target: ArrayLike | Tensor) -> tuple[np.ndarray, np.ndarray]:
    masks = _as_arrays(prediction, target)
    for name, mask in zip(("prediction", "target"), masks):
        if mask.dtype != bool and not _are(mask, 0, 1):
            raise ValueError(
                f"expected {name} values 0 and 1 (or bool), got {_some(mask)}; "
                "compare a 0/255 mask or a probability with a threshold first"
            )
    return masks[0].astype(bool), masks[1].astype(bool)


def _are(array: np.ndarray, one: int, other: int) -> bool:
    """Whether all values are one or the other."""
    return bool(((array == one) | (array == other)).all())


def _some(array: np.ndarray) -> list:
    """A few of the values, for a message."""
    return np.unique(array)[:5].tolist()
