"""Segmentation losses. All take logits and a target of the same shape, and return a scalar tensor.

Half-precision logits are taken to float32 first, also under autocast: a sum over an image overflows float16.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor


def bce_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy, the mean over all pixels of −[t log p + (1 − t) log(1 − p)], with p = σ(logit).

    Args:
        logits: (N, 1, H, W), any real numbers.
        target: the same shape, values in [0, 1].

    Raises:
        ValueError: shapes differ, or (checked on the CPU only) a target outside [0, 1].

    Example:
        >>> bce_loss(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2))  # ln 2
        tensor(0.6931)
    """
    logits, target = _prepare(logits, target)
    return F.binary_cross_entropy_with_logits(logits, target)


def dice_loss(logits: Tensor, target: Tensor, smooth: float = 1.0) -> Tensor:
    """One minus the soft Dice coefficient of each image, averaged over the batch.

    1 − (2 Σ pt + s) / (Σ p + Σ t + s), with p = σ(logit), sums over an image's pixels and s = `smooth`
    (Milletari et al. 2016, arXiv 1606.04797, without their squares). On an empty target it still falls, with a
    gradient, as p goes to 0; without `smooth` it would be stuck at 1.

    Args:
        logits: (N, 1, H, W), any real numbers.
        target: the same shape, values in [0, 1].
        smooth: added to numerator and denominator, in pixels; above 0.

    Raises:
        ValueError: shapes differ, or (checked on the CPU only) a target outside [0, 1].

    Example:
        >>> dice_loss(torch.full((1, 1, 2, 2), 20.0), torch.ones(1, 1, 2, 2))  # a perfect prediction
        tensor(0.)
    """
    logits, target = _prepare(logits, target)
    probability, target = torch.sigmoid(logits).flatten(1), target.flatten(1)
    overlap = (probability * target).sum(1)
    total = probability.sum(1) + target.sum(1)
    return (1 - (2 * overlap + smooth) / (total + smooth)).mean()


LOSSES = {"bce": bce_loss, "dice": dice_loss}


def weighted_sum(weights: Mapping[str, float]) -> Callable[[Tensor, Tensor], Tensor]:
    """The sum of named losses, each times its weight: `weighted_sum({"bce": 0.7, "dice": 0.3})(logits, target)`.

    A loss of weight 0 is not computed.

    Raises:
        ValueError: an unknown name, a negative weight, or none above 0.
    """
    unknown = weights.keys() - LOSSES.keys()
    if unknown or not all(weight >= 0 for weight in weights.values()) or not any(weights.values()):
        raise ValueError(
            f"expected weights of at least 0, one of them above, for losses among {', '.join(LOSSES)}; "
            f"got {dict(weights)}"
        )
    terms = [(weight, LOSSES[name]) for name, weight in weights.items() if weight > 0]

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        return sum(weight * term(logits, target) for weight, term in terms)

    return loss


def _prepare(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the logits' precision, but at least float32; raises where they do not fit together."""
    if logits.shape != target.shape:
        raise ValueError(
            f"expected logits and target of one shape, got {tuple(logits.shape)} and {tuple(target.shape)}"
        )
    # On an accelerator this check would make every step wait for the device.
    if target.device.type == "cpu" and target.numel() and not 0 <= target.min() <= target.max() <= 1:
        raise ValueError(
            f"expected target values in [0, 1], got {target.min().item():g} to {target.max().item():g}; "
            "divide a 0/255 mask by 255"
        )
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return logits.to(dtype), target.to(dtype)
