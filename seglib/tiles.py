"""Large pictures piece by piece, for a picture may be larger than memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .training import predict

__all__ = ["WHOLE", "predict_in_tiles"]

ALIGNED = 32  # tiles begin at multiples of it, so that a U-Net of up to six levels pools the same pixels together
# Pixels that a network sees in one piece: a U-Net needs 0.4 to 0.8 GB a million, so that 4 GB are enough for all.
WHOLE = 4_000_000


def predict_in_tiles(model: nn.Module, image: Tensor, side: int = 1280, margin: int = 128) -> Tensor:
    """What `seglib.training.predict` says of a large image, seen in overlapping tiles of which the middle is kept.

    But for rounding it is the same where no output depends on an input that is farther away than `margin` (of a U-Net
    with five levels of two convolutions, about 110 pixels). What group normalisation and squeeze-and-excitation average
    over the image would differ from tile to tile, and show at their borders; it is taken from the whole image, shrunk
    to `WHOLE` pixels, for all tiles alike. So it is close to what it would be, the closer the less the image is shrunk.

    Args:
        model: maps (1, C, H, W) to (1, C', H, W), for any H and W.
        image: (1, C, H, W).
        side: most pixels of a tile's kept part along each side.
        margin: how many more the network sees on each side, a multiple of 32.

    Returns:
        Probabilities (1, C', H, W).
    """
    height, width = image.shape[2:]
    found = None
    with SharedAverages(model) as averages:
        if averages.layers:
            factor = max(1.0, math.sqrt(height * width / WHOLE))
            size = (max(1, int(height / factor)), max(1, int(width / factor)))
            predict(model, F.interpolate(image, size, mode="area"))
        for top, bottom in _parts(height, side):
            for left, right in _parts(width, side):
                above, before = max(0, top - margin), max(0, left - margin)
                seen = predict(model, image[:, :, above : bottom + margin, before : right + margin])
                if found is None:
                    found = torch.empty(*seen.shape[:2], height, width)
                kept = seen[:, :, top - above : bottom - above, left - before : right - before]
                found[:, :, top:bottom, left:right] = kept
    assert found is not None  # for an image has pixels
    return found


def _parts(length: int, side: int) -> Iterator[tuple[int, int]]:
    """From where to where the parts of a length reach: about equally long ones, aligned."""
    step = math.ceil(length / math.ceil(length / side) / ALIGNED) * ALIGNED
    return ((start, min(start + step, length)) for start in range(0, length, step))


class SharedAverages:
    """While it is entered, a network that averages over an image takes for every batch the averages of the first.

    Attributes:
        layers: that average over an image.
    """

    def __init__(self, model: nn.Module):
        self.layers = [layer for layer in model.modules() if _groups(layer, 0) is not None]
        self.known: dict[nn.Module, tuple[Tensor, Tensor]] = {}  # of each group of channels, mean and variance

    def __enter__(self) -> SharedAverages:
        for layer in self.layers:
            layer.forward = partial(self._forward, layer)
        return self

    def __exit__(self, *error: object) -> None:
        for layer in self.layers:
            del layer.forward

    def _forward(self, layer: Any, x: Tensor) -> Tensor:
        groups = _groups(layer, x.shape[1]) or 1
        if layer not in self.known:
            variance, mean = torch.var_mean(x.reshape(len(x), groups, -1), (0, 2), correction=0)
            self.known[layer] = mean, variance
        mean, variance = self.known[layer]
        if isinstance(layer, nn.AdaptiveAvgPool2d):
            return mean.to(x).expand(len(x), -1)[..., None, None]
        each = x.shape[1] // layer.num_groups
        scale = (variance + layer.eps).rsqrt().repeat_interleave(each) * layer.weight
        shift = layer.bias - mean.repeat_interleave(each) * scale
        return torch.addcmul(shift[:, None, None].to(x), x, scale[:, None, None].to(x))


def _groups(layer: nn.Module, channels: int) -> int | None:
    """How many groups of its channels a layer averages over an image; None: it does not."""
    if isinstance(layer, nn.AdaptiveAvgPool2d) and layer.output_size in (1, (1, 1)):
        return channels
    return layer.num_groups if isinstance(layer, nn.GroupNorm) and layer.affine else None
