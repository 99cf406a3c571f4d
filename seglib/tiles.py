"""Large pictures piece by piece, for a picture may be larger than memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .training import predict

__all__ = ["predict_in_tiles"]

ALIGNED = 32  # tiles begin at multiples of it, so that a U-Net of up to six levels pools the same pixels together
# Samples of an image that its averages are taken from: so many along each side, of so many pixels a side, of which so
# many at each edge do not count, for they see what lies beyond it as zeros.
SAMPLES, SAMPLE_SIDE, SAMPLE_EDGE = 6, 256, 32


def predict_in_tiles(model: nn.Module, image: Tensor, side: int = 1280, margin: int = 128) -> Tensor:
    """What `seglib.training.predict` says of a large image, seen in overlapping tiles of which the middle is kept.

    But for rounding it is the same where no output depends on an input that is farther away than `margin` (of a U-Net
    with five levels of two convolutions, about 110 pixels). What group normalisation and squeeze-and-excitation average
    over the image would differ from tile to tile; it is taken from 36 samples of the image for all tiles alike, and is
    close to the whole image's, and not equal.

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
            predict(model, _samples(image))
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


def _samples(image: Tensor) -> Tensor:
    """Samples of an image (1, C, H, W) from all over it, (36, C, 256, 256)."""
    rows, columns = (
        [round(i * max(0, length - SAMPLE_SIDE) / (SAMPLES - 1)) for i in range(SAMPLES)] for length in image.shape[2:]
    )
    return torch.cat(
        [image[:, :, top : top + SAMPLE_SIDE, left : left + SAMPLE_SIDE] for top in rows for left in columns]
    )


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
        groups = _groups(layer, x.shape[1])
        if layer not in self.known:
            edge = round(SAMPLE_EDGE * x.shape[2] / SAMPLE_SIDE)
            inner = x[:, :, edge : x.shape[2] - edge, edge : x.shape[3] - edge]
            values = inner.reshape(len(x), groups, -1).double()
            mean = values.mean((0, 2))
            self.known[layer] = mean, ((values - mean[:, None]) ** 2).mean((0, 2))
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
