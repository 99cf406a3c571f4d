"""Where a training step spends its time, by PyTorch's profiler."""

from __future__ import annotations

import torch
from torch.profiler import ProfilerActivity, profile

from seglib.models.unet import UNet

from .timing import DEVICE
from .training_step import PIXELS, WIDTHS, pictures, train_ours

SIZE, STEPS = 128, 12
GROUPS = {"convolution": ("conv",), "batch normalisation": ("batch_norm",), "copies": ("copy_", "cat", "to_mkldnn")}


def shares(widths: str) -> dict[str, float]:
    """Of an epoch of a few steps, what share each group of operators takes, and the rest."""
    torch.manual_seed(0)
    network, batch = UNet(3, 1, WIDTHS[widths]), PIXELS // SIZE**2
    data = pictures(SIZE, STEPS * batch)
    train_ours(network, data, batch)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA][: 1 + (DEVICE == "cuda")]) as profiled:
        train_ours(network, data, batch)
    times = {
        event.key: event.self_device_time_total if DEVICE == "cuda" else event.self_cpu_time_total
        for event in profiled.key_averages()
    }
    total, found = sum(times.values()), {}
    for name, time in times.items():
        group = next((group for group, parts in GROUPS.items() if any(part in name for part in parts)), "the rest")
        found[group] = found.get(group, 0) + time / total
    return {group: round(share, 3) for group, share in sorted(found.items(), key=lambda item: -item[1])}


def measure() -> dict:
    found = {widths: shares(widths) for widths in WIDTHS}
    for widths, one in found.items():
        print(f"widths {widths}: {one}")
    return {"size": SIZE, "steps": STEPS, "shares": found}
