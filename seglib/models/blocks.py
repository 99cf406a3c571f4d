"""The parts a U-Net is put together from: convolution blocks, skips, upsampling, bottlenecks, each picked by name.

Every part maps (N, C, H, W) to (N, C', H', W'). To add one, write the module and enter it in its table.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor, nn

__all__ = [
    "BLOCKS",
    "BOTTLENECKS",
    "NORMS",
    "SKIPS",
    "UPS",
    "AttentionGate",
    "AttentionOnlySkip",
    "AttentionSkip",
    "BilinearUp",
    "ConcatenateSkip",
    "ConcurrentSqueezeExcitation",
    "ConvBlock",
    "FeatureGate",
    "GatedAddSkip",
    "GatedConcatenateSkip",
    "GridAverage",
    "NearestUp",
    "NoSkip",
    "Normalize",
    "PyramidPooling",
    "ResidualBlock",
    "SqueezeExcitation",
    "TransposedUp",
    "batch_norm",
    "group_norm",
    "initialize_kaiming",
]

Norm = Callable[[int], nn.Module]  # makes the normalisation of so many channels


def batch_norm(channels: int) -> nn.Module:
    """Batch normalisation (Ioffe and Szegedy 2015, arXiv 1502.03167)."""
    return nn.BatchNorm2d(channels)


def group_norm(channels: int) -> nn.Module:
    """Group normalisation with eight groups (Wu and He 2018, arXiv 1803.08494); does not depend on the batch."""
    return nn.GroupNorm(8, channels)


class ConvBlock(nn.Sequential):
    """(3×3 convolution → normalisation → ReLU) × `convolutions`, then whatever `extra` adds.

    (N, in_channels, H, W) → (N, out_channels, H, W). The U-Net of Ronneberger et al. (2015, arXiv 1505.04597)
    has two such convolutions a level, without padding or normalisation; padding keeps the size here.
    """

    def __init__(
        self, in_channels: int, out_channels: int, norm: Norm, *, convolutions: int = 2, extra: Norm | None = None
    ):
        layers = []
        for i in range(convolutions):
            layers += [
                nn.Conv2d(in_channels if i == 0 else out_channels, out_channels, 3, padding=1),
                norm(out_channels),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers, *([extra(out_channels)] if extra else []))


class ResidualBlock(nn.Module):
    """ReLU(F(x) + x), with F two 3×3 convolutions, each normalised, a ReLU between (He et al. 2016, arXiv 1512.03385).

    (N, in_channels, H, W) → (N, out_channels, H, W). Where the numbers of channels differ, x goes through a 1×1
    convolution and its normalisation (the paper's option B).
    """

    def __init__(self, in_channels: int, out_channels: int, norm: Norm):
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            norm(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
            norm(out_channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1), norm(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.residual(x) + self.shortcut(x))


class SqueezeExcitation(nn.Module):
    """Squeeze-and-excitation: each channel is scaled by a weight computed from all channels' means.

    x · σ(W₂ ReLU(W₁ mean(x))), with W₁: C → C/reduction and W₂ back (Hu et al. 2018, arXiv 1709.01507, eq. 2–4).
    (N, C, H, W) → the same. The inner layer has at least eight units: one or two may all be dead behind the ReLU.
    """

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        hidden = max(8, channels // reduction)
        self.excite = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.excite(x)


class ConcurrentSqueezeExcitation(nn.Module):
    """scSE: each channel is scaled by a weight and each place by another, and the two results are added.

    SE(x) + x · σ(w · x), with `SqueezeExcitation` for the channels and a 1×1 convolution w: C → 1 for the places (Roy
    et al. 2018, arXiv 1803.02579, and segmentation_models_pytorch; later code of the authors takes the larger of the
    two). (N, C, H, W) → the same.
    """

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        self.channels = SqueezeExcitation(channels, reduction)
        self.places = nn.Sequential(nn.Conv2d(channels, 1, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return self.channels(x) + x * self.places(x)


class AttentionGate(nn.Module):
    """Additive attention gate: α·x with α = σ(ψ(ReLU(W_x x + W_g g))) (Oktay et al. 2018, arXiv 1804.03999, eq. 1–2).

    x: the skip (N, C, H, W); g: the gating signal, already at the skip's size, (N, G, H, W), G = C if nothing else
    is said. Returns (N, C, H, W).
    The gate's inner width is half the skip's, at least one; each 1×1 convolution is followed by the network's
    normalisation, the one-channel ψ by one over the whole map.
    """

    def __init__(self, channels: int, norm: Norm, gating_channels: int | None = None):
        super().__init__()
        inner = max(1, channels // 2)
        self.w_x = nn.Sequential(nn.Conv2d(channels, inner, 1), norm(inner))
        self.w_g = nn.Sequential(nn.Conv2d(gating_channels or channels, inner, 1), norm(inner))
        one_channel_norm = nn.BatchNorm2d(1) if isinstance(norm(inner), nn.BatchNorm2d) else nn.GroupNorm(1, 1)
        self.psi = nn.Sequential(nn.Conv2d(inner, 1, 1), one_channel_norm, nn.Sigmoid())

    def forward(self, x: Tensor, g: Tensor) -> Tensor:
        return x * self.psi(torch.relu(self.w_x(x) + self.w_g(g)))


class GridAverage(nn.Module):
    """Means over a grid of `cells` × `cells` parts of the image, whose borders are rounded outwards:
    (N, C, H, W) → (N, C, cells, cells).

    What `nn.AdaptiveAvgPool2d` computes, as two products of matrices: ONNX has no such pooling of images of any size.
    """

    def __init__(self, cells: int):
        super().__init__()
        self.cells = cells

    def forward(self, x: Tensor) -> Tensor:
        down, across = (self._weights(length, x) for length in x.shape[-2:])
        return down @ x @ across.T

    def _weights(self, length: int, x: Tensor) -> Tensor:
        """How much each place counts in each cell: (cells, length), each row with the sum 1."""
        cell, place = torch.arange(self.cells, device=x.device), torch.arange(length, device=x.device)
        start, end = cell * length // self.cells, ((cell + 1) * length + self.cells - 1) // self.cells
        inside = (place >= start[:, None]) & (place < end[:, None])
        return inside.to(x.dtype) / (end - start)[:, None].to(x.dtype)


class PyramidPooling(nn.Module):
    """Pyramid pooling: what is seen in ever larger parts of the image, beside each place's own features.

    The features are averaged over grids of 1×1, 2×2, 3×3 and 6×6 cells; each result goes through a 1×1 convolution to a
    quarter of the channels and a ReLU, and is brought back to full size bilinearly; all of them and the features
    themselves are joined by a 3×3 convolution (Zhao et al. 2017, arXiv 1612.01105, section 3.2).
    Cells are interpolated between their centres, where they lie in the image (`align_corners=False`); the authors' own
    program puts the outermost centres on the image's corners (`align_corners=True`), which the paper does not say.
    (N, C, H, W) → the same. The branches have no normalisation: over the one cell of a single image there is no
    variance to divide by.
    """

    GRIDS = (1, 2, 3, 6)

    def __init__(self, channels: int, norm: Norm):
        super().__init__()
        quarter = max(1, channels // 4)
        self.branches = nn.ModuleList(
            nn.Sequential(GridAverage(cells), nn.Conv2d(channels, quarter, 1), nn.ReLU(inplace=True))
            for cells in self.GRIDS
        )
        joined = channels + quarter * len(self.GRIDS)
        self.join = nn.Sequential(nn.Conv2d(joined, channels, 3, padding=1), norm(channels), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        pooled = [F.interpolate(branch(x), x.shape[-2:], mode="bilinear") for branch in self.branches]
        return self.join(torch.cat([x, *pooled], dim=1))


class ConcatenateSkip(nn.Module):
    """The U-Net's skip: encoder features (C channels) beside the upsampled ones (U): C + U channels."""

    def __init__(self, channels: int, up_channels: int, norm: Norm):
        super().__init__()
        self.out_channels = channels + up_channels

    def forward(self, skip: Tensor, up: Tensor) -> Tensor:
        return torch.cat([skip, up], dim=1)


class AttentionSkip(nn.Module):
    """Encoder features weighted by an attention gate, one weight a place, beside the upsampled ones: C + U channels."""

    def __init__(self, channels: int, up_channels: int, norm: Norm):
        super().__init__()
        self.gate = AttentionGate(channels, norm, up_channels)
        self.out_channels = channels + up_channels

    def forward(self, skip: Tensor, up: Tensor) -> Tensor:
        return torch.cat([self.gate(skip, up), up], dim=1)


class AttentionOnlySkip(nn.Module):
    """Encoder features weighted by an attention gate, beside the same features unweighted: 2 C channels.

    What comes up from below reaches the decoder through the gate's weights alone. It is a fault of the face-mask
    report's program (see configs/face_masks.yaml), to be measured and not to be used.
    """

    def __init__(self, channels: int, up_channels: int, norm: Norm):
        super().__init__()
        self.gate = AttentionGate(channels, norm, up_channels)
        self.out_channels = 2 * channels

    def forward(self, skip: Tensor, up: Tensor) -> Tensor:
        return torch.cat([self.gate(skip, up), skip], dim=1)


class FeatureGate(nn.Module):
    """α·x with α = σ(W [x, g] + b), a weight for every feature at every place; W a 1×1 convolution.

    x: the skip (N, C, H, W); g: the upsampled features (N, U, H, W). Returns (N, C, H, W). It is the gate of highway
    networks (Srivastava et al. 2015, arXiv 1505.00387), on a skip.
    """

    def __init__(self, channels: int, up_channels: int):
        super().__init__()
        self.weight = nn.Sequential(nn.Conv2d(channels + up_channels, channels, 1), nn.Sigmoid())

    def forward(self, skip: Tensor, up: Tensor) -> Tensor:
        return skip * self.weight(torch.cat([skip, up], dim=1))


class GatedConcatenateSkip(nn.Module):
    """Encoder features weighted by a `FeatureGate`, beside the upsampled ones: C + U channels."""

    def __init__(self, channels: int, up_channels: int, norm: Norm):
        super().__init__()
        self.gate = FeatureGate(channels, up_channels)
        self.out_channels = channels + up_channels

    def forward(self, skip: Tensor, up: Tensor) -> Tensor:
        return torch.cat([self.gate(skip, up), up], dim=1)


class GatedAddSkip(nn.Module):
    """Encoder features weighted by a `FeatureGate`, added to the upsampled ones: C channels.

    Where U is not C, a 1×1 convolution takes the upsampled features to C channels first.
    """

    def __init__(self, channels: int, up_channels: int, norm: Norm):
        super().__init__()
        self.gate = FeatureGate(channels, up_channels)
        self.project = nn.Identity() if up_channels == channels else nn.Conv2d(up_channels, channels, 1)
        self.out_channels = channels

    def forward(self, skip: Tensor, up: Tensor) -> Tensor:
        return self.gate(skip, up) + self.project(up)


class NoSkip(nn.Module):
    """Leaves the encoder's features out: what remains is an autoencoder, U channels."""

    def __init__(self, channels: int, up_channels: int, norm: Norm):
        super().__init__()
        self.out_channels = up_channels

    def forward(self, skip: Tensor, up: Tensor) -> Tensor:
        return up


class TransposedUp(nn.ConvTranspose2d):
    """2×2 transposed convolution of stride 2: twice the size, and the channels of the level above."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, 2, stride=2)


class NearestUp(nn.Upsample):
    """Every value four times: twice the size, the channels stay (Keras' `UpSampling2D`; no parameters)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(scale_factor=2, mode="nearest")
        self.out_channels = in_channels


class BilinearUp(nn.Upsample):
    """Bilinear interpolation: twice the size, the channels stay; no parameters.

    Between the pixels' centres (`align_corners=False`): so features stay where they are, whatever the image's size.
    milesial/Pytorch-UNet puts the outermost centres on the image's corners (`align_corners=True`).
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(scale_factor=2, mode="bilinear")
        self.out_channels = in_channels


class Normalize(nn.Module):
    """(x − mean) / std, a channel at a time, with the statistics of the training images as buffers.

    (N, C, H, W) → the same. The statistics travel with the weights, so whoever loads them gives images in [0, 1].
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def set(self, mean: ArrayLike, std: ArrayLike) -> None:
        """Takes mean and standard deviation of the first channels; a channel that is constant is only centred, and
        further channels stay as they are."""
        mean, std = torch.as_tensor(mean), torch.as_tensor(std)
        self.mean[: len(mean)] = mean
        self.std[: len(std)] = torch.where(std < 1e-3, 1, std)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean[:, None, None]) / self.std[:, None, None]


def initialize_kaiming(network: nn.Module) -> None:
    """Draws every convolution's weights for layers followed by a ReLU: variance 2 / fan-in, biases 0 (He et al. 2015,
    arXiv 1502.01852). PyTorch's own start has a sixth of that variance. Fan-in is what PyTorch takes for it: of a
    transposed convolution, the number of its outputs."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


NORMS: dict[str, Norm] = {"batch": batch_norm, "group": group_norm}
BLOCKS: dict[str, Callable[[int, int, Norm], nn.Module]] = {
    "double": ConvBlock,
    "double-se": partial(ConvBlock, extra=SqueezeExcitation),
    "triple": partial(ConvBlock, convolutions=3),
    "triple-se": partial(ConvBlock, convolutions=3, extra=SqueezeExcitation),
    "residual": ResidualBlock,
}
# Of skips and upsampling, the modules say how many `out_channels` they give.
SKIPS: dict[str, Callable[[int, int, Norm], Any]] = {
    "concatenate": ConcatenateSkip,
    "attention": AttentionSkip,
    "attention-only": AttentionOnlySkip,
    "gated-add": GatedAddSkip,
    "gated-concatenate": GatedConcatenateSkip,
    "none": NoSkip,
}
UPS: dict[str, Callable[[int, int], Any]] = {"transposed": TransposedUp, "nearest": NearestUp, "bilinear": BilinearUp}
# What follows the bottleneck's block: functions of its channels and the normalisation.
BOTTLENECKS: dict[str, tuple[Callable[[int, Norm], nn.Module], ...]] = {
    "plain": (),
    "se": (lambda channels, norm: SqueezeExcitation(channels),),
    "se-pyramid": (lambda channels, norm: SqueezeExcitation(channels), PyramidPooling),
}
