"""The one U-Net: every hand-built network of the five reports is a line of configuration of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import BLOCKS, BOTTLENECKS, NORMS, SKIPS, UPS

__all__ = ["UNet"]


class UNet(nn.Module):
    """U-Net (Ronneberger et al. 2015, arXiv 1505.04597) with exchangeable parts.

    At each level of the encoder a convolution block, then 2×2 max pooling; at each level of the decoder upsampling, by
    a 2×2 transposed convolution or without parameters, the skip from the encoder, and a block; a 1×1 convolution at
    the end gives the logits.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the logits: 1 for a binary mask, else the number of classes.
        widths: channels of every level from the top down; the last one is the bottleneck's.
        block: the convolution block of every level, a name in `blocks.BLOCKS`.
        decoder_block: another one for the decoder; None: the same.
        norm: "batch" or "group" (eight groups: every width must be a multiple of 8, of 16 with attention gates).
        skip: how encoder features reach the decoder, a name in `blocks.SKIPS`.
        up: how the decoder doubles the size of features, a name in `blocks.UPS`.
        bottleneck: what follows the lowest level's block, a name in `blocks.BOTTLENECKS`.
        dropout: probability of dropping a whole channel, in the deeper half of the encoder's levels and in the
            bottleneck.
        refine: add the first input channel, a mask to be refined, to the logits, so that the network has to learn
            only what is wrong with it (NeuralSegmentello's `res` networks; no further parameters).

    Shapes: (N, in_channels, H, W) float → logits (N, out_channels, H, W), for any H and W ≥ 1: the image is padded
    on the right and at the bottom, by repeating its edge, to a multiple of 2^(levels − 1), and the logits are cropped.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        widths: Sequence[int],
        *,
        block: str = "double",
        decoder_block: str | None = None,
        norm: str = "batch",
        skip: str = "concatenate",
        up: str = "transposed",
        bottleneck: str = "plain",
        dropout: float = 0.0,
        refine: bool = False,
    ):
        super().__init__()
        make_block, make_norm, make_skip = BLOCKS[block], NORMS[norm], SKIPS[skip]
        make_decoder_block = BLOCKS[decoder_block or block]
        levels = len(widths)
        self.in_channels = in_channels
        self.refine = refine
        self.multiple = 2 ** (levels - 1)
        self.pool = nn.MaxPool2d(2)
        self.encoder = nn.ModuleList()
        for level, (below, above) in enumerate(zip(widths, [in_channels, *widths])):
            stage: list[nn.Module] = [make_block(above, below, make_norm)]
            if dropout and level >= levels / 2:
                stage.append(nn.Dropout2d(dropout))
            if level == levels - 1:
                stage += [make_part(below, make_norm) for make_part in BOTTLENECKS[bottleneck]]
            self.encoder.append(nn.Sequential(*stage))
        self.up, self.skips, self.decoder = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for below, width in zip(widths[:0:-1], widths[-2::-1]):
            larger = UPS[up](below, width)
            joined = make_skip(width, larger.out_channels, make_norm)
            self.up.append(larger)
            self.skips.append(joined)
            self.decoder.append(make_decoder_block(joined.out_channels, width, make_norm))
        self.head = nn.Conv2d(widths[0], out_channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        if image.ndim != 4 or image.shape[1] != self.in_channels:
            raise ValueError(f"expected an image of shape (N, {self.in_channels}, H, W), got {tuple(image.shape)}")
        height, width = image.shape[-2:]
        x = F.pad(image, (0, -width % self.multiple, 0, -height % self.multiple), mode="replicate")
        features = []
        for level, stage in enumerate(self.encoder):
            x = stage(x if level == 0 else self.pool(x))
            features.append(x)
        features.pop()  # the bottleneck is x itself, not a skip
        for up, skip, stage in zip(self.up, self.skips, self.decoder):
            x = stage(skip(features.pop(), up(x)))
        logits = self.head(x)[..., :height, :width]
        return logits + image[:, :1] if self.refine else logits
