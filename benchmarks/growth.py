"""How the cost of a step grows with the picture, the network and the batch: time and memory, and their slopes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.ticker import LogLocator, NullLocator

from seglib.course.figures import BLUE, ORANGE
from seglib.files import write_whole
from seglib.models.unet import UNet

from .timing import in_own_process, in_turns, memory_of
from .training_step import pictures, train_ours

START = {"pixels": 128**2, "width": 16, "batch": 8}
GROWS = {"pixels": [size**2 for size in (64, 96, 128, 192, 256)], "width": [8, 16, 32, 64], "batch": [2, 4, 8, 16, 32]}
STEPS = 6
LABELS = {"pixels": "pixels of a picture", "width": "channels of the first level", "batch": "pictures a step"}


def measure_one(pixels: int, width: int, batch: int) -> dict[str, float]:
    """Seconds of a step, and MB that it takes."""
    torch.manual_seed(0)
    network = UNet(3, 1, [width * 2**level for level in range(4)])
    data = pictures(round(pixels**0.5), STEPS * batch)
    megabytes = memory_of(lambda: train_ours(network, data, batch))
    seconds = in_turns({"step": lambda: train_ours(network, data, batch)}, rounds=3)["step"]
    return {"seconds": float(np.median(seconds)) / STEPS, "megabytes": megabytes}


def measure() -> dict:
    found = {}
    for what, values in GROWS.items():
        points = []
        for value in values:
            points.append(in_own_process("growth", json.dumps(START | {what: value})))
        columns = {name: [point[name] for point in points] for name in points[0]}
        # Of the larger half: with little to do, what every step costs weighs more than the work.
        half = len(values) // 2
        slopes = {
            name: round(float(np.polyfit(np.log(values[half:]), np.log(column[half:]), 1)[0]), 2)
            for name, column in columns.items()
        }
        found[what] = {"values": values} | columns | {"slopes": slopes}
        print(f"{what}: {found[what]}")
    return {"start": START, "grows": found}


def draw(record: dict, path: Path) -> None:
    """Time and memory against each size, on logarithmic axes, with the slopes."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    for axis, (what, one) in zip(axes, record["grows"].items()):
        other = axis.twinx()
        for side, name, label, colour, marker in (
            (axis, "seconds", "time", BLUE, "o"),
            (other, "megabytes", "memory", ORANGE, "s"),
        ):
            text = f"{label}: slope {one['slopes'][name]:.2f}"
            values = 1000 * np.array(one[name]) if name == "seconds" else one[name]
            side.plot(one["values"], values, color=colour, marker=marker, ls="-" if side is axis else "--", label=text)
            side.set_yscale("log")
            side.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            side.yaxis.set_major_formatter("{x:g}")
            side.yaxis.set_minor_locator(NullLocator())
            low, high = min(values), max(values)
            side.set_ylim(0.8 * low, high * (high / low) ** 0.35)  # room for the legend
        axis.set_xscale("log", base=2)
        axis.set_xticks(one["values"], [f"{value:,}" for value in one["values"]], fontsize=8)
        axis.minorticks_off()
        axis.set(xlabel=LABELS[what], ylabel="time of a step, ms" if axis is axes[0] else "")
        other.set_ylabel("memory, MB" if axis is axes[-1] else "")
        handles = [*axis.get_lines(), *other.get_lines()]
        axis.legend(handles, [line.get_label() for line in handles], frameon=False, fontsize=8)
        axis.grid(alpha=0.3)
    write_whole(path, lambda file: figure.savefig(file, format="png", dpi=110), "figure")
    plt.close(figure)


if __name__ == "__main__":
    print(json.dumps(measure_one(**json.loads(sys.argv[1]))))
