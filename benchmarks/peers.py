"""What a user would pick instead of `seglib`: each network as its documentation shows it, trained in a plain loop."""

from __future__ import annotations

from collections.abc import Sequence

import segmentation_models_pytorch as smp
import torch
from monai.networks.nets import BasicUNet
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from seglib.models.unet import UNet
from seglib.training import resolve_precision

from .timing import DEVICE

# Encoders of segmentation_models_pytorch from small to large, each with all of its levels or fewer, and with the
# decoder's channels that its documentation has as the default or a quarter of them.
ENCODERS = ("timm-mobilenetv3_small_minimal_100", "mobilenet_v2", "efficientnet-b0", "resnet18", "resnet34")
DEPTHS = (5, 4, 3)
DECODERS = ((256, 128, 64, 32, 16), (64, 32, 16, 16, 16))


class TextbookUNet(nn.Module):
    """The U-Net of the tutorials: double convolutions with batch norm, transposed convolutions, concatenation."""

    def __init__(self, channels: int, classes: int, widths: Sequence[int]):
        super().__init__()

        def double(before: int, after: int) -> nn.Sequential:
            layers = []
            for inside in (before, after):
                layers += [nn.Conv2d(inside, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
            return nn.Sequential(*layers)

        self.down = nn.ModuleList(double(*pair) for pair in zip([channels, *widths], widths))
        self.pool = nn.MaxPool2d(2)
        pairs = list(zip(widths[:0:-1], widths[-2::-1]))
        self.up = nn.ModuleList(nn.ConvTranspose2d(below, width, 2, stride=2) for below, width in pairs)
        self.decode = nn.ModuleList(double(2 * width, width) for _, width in pairs)
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for level, stage in enumerate(self.down):
            x = stage(self.pool(x) if level else x)
            kept.append(x)
        kept.pop()
        for up, stage in zip(self.up, self.decode):
            x = stage(torch.cat([kept.pop(), up(x)], dim=1))
        return self.head(x)


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def nearest_smp(count: int) -> nn.Module:
    """segmentation_models_pytorch's U-Net whose number of parameters is nearest to `count`, from fresh weights."""
    networks = (
        smp.Unet(encoder, depth, encoder_weights=None, decoder_channels=decoder[:depth], in_channels=3, classes=1)
        for encoder in ENCODERS
        for depth in DEPTHS
        for decoder in DECODERS
    )
    return min(networks, key=lambda network: abs(parameters(network) - count))


def networks(widths: Sequence[int]) -> dict[str, nn.Module]:
    """Ours, and the peers' of three channels and one logit, at the same widths.

    MONAI's has five levels, and one more width for its last upsampling; where ours has four, it takes the first twice,
    as its own default does.
    """
    ours = UNet(3, 1, widths)
    five = [widths[0]] * (5 - len(widths)) + list(widths)
    return {
        "seglib": ours,
        "textbook U-Net": TextbookUNet(3, 1, widths),
        "MONAI BasicUNet": BasicUNet(2, 3, 1, features=(*five, widths[0])),
        "segmentation_models_pytorch": nearest_smp(parameters(ours)),
    }


def train_plainly(network: nn.Module, data: Dataset, batch_size: int, tuned: bool) -> None:
    """An epoch in the loop of PyTorch's tutorials; `tuned` adds what `seglib` does: bfloat16 where the hardware
    multiplies matrices in it, NHWC, and Adam's fused form."""
    layout = torch.channels_last if tuned else torch.contiguous_format
    network = network.to(DEVICE, memory_format=layout).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=tuned)
    loss_function = nn.BCEWithLogitsLoss()
    bf16 = tuned and resolve_precision("auto") == "bf16"
    for image, target in DataLoader(data, batch_size, shuffle=True):
        image, target = image.to(DEVICE).to(memory_format=layout), target.to(DEVICE)
        with torch.autocast(DEVICE, torch.bfloat16, enabled=bf16):
            loss = loss_function(network(image), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
