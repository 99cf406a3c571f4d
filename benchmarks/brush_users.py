"""How many strokes simulated users need, with the network of the row `brush` and with that of `interactive`.

    SEGLIB_DATA=… python -m benchmarks.brush_users

The users draw on the validation objects of both rows, which are the same: with the hand that both were trained with,
and with a hasty one that neither knows (thin, wobbling, astray); and the former also from a rough mask. Each of three
users draws other strokes. Writes results/brush_users.json: mean IoU after each of eight strokes, and the number of
strokes to an IoU of 0.85 and of 0.90, where 20 are allowed and an object that never gets there counts 20, as in the
field's NoC; with the standard deviation over the users' means, and over objects the standard error of the users' mean.
"""

from __future__ import annotations

import os
import time

import numpy as np

from seglib import results
from seglib.data import strokes
from seglib.experiment import data_folder, make_data
from seglib.files import root
from seglib.metrics import iou
from seglib.prediction import load_model
from seglib.reports.neural_segmentello.refinement import interact
from seglib.rows import load_row

REPORT, ROWS = "neural_segmentello", ("interactive", "brush")
USERS, ALLOWED, SHOWN, GOALS = 3, 20, 8, (0.85, 0.90)
SITUATIONS = {  # who draws, and whether from a rough mask
    "from nothing": (strokes.CAREFUL, False),
    "another hand": (strokes.HASTY, False),
    "from a rough mask": (strokes.CAREFUL, True),
}


def game(model, config, image, rough, truth, hand, rng, scale) -> list[float]:
    """IoU after each stroke, up to `ALLOWED`; from a rough mask, the first is the one before any stroke. The last is
    repeated where the user stops: content, or beyond what is shown with all goals reached."""
    ious = []
    for _, mask in interact([model], image, truth, config, ALLOWED, rng, scale, hand, rough):
        ious.append(iou(mask, truth))
        if len(ious) > SHOWN and max(ious) >= max(GOALS):
            break
    return ious + ious[-1:] * (ALLOWED + (rough is not None) - len(ious))


def measured(curves: np.ndarray, before: int) -> dict:
    """Of IoUs (users, objects, strokes), the first `before` of them before any stroke: curve and numbers of strokes."""

    def summary(values: np.ndarray) -> dict:  # (users, objects)
        return {
            "mean": round(float(values.mean()), 4),
            "sd_over_users": round(float(values.mean(1).std(ddof=1)), 4),
            "se_over_objects": round(float(values.mean(0).std(ddof=1) / np.sqrt(values.shape[1])), 4),
        }

    found = {"iou": [summary(curves[..., i]) for i in range(before + SHOWN)]}
    for goal in GOALS:
        reached = curves[..., : before + ALLOWED] >= goal
        count = np.where(reached.any(-1), reached.argmax(-1) + 1 - before, ALLOWED)
        found[f"strokes_to_{round(100 * goal)}"] = summary(count) | {
            "never": round(float((~reached.any(-1)).mean()), 3)
        }
    return found


def main() -> None:
    start = time.perf_counter()
    record = {"command": "SEGLIB_DATA=… python -m benchmarks.brush_users", "users": USERS, "rows": {}}
    folder = data_folder(os.environ.get("SEGLIB_DATA"))
    for name in ROWS:
        row, model = load_row(REPORT, name, "quick"), load_model(REPORT, name)
        held_out = make_data(row, 0, folder).validation
        record["objects"] = len(held_out)
        record["rows"][name] = {}
        for situation, (hand, rough) in SITUATIONS.items():
            curves = np.empty((USERS, len(held_out), ALLOWED + rough))
            for user, i in np.ndindex(curves.shape[:2]):
                image, hint, truth = held_out.at_own_size(i)
                rng = np.random.default_rng([user, held_out.objects[i].annotation_id])
                start_from = hint if rough else None
                curves[user, i] = game(model, row.data, image, start_from, truth, hand, rng, held_out.scale)
            found = record["rows"][name][situation] = measured(curves, int(rough))
            curve = " ".join(f"{one['mean']:.3f}" for one in found["iou"])
            numbers = "  ".join(
                f"{key} {found[key]['mean']:.2f} ± {found[key]['sd_over_users']:.2f}" for key in found if key != "iou"
            )
            print(f"{name}, {situation}: {curve}  {numbers}", flush=True)
    record["run"] = results.describe_run(seconds=time.perf_counter() - start, precision="float32")
    results.write(root() / "results" / "brush_users.json", record)


if __name__ == "__main__":
    main()
