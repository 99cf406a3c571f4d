"""Segmentation losses. All take logits and a target of the same shape, and return a scalar tensor.

Pixels whose target is 255 are ignored: padding, or what nobody labelled. Half-precision logits are taken to float32
first, also under autocast: a sum over an image overflows float16.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from .data.common import IGNORE


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
    positive = torch.tensor(positive_weight, dtype=logits.dtype, device=logits.device)
    losses = F.binary_cross_entropy_with_logits(logits, target, valid, pos_weight=positive, reduction="sum")
    return losses / valid.sum().clamp(min=1)


def dice_loss(logits: Tensor, target: Tensor, smooth: float = 1.0) -> Tensor:
    """One minus the soft Dice coefficient of each image, averaged over the batch.

    1 − (2 Σ pt + s) / (Σ p + Σ t + s), with p = σ(logit), sums over an image's pixels and s = `smooth`
    (Milletari et al. 2016, arXiv 1606.04797, without their squares). On an empty target it still falls, with a
    gradient, as p goes to 0; without `smooth` it would be stuck at 1.

    Args:
        logits, target, errors: as for `bce_loss`.
        smooth: added to numerator and denominator, in pixels; above 0.

    Example:
        >>> dice_loss(torch.full((1, 1, 2, 2), 20.0), torch.ones(1, 1, 2, 2))  # a perfect prediction
        tensor(0.)
    """
    logits, target, valid = _prepare(logits, target)
    probability, target = (torch.sigmoid(logits) * valid).flatten(1), target.flatten(1)
    overlap = (probability * target).sum(1)
    total = probability.sum(1) + target.sum(1)
    return (1 - (2 * overlap + smooth) / (total + smooth)).mean()


def iou_loss(logits: Tensor, target: Tensor, smooth: float = 1.0) -> Tensor:
    """One minus the soft intersection over union (Jaccard index) of each image, averaged over the batch.

    1 − (Σ pt + s) / (Σ (p + t − pt) + s), with p = σ(logit), sums over an image's pixels and s = `smooth` (Rahman and
    Wang 2016). With I for the soft IoU and D for the soft Dice coefficient, I = D / (2 − D) where s = 0: the two losses
    rank predictions alike, and differ in how hard they pull.

    Args and errors as for `dice_loss`.

    Example:
        >>> iou_loss(torch.full((1, 1, 2, 2), 20.0), torch.ones(1, 1, 2, 2))  # a perfect prediction
        tensor(0.)
    """
    logits, target, valid = _prepare(logits, target)
    probability, target = (torch.sigmoid(logits) * valid).flatten(1), target.flatten(1)
    overlap = (probability * target).sum(1)
    union = probability.sum(1) + target.sum(1) - overlap
    return (1 - (overlap + smooth) / (union + smooth)).mean()


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
        return (F.conv2d(image, kernels, padding=1).square().sum(1, keepdim=True) + 1e-8).sqrt()

    difference = (magnitude(torch.sigmoid(logits) * valid) - magnitude(target)).square() * valid
    return difference.sum() / valid.sum().clamp(min=1)


def boundary_loss(logits: Tensor, distance_map: Tensor) -> Tensor:
    """Mean over all pixels of p · φ, with p = σ(logit) (Kervadec et al. 2019, arXiv 1812.07032, eq. 5).

    φ grows with the distance from the object's outline, above 0 outside and below it inside: what is foreground far
    out costs much, just beyond the outline little. Alone it is content with an empty prediction, so it goes with a
    loss of regions.

    Args:
        logits: (N, 1, H, W).
        distance_map: φ of the same shape, in pixels; see `signed_distance`.

    Raises:
        ValueError: shapes differ.
    """
    if logits.shape != distance_map.shape:
        raise ValueError(
            f"expected logits and distance map of one shape, got {tuple(logits.shape)} and {tuple(distance_map.shape)}"
        )
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return (torch.sigmoid(logits.to(dtype)) * distance_map.to(dtype)).mean()


def signed_distance(target: Tensor) -> Tensor:
    """φ of `boundary_loss` for binary targets (N, 1, H, W): outside an object the distance to it in pixels, inside
    −(the distance to the background − 1); 0 everywhere where a target has no object or no background, and at ignored
    pixels, which are neither."""
    maps = []
    for mask in target.detach().cpu().numpy().reshape(-1, *target.shape[-2:]):
        phi = np.zeros(mask.shape)
        if (mask == 1).any() and (mask == 0).any():
            outward = ndimage.distance_transform_edt(mask != 1)
            inward = ndimage.distance_transform_edt(mask != 0)
            phi = np.select([mask == 1, mask == 0], [1 - inward, outward], 0)
        maps.append(phi)
    return torch.from_numpy(np.stack(maps)).to(target.device, torch.float32).view(target.shape)


def distance_boundary_loss(logits: Tensor, target: Tensor) -> Tensor:
    """`boundary_loss` with the distance map of a binary target (N, 1, H, W), over the pixels that are not ignored."""
    counted = (target != IGNORE).sum().clamp(min=1)
    return boundary_loss(logits, signed_distance(target)) * (target.numel() / counted)


LOSSES = {
    "bce": bce_loss,
    "dice": dice_loss,
    "iou": iou_loss,
    "sobel_boundary": sobel_boundary_loss,
    "boundary": distance_boundary_loss,
}


def weighted_sum(
    weights: Mapping[str, float], boundary_growth: float = 0.0, positive_weight: float = 1.0
) -> WeightedSum:
    """The sum of named losses, each times its weight: `weighted_sum({"bce": 0.7, "dice": 0.3})(logits, target)`.

    A loss of weight 0 is not computed.

    Args:
        weights: of losses in `LOSSES`.
        boundary_growth: how much of the whole weight goes from the other losses to "boundary" with each epoch, as
            Kervadec et al. do with 0.01: in epoch e (from 1) it counts α = min(1, growth · e), the others 1 − α.
        positive_weight: of `bce_loss`.

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
    return WeightedSum(used, boundary_growth, LOSSES | {"bce": partial(bce_loss, positive_weight=positive_weight)})


class WeightedSum:
    """What `weighted_sum` returns. `set_epoch`, counted from 0, is called before each epoch."""

    def __init__(self, weights: Mapping[str, float], boundary_growth: float, losses: Mapping[str, Callable]):
        self.weights, self.boundary_growth, self.losses, self.epoch = weights, boundary_growth, losses, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        total = 0
        for name, weight in self.weights.items():
            if self.boundary_growth:
                share = min(1.0, self.boundary_growth * (self.epoch + 1))
                weight *= share if name == "boundary" else 1 - share
            total = total + weight * self.losses[name](logits, target)
        return total


def _prepare(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, target (0 where it is ignored) and 1 for each pixel that counts, else 0, in the logits' precision, but
    at least float32; raises where they do not fit together."""
    if logits.shape != target.shape:
        raise ValueError(
            f"expected logits and target of one shape, got {tuple(logits.shape)} and {tuple(target.shape)}"
        )
    counts = target != IGNORE
    target = torch.where(counts, target, 0)
    # On an accelerator this check would make every step wait for the device.
    if target.device.type == "cpu" and target.numel() and not 0 <= target.min() <= target.max() <= 1:
        raise ValueError(
            f"expected target values in [0, 1], or {IGNORE} where it is ignored, got {target.min().item():g} to "
            f"{target.max().item():g}; divide a 0/255 mask by 255"
        )
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return logits.to(dtype), target.to(dtype), counts.to(dtype)
