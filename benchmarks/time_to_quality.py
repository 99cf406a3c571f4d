"""How long each recipe takes to the denoising report's IoU of 0.909: python -m benchmarks.time_to_quality

Three ways to train the same network on the same pairs, in turns in one process, so that a machine that slows down
slows all of them: the report's recipe in PyTorch's defaults (float32, NCHW), the same with the arithmetic that
the course uses everywhere (bf16 where the processor has matrix units for it, NHWC), and the fast recipe, with four
epochs, for two end a little below that IoU. The clock includes validation after each epoch. Written to
results/time_to_quality.json.
"""

from __future__ import annotations

import contextlib
from statistics import median

from seglib import experiment, results
from seglib.files import shipped
from seglib.rows import load_row

QUALITY = load_row("denoising", "report").reported["iou"]
SEEDS = (0, 1, 2)
RECIPES = {
    "the report's recipe, PyTorch's defaults": (
        "report",
        {"training.precision": "float32", "training.channels_last": False},
    ),
    "the report's recipe, bf16 and NHWC": ("report", {}),
    "the fast recipe, four epochs": ("fast", {"training.epochs": 4}),
}


class Reached(Exception):
    """The validation IoU got there."""


def seconds_to_quality(row, seed: int, data) -> float | None:
    """Seconds of training and validation until the mean IoU reached QUALITY; None: it never did."""
    reached = None

    def stop(epoch: dict) -> None:
        nonlocal reached
        if epoch["val_iou"] >= QUALITY:
            reached = epoch["seconds"]
            raise Reached

    with contextlib.suppress(Reached):
        experiment.train(row, seed, data, on_epoch=stop)
    return reached


def main() -> None:
    data = experiment.make_data(load_row("denoising", "report"), seed=0)
    seconds: dict[str, list] = {name: [] for name in RECIPES}
    for seed in SEEDS:
        for name, (row, overrides) in RECIPES.items():
            seconds[name].append(seconds_to_quality(load_row("denoising", row, "quick", overrides), seed, data))
            print(f"seed {seed}, {name}: {seconds[name][-1]} s", flush=True)
    *_, fast = seconds.values()
    record = {
        "command": "python -m benchmarks.time_to_quality",
        "quality": f"mean IoU of {QUALITY} over {len(data.validation)} validation pairs ({data.description})",
        "seeds": SEEDS,
        "seconds": seconds,
        "times_faster": {
            name: [a / b if a and b else None for a, b in zip(values, fast)] for name, values in seconds.items()
        },
        "run": results.describe_run(sum(sum(filter(None, v)) for v in seconds.values()), precision=None),
    }
    path = shipped("results") / "time_to_quality.json"
    results.write(path, record)
    for name, ratios in record["times_faster"].items():
        known = [ratio for ratio in ratios if ratio]
        print(f"{name}: the fast one is {median(known):.1f} times faster ({min(known):.1f} to {max(known):.1f})")
    print(f"written to {path}")


if __name__ == "__main__":
    main()
