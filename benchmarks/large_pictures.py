"""What tiles change in the masks of large pictures, and how much memory they save: python -m benchmarks.large_pictures

The course's photographs with outlined objects, enlarged to 5 and 12 megapixels with grain of that size, go through two
networks in one piece (of 12 megapixels that takes 5 GB) and in tiles: the denoising report's, with batch normalisation,
and NeuralSegmentello's `own-size`, with group normalisation. Then `seglib predict` is run on one of 12 megapixels,
and its memory is watched. Written to results/large_pictures.json.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from seglib import load_model, results
from seglib.course.notebook import run_watched
from seglib.data.coco import Object, photographs
from seglib.data.datasets import to_tensor
from seglib.files import shipped, write_mask
from seglib.reports.neural_segmentello.refinement import channels
from seglib.tiles import predict_in_tiles
from seglib.training import predict

# Megapixels, and whose photographs. With batch normalisation one shows it.
COMPARED = {
    "denoising": {5: ("cup",)},
    "neural_segmentello": {5: ("cup", "spoon", "saucer"), 12: ("cup",)},
}
WATCHED = {"denoising": "report", "neural_segmentello": "own-size"}


def enlarged(entry: Object, megapixels: float) -> tuple[np.ndarray, np.ndarray]:
    """A photograph, and a rough mask of its object, at about so many megapixels: uint8 (H, W, 3), bool (H, W)."""
    image, mask = entry.image(), cv2.erode(entry.mask().astype(np.uint8), np.ones((9, 9)))
    factor = np.sqrt(megapixels * 1e6 / mask.size)
    large = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    grain = np.random.default_rng(0).normal(0, 4, large.shape)
    hint = cv2.resize(mask, large.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return np.clip(large + grain, 0, 255).astype(np.uint8), hint > 0


def changed(report: str, image: np.ndarray, hint: np.ndarray) -> float:
    """The share of a mask's pixels that are another in tiles than in one piece."""
    model = load_model(report, WATCHED[report])
    batch: Tensor
    if report == "denoising":
        batch = to_tensor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[None]
    else:
        batch = channels(image, hint.astype(np.int8), rgb=True, likelihood=True)[None]
    return float(((predict(model, batch) >= 0.5) != (predict_in_tiles(model, batch) >= 0.5)).float().mean())


def memory_of(report: str, image: np.ndarray, hint: np.ndarray) -> float:
    """Megabytes that `seglib predict` takes for a picture."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        Path(place / "large.jpg").write_bytes(cv2.imencode(".jpg", image[..., ::-1])[1])
        write_mask(place / "hints" / "large.png", hint)
        hints = ["--hints", str(place / "hints")] if report == "neural_segmentello" else []
        command = [sys.executable, "-m", "seglib", "predict", report, WATCHED[report], str(place / "large.jpg")]
        status, memory = run_watched([*command, "--out", str(place / "masks"), *hints])
        assert status == 0
        return memory


def main() -> None:
    start = time.perf_counter()
    objects = {entry.category: entry for entry in photographs()}
    found: dict[str, dict] = {report: {"changed": {}} for report in WATCHED}
    for report, measured in found.items():
        for megapixels, categories in COMPARED[report].items():
            shares = [changed(report, *enlarged(objects[category], megapixels)) for category in categories]
            measured["changed"][megapixels] = dict(zip(categories, shares))
            print(f"{report}, {megapixels} MP: " + ", ".join(f"{share:.3%}" for share in shares), flush=True)
        measured["memory_mb"] = round(memory_of(report, *enlarged(objects["cup"], 12)))
        print(f"{report}, 12 MP: {measured['memory_mb']} MB", flush=True)
    record = {
        "command": "python -m benchmarks.large_pictures",
        "found": found,
        "run": results.describe_run(time.perf_counter() - start, "float32"),
    }
    results.write(shipped("results") / "large_pictures.json", record)


if __name__ == "__main__":
    main()
