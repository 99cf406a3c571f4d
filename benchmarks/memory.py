"""Memory of a training step, each network in a process of its own, beside the peers' at the same widths."""

from __future__ import annotations

import json
import sys

import torch

from . import peers
from .timing import in_own_process, memory_of
from .training_step import WIDTHS, pictures, train_ours

SIZE, BATCH, ROUNDS = 128, 8, 3
NETWORKS = ("seglib", "textbook U-Net", "MONAI BasicUNet")


def measure_one(name: str, widths: str, tuned: bool) -> float:
    """MB of three steps."""
    torch.manual_seed(0)
    network, data = peers.networks(WIDTHS[widths])[name], pictures(SIZE, 3 * BATCH)
    if name == "seglib":
        return memory_of(lambda: train_ours(network, data, BATCH))
    return memory_of(lambda: peers.train_plainly(network, data, BATCH, tuned))


def measure() -> dict:
    cases = []
    for widths in WIDTHS:
        found: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            for name in NETWORKS:
                for tuned in (False, True)[: 1 + (name != "seglib")]:
                    megabytes = in_own_process("memory", name, widths, "tuned" if tuned else "")
                    label = name + (", tuned" if tuned else "")
                    found.setdefault(label, []).append(round(megabytes, 1))
        cases.append({"widths": widths, "size": SIZE, "batch": BATCH, "megabytes": found})
        print(f"widths {widths}: {found} MB")
    return {"cases": cases}


if __name__ == "__main__":
    print(json.dumps(measure_one(sys.argv[1], sys.argv[2], sys.argv[3] == "tuned")))
