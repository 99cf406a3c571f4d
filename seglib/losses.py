"""Segmentation losses. All take logits and a target, and return a scalar tensor.

A binary target is float (N, 1, H, W), as the logits are; a target of classes is of integers (N, H, W), for logits
(N, classes, H, W). The formulas are the same: p is the probability σ(logit), or of each class the softmax; t is the
target, or of each class 1 where it is the target.

Pixels whose target is 255 are ignored, whatever the logits there: padding, or what nobody labelled. So a mask of 0 and
255 would lose its object without a word: a binary target that holds both and no 1 gives a `TargetWarning` (on the CPU
only, and not where its ignored pixels are padding). Half-precision logits are taken to float32 first, also under
autocast: a sum over an image overflows float16.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "IGNORE",
    "LOSSES",
    "TargetWarning",
    "WeightedSum",
    "bce_loss",
    "boundary_loss",
    "cross_entropy_loss",
    "dice_loss",
    "distance_boundary_loss",
    "focal_loss",
    "iou_loss",
    "signed_distance",
    "sobel_boundary_loss",
    "weighted_sum",
]

IGNORE = 255  # in a target: this pixel counts neither in losses nor in metrics
DIVIDE = "divide a 0/255 mask by 255"


class TargetWarning(UserWarning):
    """A target that is probably not what its caller thinks."""


def bce_loss(logits: Tensor, target: Tensor, positive_weight: float = 1.0) -> Tensor:
    """Binary cross-entropy, the mean over all pixels of −[w t log p + (1 − t) log(1 − p)], with p = σ(logit).

    Args:
        logits: (N, 1, H, W), any real numbers.
        target: the same shape, values in [0, 1], or 255 where it is to be ignored.
        positive_weight: w, how much a pixel of the object counts beside one of the background.

    Raises:
        ValueError: shapes differ, or (checked on the CPU only) another target.

    Example:
        >>> bce_loss(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2))  # ln 2
        tensor(0.6931)
    """
    logits, target, valid = _prepare(logits, target)
    if logits.shape[1] != 1:
        raise ValueError(f"expected a binary target (N, 1, H, W), got logits of shape {tuple(logits.shape)}; see ce")
    positive = torch.tensor(positive_weight, dtype=logits.dtype, device=logits.device)
    losses = F.binary_cross_entropy_with_logits(logits, target, valid, pos_weight=positive, reduction="sum")
    return losses / valid.sum().clamp(min=1)


def cross_entropy_loss(logits: Tensor, target: Tensor, class_weights: Sequence[float] | None = None) -> Tensor:
    """Cross-entropy of classes, the mean over all pixels of −w_t log p_t, with p = softmax(logits).

    Args:
        logits: (N, C, H, W), any real numbers, of C ≥ 2 classes.
        target: integers (N, H, W), 0 to C − 1, or 255 where it is to be ignored.
        class_weights: w, how much a pixel of each class counts; the mean is weighted likewise. None: all the same.

    Raises:
        ValueError: shapes differ, or (checked on the CPU only) another target.

    Example:
        >>> cross_entropy_loss(torch.zeros(1, 5, 2, 2), torch.ones(1, 2, 2, dtype=torch.int64))  # ln 5
        tensor(1.6094)
    """
    logits, target, valid = _prepare(logits, target)
    if logits.shape[1] == 1:
        raise ValueError(f"expected a target of classes (N, H, W), got one for logits {tuple(logits.shape)}; see bce")
    weights = valid
    if class_weights is not None:
        of_class = torch.tensor(class_weights, dtype=logits.dtype, device=logits.device)
        if of_class.shape != (logits.shape[1],):
            raise ValueError(f"expected a weight for each of {logits.shape[1]} classes, got {class_weights}")
        weights = (target * of_class[:, None, None]).sum(1, keepdim=True)  # an ignored pixel is of no class
    # Where a class is not the true one its log p may be −∞, of which 0 times would be NaN.
    losses = -torch.where(target > 0, logits.log_softmax(1), 0).sum(1, keepdim=True)
    total = weights.sum()
    return (losses * weights).sum() / torch.where(total > 0, total, 1)


def focal_loss(logits: Tensor, target: Tensor, gamma: float = 2.0) -> Tensor:
    """Focal loss, the mean over all pixels of −(1 − p_t)^γ log p_t (Lin et al. 2017, arXiv 1708.02002, without α).

    p_t is the probability of what is true there. The surer a pixel is already right, the less it counts; γ = 0 is
    cross-entropy.

    Args:
        logits, target, errors: as for `bce_loss` or `cross_entropy_loss`.
        gamma: γ, at least 0; else another ValueError.

    Example:
        >>> focal_loss(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2))  # ln 2 / 4
        tensor(0.1733)
    """
    if not gamma >= 0:
        raise ValueError(f"expected gamma of at least 0, got {gamma}")
    logits, target, valid = _prepare(logits, target)
    if logits.shape[1] == 1:
        # Of a doubtful target, such as 0.3, both sides count, as in bce.
        sides = [(target, F.logsigmoid(logits)), (1 - target, F.logsigmoid(-logits))]
    else:
        sides = [(target, logits.log_softmax(1))]
    above_zero = torch.finfo(logits.dtype).tiny  # at 0, a power below 1 has no slope
    losses = torch.zeros_like(valid)
    for share, log in sides:
        log = torch.where(share > 0, log, 0)  # it may be −∞ where it does not count
        wrong = (-torch.expm1(log)).clamp(min=above_zero)  # 1 − p without cancellation where p is near 1
        losses = losses - (share * wrong**gamma * log).sum(1, keepdim=True)
    return (losses * valid).sum() / valid.sum().clamp(min=1)


def dice_loss(logits: Tensor, target: Tensor, smooth: float = 1.0) -> Tensor:
    """One minus the soft Dice coefficient of each image and class, averaged over both.

    1 − (2 Σ pt + s) / (Σ p + Σ t + s), sums over an image's pixels and s = `smooth`
    (Milletari et al. 2016, arXiv 1606.04797, without their squares). On an empty target it still falls, with a
    gradient, as p goes to 0; with s = 0 it is stuck at 1, and 0 only where nothing at all is predicted either.

    Args:
        logits, target, errors: as for `bce_loss` or `cross_entropy_loss`.
        smooth: added to numerator and denominator, in pixels, at least 0; else another ValueError.

    Example:
        >>> dice_loss(torch.full((1, 1, 2, 2), 20.0), torch.ones(1, 1, 2, 2))  # a perfect prediction
        tensor(0.)
    """
    _check_smooth(smooth)
    logits, target, valid = _prepare(logits, target)
    probability, target = (_probability(logits) * valid).flatten(2), target.flatten(2)
    overlap = (probability * target).sum(2)
    total = probability.sum(2) + target.sum(2)
    return (1 - _share(2 * overlap + smooth, total + smooth)).mean()


def iou_loss(logits: Tensor, target: Tensor, smooth: float = 1.0) -> Tensor:
    """One minus the soft intersection over union (Jaccard index) of each image and class, averaged over both.

    1 − (Σ pt + s) / (Σ (p + t − pt) + s), sums over an image's pixels and s = `smooth` (Rahman and
    Wang 2016). With I for the soft IoU and D for the soft Dice coefficient, I = D / (2 − D) where s = 0: the two losses
    rank predictions alike, and differ in how hard they pull.

    Args and errors as for `dice_loss`.

    Example:
        >>> iou_loss(torch.full((1, 1, 2, 2), 20.0), torch.ones(1, 1, 2, 2))  # a perfect prediction
        tensor(0.)
    """
    _check_smooth(smooth)
    logits, target, valid = _prepare(logits, target)
    probability, target = (_probability(logits) * valid).flatten(2), target.flatten(2)
    overlap = (probability * target).sum(2)
    union = probability.sum(2) + target.sum(2) - overlap
    return (1 - _share(overlap + smooth, union + smooth)).mean()


def sobel_boundary_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of the Sobel gradient magnitudes √(gx² + gy² + 1e-8) of probability and target.

    It asks for edges as steep as the target's, in the same places, and says nothing about which side is foreground:
    turned inside out, a prediction has the same loss but at the image's edge (the boundary loss of NeuralSegmentello).
    The gradient is that of the 3×3 Sobel operator with its weights 1, 2 and 1, the outside of the image counting as 0.

    Args and errors as for `bce_loss`. Ignored pixels count as the outside does.

    Example:
        >>> sobel_boundary_loss(torch.zeros(1, 1, 5, 5), torch.zeros(1, 1, 5, 5)) > 0  # the image's edge is one
        tensor(True)
    """
    logits, target, valid = _prepare(logits, target)
    across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=logits.dtype, device=logits.device)
    kernels = torch.stack([across, across.T])[:, None]

    def magnitude(image: Tensor) -> Tensor:
        each = F.conv2d(image.flatten(0, 1)[:, None], kernels, padding=1)  # every class is an image of its own
        return (each.square().sum(1) + 1e-8).sqrt().view(image.shape)

    with torch.autocast(logits.device.type, enabled=False):  # which would convolve in half precision
        difference = (magnitude(_probability(logits) * valid) - magnitude(target)).square() * valid
    return difference.sum() / (valid.sum() * logits.shape[1]).clamp(min=1)


def boundary_loss(logits: Tensor, distance_map: Tensor) -> Tensor:
    """Mean over all pixels, and classes, of p · φ (Kervadec et al. 2019, arXiv 1812.07032, eq. 5).

    φ grows with the distance from the object's outline, above 0 outside and below it inside: what is foreground far
    out costs much, just beyond the outline little. Alone it is content with an empty prediction, so it goes with a
    loss of regions.

    Args:
        logits: (N, 1, H, W), or of classes (N, C, H, W).
        distance_map: φ of the same shape, in pixels; see `signed_distance`.

    Raises:
        ValueError: shapes differ.
    """
    if logits.shape != distance_map.shape:
        raise ValueError(
            f"expected logits and distance map of one shape, got {tuple(logits.shape)} and {tuple(distance_map.shape)}"
        )
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return (_probability(logits.to(dtype)) * distance_map.to(dtype)).mean()


def signed_distance(target: Tensor) -> Tensor:
    """φ of `boundary_loss` for binary targets (N, C, H, W), usually C = 1: outside an object the distance to it in
    pixels, inside −(the distance to the background − 1); 0 everywhere where a target has no object or no background,
    and at ignored pixels (255), which are neither."""
    from scipy import ndimage  # which only this loss needs

    maps = []
    for mask in target.detach().cpu().float().numpy().reshape(-1, *target.shape[-2:]):  # NumPy has no bfloat16
        phi = np.zeros(mask.shape)
        if (mask == 1).any() and (mask == 0).any():
            outward = ndimage.distance_transform_edt(mask != 1)
            inward = ndimage.distance_transform_edt(mask != 0)
            phi = np.select([mask == 1, mask == 0], [1 - inward, outward], 0)
        maps.append(phi)
    return torch.from_numpy(np.stack(maps)).to(target.device, torch.float32).view(target.shape)


def distance_boundary_loss(logits: Tensor, target: Tensor) -> Tensor:
    """`boundary_loss` with the distance map of a target, for classes that of each class, over the pixels that are not
    ignored.

    Args:
        logits, target, errors: as for `bce_loss` or `cross_entropy_loss`.
    """
    logits, target, valid = _prepare(logits, target)
    distance_map = signed_distance(torch.where(valid > 0, target, IGNORE))
    return boundary_loss(logits, distance_map) * (valid.numel() / valid.sum().clamp(min=1))


LOSSES: dict[str, Callable[..., Tensor]] = {
    "bce": bce_loss,
    "ce": cross_entropy_loss,
    "focal": focal_loss,
    "dice": dice_loss,
    "iou": iou_loss,
    "sobel_boundary": sobel_boundary_loss,
    "boundary": distance_boundary_loss,
}


def weighted_sum(
    weights: Mapping[str, float],
    boundary_growth: float = 0.0,
    positive_weight: float = 1.0,
    focal_gamma: float = 2.0,
    class_weights: Sequence[float] | None = None,
) -> WeightedSum:
    """The sum of named losses, each times its weight: `weighted_sum({"bce": 0.7, "dice": 0.3})(logits, target)`.

    A loss of weight 0 is not computed.

    Args:
        weights: of losses in `LOSSES`.
        boundary_growth: how much of the whole weight goes from the other losses to "boundary" with each epoch, as
            Kervadec et al. do with 0.01: in epoch e (from 1) its weight is min(1, growth · e), the others' the rest.
        positive_weight: of `bce_loss`.
        focal_gamma: of `focal_loss`.
        class_weights: of `cross_entropy_loss`.

    Raises:
        ValueError: an unknown name, a negative weight, none above 0, or growth without the loss that is to grow.
    """
    if boundary_growth and not weights.get("boundary"):
        raise ValueError(f"expected a weight for boundary, which is to grow by {boundary_growth}; got {dict(weights)}")
    unknown = weights.keys() - LOSSES.keys()
    if unknown or not all(weight >= 0 for weight in weights.values()) or not any(weights.values()):
        raise ValueError(
            f"expected weights of at least 0, one of them above, for losses among {', '.join(LOSSES)}; "
            f"got {dict(weights)}"
        )
    used = {name: weight for name, weight in weights.items() if weight > 0}
    options: dict[str, Callable[..., Tensor]] = {
        "bce": partial(bce_loss, positive_weight=positive_weight),
        "ce": partial(cross_entropy_loss, class_weights=class_weights),
        "focal": partial(focal_loss, gamma=focal_gamma),
    }
    return WeightedSum(used, boundary_growth, LOSSES | options)


class WeightedSum:
    """What `weighted_sum` returns. `set_epoch`, counted from 0, is called before each epoch."""

    def __init__(
        self, weights: Mapping[str, float], boundary_growth: float, losses: Mapping[str, Callable[..., Tensor]]
    ):
        self.weights: Mapping[str, float] = weights
        self.boundary_growth: float = boundary_growth
        self.losses: Mapping[str, Callable[..., Tensor]] = losses
        self.epoch: int = 0

    def __repr__(self) -> str:
        parts = {name: (weight, self.losses[name]) for name, weight in self.weights.items()}
        return f"weighted_sum({parts}, boundary_growth={self.boundary_growth})"

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        terms = []
        for name, weight in self.weights.items():
            if self.boundary_growth:
                share = min(1.0, self.boundary_growth * (self.epoch + 1))
                weight *= share if name == "boundary" else 1 - share
            terms.append(weight * self.losses[name](logits, target))
        return sum(terms[1:], start=terms[0])


def check_classes(labels: Tensor, classes: int) -> None:
    """Raises ValueError where a label is no class; the caller has put one in the place of what is ignored.

    On an accelerator, where looking would make every step wait for the device, it does not look.
    """
    if labels.device.type == "cpu" and labels.numel() and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(
            f"expected classes from 0 to {classes - 1}, or {IGNORE} where it is ignored, got "
            f"{labels.min().item()} to {labels.max().item()}"
        )


def check_mask(values: Tensor) -> None:
    """Raises ValueError where a value is outside [0, 1], or NaN; of an accelerator's as `check_classes`."""
    if values.device.type == "cpu" and values.numel() and not 0 <= values.min() <= values.max() <= 1:
        raise ValueError(
            f"expected target values in [0, 1], or {IGNORE} where it is ignored, got {values.min().item():g} to "
            f"{values.max().item():g}; {DIVIDE}"
        )


def ignored_within(ignored: Tensor) -> Tensor:
    """How many pixels of each image are ignored and no padding: bool (N, C, H, W) → int64 (N,).

    Padding is what lies below the last row, or to the right of the last column, with a pixel that counts.
    """
    rows, columns = (torch.arange(length, device=ignored.device) for length in ignored.shape[-2:])
    last_row = torch.where(ignored.all(-1), -1, rows).amax(-1)[..., None, None]
    last_column = torch.where(ignored.all(-2), -1, columns).amax(-1)[..., None, None]
    within = ignored & (rows[:, None] <= last_row) & (columns <= last_column)
    return within.flatten(1).sum(1)


def _check_smooth(smooth: float) -> None:
    if not 0 <= smooth < math.inf:
        raise ValueError(f"expected smooth of at least 0 pixels, got {smooth}")


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole, and of nothing 1: what is empty and found empty agrees."""
    nothing = whole < torch.finfo(whole.dtype).tiny  # where even the slope would be infinite
    return torch.where(nothing, 1, part / torch.where(nothing, 1, whole))


def _probability(logits: Tensor) -> Tensor:
    """σ of one channel, softmax of several: (N, C, H, W)."""
    return torch.sigmoid(logits) if logits.shape[1] == 1 else logits.softmax(1)


def _prepare(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (N, C, H, W), target of that shape (of classes, 1 in the true one's channel; 0 where it is ignored), and 1
    for each pixel that counts, else 0, (N, 1, H, W); in the logits' precision, but at least float32. Raises where they
    do not fit together."""
    if not target.numel():
        raise ValueError(f"expected at least one pixel, got a target of shape {tuple(target.shape)}")
    dtype = torch.promote_types(logits.dtype, torch.float32)
    if target.ndim == 3 and not target.is_floating_point():
        classes = logits.shape[1] if logits.ndim == 4 else 0
        if classes < 2 or logits.shape[:1] + logits.shape[2:] != target.shape:
            raise ValueError(
                "expected logits (N, C, H, W) of two or more classes and a target (N, H, W), got "
                f"{tuple(logits.shape)} and {tuple(target.shape)}"
            )
        counts = target != IGNORE
        target = torch.where(counts, target, 0).long()
        check_classes(target, classes)
        counts = counts[:, None]
        each = F.one_hot(target, classes).permute(0, 3, 1, 2) * counts
        return torch.where(counts, logits, 0).to(dtype), each.to(dtype), counts.to(dtype)
    if logits.shape != target.shape or logits.ndim != 4 or logits.shape[1] != 1:
        raise ValueError(
            "expected logits and a binary target of one shape (N, 1, H, W), or for classes integers (N, H, W); "
            f"got {tuple(logits.shape)} and {target.dtype} {tuple(target.shape)}"
        )
    counts = target != IGNORE
    target = torch.where(counts, target, 0)
    check_mask(target)
    if target.device.type == "cpu" and not target.any() and ignored_within(~counts).any():
        warnings.warn(
            f"the target holds 0 and {IGNORE}, which is ignored, but no 1: {DIVIDE}", TargetWarning, stacklevel=3
        )
    return torch.where(counts, logits, 0).to(dtype), target.to(dtype), counts.to(dtype)
