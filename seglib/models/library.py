"""Networks from a library: segmentation_models_pytorch, with timm's encoders where it offers them. All from fresh
weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..extras import need

need("reports")
import segmentation_models_pytorch as smp  # noqa: E402 (where it is missing, need says how to install it)

__all__ = ["NETWORKS", "DeepLabV3Plus", "EncoderUNet", "Segformer"]


class EncoderUNet(nn.Module):
    """segmentation_models_pytorch's U-Net on an image classifier, from fresh weights.

    Args:
        encoder: the library's name of it: "efficientnet-b2", or after "tu-" a name of timm's.
        in_channels: channels of the input.
        attention: "scse", concurrent spatial and channel squeeze-and-excitation (Roy et al. 2018, arXiv 1803.02579)
            before and after the convolutions of each decoder block, or None.
        dropout: probability of dropping a whole channel after each decoder block. The EfficientNets have a dropout of
            their own, which drops whole blocks with a probability that rises to 0.2.

    Shapes: (N, in_channels, H, W) float → logits (N, 1, H, W), for any H and W ≥ 1: the image is padded on the right
    and at the bottom, by repeating its edge, to a multiple of 32, and the logits are cropped.
    """

    def __init__(self, encoder: str, in_channels: int, *, attention: str | None = None, dropout: float = 0.0):
        super().__init__()
        self.in_channels = in_channels
        self.network = smp.Unet(
            encoder, encoder_weights=None, in_channels=in_channels, decoder_attention_type=attention
        )
        # What the library builds and never runs gets no gradient, and processes that wait for one would wait for ever.
        unused = [self.network.decoder.blocks[-1].attention1]  # there is no skip to attend to
        unused += [getattr(self.network.encoder, name, None) for name in ("_conv_head", "_bn1")]
        for module in filter(None, unused):
            module.requires_grad_(False)
        # The library's EfficientNet forgets a hundredth a step, as in long trainings. After a few hundred steps its
        # statistics would still be those of the start, and the network would fail in use though not in training.
        for module in self.network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.1  # PyTorch's default
        if dropout:
            for block in self.network.decoder.blocks:
                block.attention2 = nn.Sequential(block.attention2, nn.Dropout2d(dropout))

    def forward(self, x: Tensor) -> Tensor:
        return _padded(self.network, x, 32)


class DeepLabV3Plus(nn.Module):
    """segmentation_models_pytorch's DeepLabV3+ (Chen et al. 2018, arXiv 1802.02611) on ResNet-18, from fresh weights.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the logits.

    Shapes: (N, in_channels, H, W) float → logits (N, out_channels, H, W), for any H and W ≥ 1: padded as in
    `EncoderUNet`, to a multiple of 16.

    Raises:
        ValueError: in training, of a single image of at most 16 × 16 pixels.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.in_channels = in_channels
        self.network = smp.DeepLabV3Plus(
            "resnet18", encoder_weights=None, in_channels=in_channels, classes=out_channels
        )

    def forward(self, x: Tensor) -> Tensor:
        # Its pooled branch normalises one value a channel and image: of a single image, there is nothing to learn from.
        alone = self.training and len(x) == 1
        if alone and max(x.shape[-2:]) <= 16:  # then the deepest layers do so too, and gradients would overflow
            raise ValueError(
                "expected to be trained with several images, or with one of more than 16 pixels in height or width; "
                f"got one of {x.shape[-2]}×{x.shape[-1]}"
            )
        return _padded(self.network, torch.cat([x, x]) if alone else x, 16)[: len(x)]


class Segformer(nn.Module):
    """segmentation_models_pytorch's SegFormer (Xie et al. 2021, arXiv 2105.15203), size B0, from fresh weights.

    Arguments and shapes as for `DeepLabV3Plus`; padded to a multiple of 32.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.in_channels = in_channels
        self.network = smp.Segformer("mit_b0", encoder_weights=None, in_channels=in_channels, classes=out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return _padded(self.network, x, 32)


def _padded(network: nn.Module, x: Tensor, multiple: int) -> Tensor:
    """What a network says of images padded on the right and at the bottom to multiples of `multiple`, cropped."""
    height, width = x.shape[-2:]
    padded = nn.functional.pad(x, (0, -width % multiple, 0, -height % multiple), mode="replicate")
    return network(padded)[..., :height, :width]


NETWORKS: dict[str, type[nn.Module]] = {
    "encoder-unet": EncoderUNet,
    "deeplabv3-plus": DeepLabV3Plus,
    "segformer": Segformer,
}
