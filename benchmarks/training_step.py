"""A step of training: ours by `fit`, the peers' in a plain loop; out of the box, and tuned as ours is."""

from __future__ import annotations

import copy
from functools import partial
from statistics import median

import torch
from torch import nn
from torch.utils.data import TensorDataset
from torch.utils.flop_counter import FlopCounterMode

from seglib.losses import bce_loss
from seglib.training import fit, resolve_precision

from . import peers
from .timing import DEVICE, in_turns, ratios

WIDTHS = {"16 to 128": (16, 32, 64, 128), "64 to 512": (64, 128, 256, 512)}
SIZES = (64, 128, 256)
PIXELS = 65_536  # of a batch, whatever the size: 16, 4 or 1 images
STEPS = {"16 to 128": 24, "64 to 512": 6}  # of an epoch
ROUNDS = 5
ALONE = "seglib's network in the plain loop, tuned"


def pictures(size: int, count: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, 3, size, size, generator=generator)
    return TensorDataset(images, (images[:, :1] > 0.5).float())


def train_ours(network: nn.Module, data: TensorDataset, batch_size: int) -> None:
    """An epoch of `fit` as it is called without options; it counts metrics and validates (one image) besides."""
    one = TensorDataset(*(tensor[:1] for tensor in data.tensors))
    fit(network, bce_loss, data, one, epochs=1, batch_size=batch_size, learning_rate=1e-3)


def matrix_peak(dtype: torch.dtype) -> float:
    """The most that this machine multiplies: operations a second of a product of two 2048×2048 matrices."""
    a, b = (torch.rand(2048, 2048, device=DEVICE).to(dtype) for _ in range(2))
    return 2 * 2048**3 / min(in_turns({"product": lambda: a @ b}, rounds=10)["product"])


def operations(network: nn.Module, image: torch.Tensor) -> int:
    """Of a step, forwards and backwards, convolutions alone."""
    with FlopCounterMode(display=False) as counter:
        network(image).sum().backward()
    return counter.get_total_flops()


def measure() -> dict:
    precision = resolve_precision("auto")
    peaks, cases = [], []
    for widths_name, widths in WIDTHS.items():
        for size in SIZES:
            # A machine that is slow for a moment is slow for a product, too.
            peaks.append(matrix_peak(torch.bfloat16 if precision == "bf16" else torch.float32))
            torch.manual_seed(0)
            networks, batch = peers.networks(widths), PIXELS // size**2
            steps = STEPS[widths_name]
            data = pictures(size, steps * batch)
            flops = {name: operations(copy.deepcopy(n), data.tensors[0][:batch]) for name, n in networks.items()}
            candidates = {"seglib": partial(train_ours, networks["seglib"], data, batch)}
            # What `fit` adds to its network: counting, validating, and looking after both.
            alone = copy.deepcopy(networks["seglib"])
            candidates[ALONE] = partial(peers.train_plainly, alone, data, batch, tuned=True)
            for name, network in list(networks.items())[1:]:
                candidates[name] = partial(peers.train_plainly, network, data, batch, tuned=False)
                candidates[f"{name}, tuned"] = partial(
                    peers.train_plainly, copy.deepcopy(network), data, batch, tuned=True
                )
            seconds = {name: [s / steps for s in all_] for name, all_ in in_turns(candidates, ROUNDS).items()}
            case = {
                "widths": widths_name,
                "size": size,
                "batch": batch,
                "steps": steps,
                "parameters": {name: peers.parameters(network) for name, network in networks.items()},
                "gigaflops": {name: round(count / 1e9, 2) for name, count in flops.items()},
                "seconds": seconds,
                "ratios": {name: ratios(s, seconds["seglib"]) for name, s in seconds.items() if name != "seglib"},
            }
            cases.append(case)
            print(f"widths {widths_name}, {size} px: {case['ratios']}")
    peak = max(peaks) / 1e9
    for case in cases:
        case["share_of_matrix_peak"] = round(case["gigaflops"]["seglib"] / median(case["seconds"]["seglib"]) / peak, 3)
    return {"precision": precision, "matrix_peak_gflops": round(peak), "cases": cases}
