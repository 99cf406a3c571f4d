"""What Model 2 and Model 3 of the face-mask report cost: python -m benchmarks.face_masks_cost

Each is trained for an epoch on the same generated faces of 128×128 pixels, in a process of its own, in turns, so that
a machine that slows down slows both. Time is that of the epoch; memory is by how much the process's peak grew beyond
what it held before the network was made. Written to results/face_masks_cost.json.
"""

from __future__ import annotations

import json
import sys
from statistics import median

from seglib import experiment, results
from seglib.files import shipped
from seglib.rows import load_row

from .timing import in_own_process, peak_resident

ROWS = ("model-2", "model-3")
ROUNDS = 3
FACES = 96  # two thirds of them train: 4 batches of 16


def measure(name: str) -> dict[str, float]:
    """Seconds an epoch and MB of peak memory, in this process. The second epoch counts: the first one warms up."""
    row = load_row("face_masks", name, "full", {"data.count": FACES, "training.epochs": 2, "training.workers": 0})
    data = experiment.make_data(row, seed=0)
    before = peak_resident()
    _, history = experiment.train(row, 0, data)
    return {"seconds": history[1]["seconds"] - history[0]["seconds"], "memory_mb": peak_resident() - before}


def main() -> None:
    found: dict[str, list] = {name: [] for name in ROWS}
    for _ in range(ROUNDS):
        for name in ROWS:
            found[name].append(in_own_process("face_masks_cost", name))
            print(f"{name}: {found[name][-1]}", flush=True)
    two, three = (found[name] for name in ROWS)
    ratios = {key: [b[key] / a[key] for a, b in zip(two, three)] for key in two[0]}
    record = {
        "command": "python -m benchmarks.face_masks_cost",
        "data": f"{FACES} generated faces of 128×128, two thirds for training, batches of 16",
        "measured": found,
        "ratios": ratios,
        "run": results.describe_run(sum(m["seconds"] for rounds in found.values() for m in rounds), precision=None),
    }
    path = shipped("results") / "face_masks_cost.json"
    results.write(path, record)
    for key, values in ratios.items():
        print(f"Model 3 over Model 2, {key}: {median(values):.2f} ({min(values):.2f} to {max(values):.2f})")
    print(f"written to {path}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])))
    else:
        main()
