"""Data: how many pairs a second generators make and loaders deliver, and how long a step waits for its batch."""

from __future__ import annotations

import time

import numpy as np
import torch

from seglib import experiment
from seglib.losses import weighted_sum
from seglib.rows import load_row
from seglib.training import OPTIMIZERS, make_loader, resolve_precision

from .timing import DEVICE, wait

# Of each report a row that is trained as reported; of Mars one with augmentation.
ROWS = {
    "denoising": "report",
    "face_masks": "model-2",
    "neural_segmentello": "tiny16-32_bce-dice",
    "scribbles": "report",
    "mars_terrain": "augmentation",
}
STEPS, WARM, ROUNDS = 10, 2, 5  # the first two steps pay for what later ones find done


def measure_row(report: str, name: str) -> dict:
    row = load_row(report, name, "quick")
    start = time.perf_counter()
    data = experiment.make_data(row, seed=0).train
    generated = time.perf_counter() - start
    options = row.training
    loader = make_loader(data, options.batch_size, options.workers, shuffle_seed=0)
    layout = torch.channels_last if options.channels_last else torch.contiguous_format
    model = experiment.make_model(row).to(DEVICE, memory_format=layout).train()
    optimizer = OPTIMIZERS[options.optimizer](model.parameters(), lr=1e-4)
    loss_function = weighted_sum(
        {k: v for k, v in row.loss.model_dump().items() if k not in experiment.LOSS_OPTIONS and v},
    )
    bf16 = resolve_precision(options.precision) == "bf16"
    waited, worked, pictures = [], [], []
    batches = iter(loader)
    for _ in range(WARM + ROUNDS * STEPS):
        start = time.perf_counter()
        try:
            image, target = next(batches)
        except StopIteration:
            batches = iter(loader)
            image, target = next(batches)
        ready = time.perf_counter()
        with torch.autocast(DEVICE, torch.bfloat16, enabled=bf16):
            logits = model(image.to(DEVICE, memory_format=layout))
        loss = loss_function(logits, target.to(DEVICE))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        wait()
        waited.append(ready - start)
        worked.append(time.perf_counter() - ready)
        pictures.append(len(image))
    waited, worked = (np.array(seconds[WARM:]).reshape(ROUNDS, STEPS).sum(axis=1) for seconds in (waited, worked))
    low, middle, high = np.percentile(waited / (waited + worked), (25, 50, 75)).round(4).tolist()
    return {
        "row": name,
        "pairs": len(data),
        "generated_per_second": round(len(data) / generated, 1),
        "delivered_per_second": round(sum(pictures[WARM:]) / float(waited.sum()), 1),
        "share_waiting": {"median": middle, "low": low, "high": high},
    }


def measure() -> dict:
    found = {report: measure_row(report, name) for report, name in ROWS.items()}
    for report, one in found.items():
        print(f"{report}: {one}")
    return {"steps": STEPS, "rounds": ROUNDS, "reports": found}
