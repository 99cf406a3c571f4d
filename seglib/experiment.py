"""From a row to a result: data, model, fit, evaluate, result file. The only module that knows all others."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import set_seed
from torch import nn

from . import baselines, results, weights
from .config import ConfigError, Row, load_row
from .data import shapes
from .data.common import AUGMENTATIONS, SegmentationDataset
from .files import write_whole
from .losses import weighted_sum
from .metrics import BinaryMetrics
from .models.unet import UNet
from .training import History, evaluate, fit, resolve_precision

TUNING_IMAGES = 200  # of the training part, for the classical baselines: total variation takes 10 ms an image


@dataclass
class Splits:
    """The data sets of a row, and in one sentence what they are."""

    train: SegmentationDataset
    validation: SegmentationDataset
    description: str


@dataclass
class Outcome:
    """What running a row gives: the result as it stands in the file, and the trained network and its data."""

    result: dict
    path: Path
    model: nn.Module | None
    data: Splits
    history: History


def make_data(row: Row, seed: int) -> Splits:
    """Generates or loads a row's data, and holds a part out; the same row and seed give the same data."""
    noise = shapes.Noise(**row.data.noise.model_dump())
    images, masks = shapes.make_pairs(row.data.count, row.data.size, seed, noise)
    held_out = round(row.data.count * row.data.held_out)
    if not 0 < held_out < row.data.count:
        raise ConfigError(f"data.held_out: {row.data.held_out} of {row.data.count} pairs leaves one part empty")
    augment = AUGMENTATIONS[row.data.augment]
    dataset = SegmentationDataset
    if row.data.progressive_epochs:
        dataset = partial(shapes.ProgressiveNoise, noise=noise, epochs=row.data.progressive_epochs)
    train = dataset(images[held_out:], masks[held_out:], augment=augment and augment(), seed=seed)
    validation = SegmentationDataset(images[:held_out], masks[:held_out])
    return Splits(
        train,
        validation,
        f"generated shapes, {len(train)} training and {len(validation)} validation pairs of "
        f"{row.data.size}×{row.data.size}, seed {seed}",
    )


def make_model(row: Row) -> nn.Module:
    """The network of a row, with fresh weights.

    Raises:
        ConfigError: the row is a classical baseline.
    """
    if row.model is None:
        raise ConfigError(f"row {row.name!r} of {row.report!r} is a classical baseline: it has no network")
    arguments = row.model.model_dump()
    return UNet(arguments.pop("in_channels"), arguments.pop("out_channels"), arguments.pop("widths"), **arguments)


def build_model(report: str, row: str) -> nn.Module:
    """The network of a row of a report's configuration file, with fresh weights.

    Example:
        >>> build_model("denoising", "report")(torch.zeros(1, 1, 48, 64)).shape
        torch.Size([1, 1, 48, 64])

    Raises:
        ConfigError: no such report or row, or the row is a classical baseline.
    """
    return make_model(load_row(report, row))


def count_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def rows_table(report: str) -> list[dict]:
    """Every row of a report as `python -m seglib rows --json` prints it."""
    table = []
    for line in results.summary(report):
        row, ours = line["row"], line["measured"]
        entry = {
            "report": report,
            "row": row.name,
            "title": row.title,
            "parameters": count_parameters(make_model(row)) if row.model else 0,
            "reported": row.reported,
            "measured": ours["metrics"] if ours else None,
        }
        if ours:
            entry |= {"scale": ours["scale"], "data": ours["data"], "seeds": ours["seeds"]}
        if row.best:
            entry["best"] = True
        table.append(entry)
    return table


def train(row: Row, seed: int, data: Splits, **arguments) -> tuple[nn.Module, History]:
    """Trains a row's network on `data`; `arguments` are passed on to `fit`."""
    set_seed(seed)
    model = make_model(row)
    loss = weighted_sum(row.loss.model_dump())
    history = fit(model, loss, data.train, data.validation, seed=seed, **row.training.model_dump(), **arguments)
    return model, history


def run(
    report: str,
    name: str,
    *,
    scale: str = "quick",
    seed: int = 0,
    data: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    fresh: bool = False,
    on_epoch: Callable[[dict], None] | None = None,
) -> Outcome:
    """Runs a row and writes its result file; a run that was cut off is taken up at its last checkpoint.

    Args:
        report, name: which row.
        scale: "quick" or "full".
        seed: of data, weights, shuffling and augmentation.
        data: folder with the real data sets; default: the environment variable SEGLIB_DATA, where it is set.
        overrides: changes to the row, such as {"training.epochs": 3}; the result file says so and is not counted as
            the row's own.
        out: folder of the result files; default: `results` in the checkout, or in the working folder. Checkpoints
            and the best weights go to `runs` beside it.
        fresh: start again, even where a checkpoint could be taken up.
        on_epoch: called with the history's row after each epoch.

    Raises:
        ConfigError: a mistake in the row, the overrides or the scale, before any work is done.
        OSError: results cannot be written there, before any work is done.
    """
    row = load_row(report, name, scale, overrides)
    folder = data or os.environ.get("SEGLIB_DATA")
    if folder and not Path(folder).is_dir():
        raise ConfigError(f"expected a folder with the real data sets, got {str(folder)!r} (--data or SEGLIB_DATA)")
    path = results.result_path(report, name, scale, seed, overrides or {}, out)
    checkpoints = path.parents[2] / "runs" / report / path.stem
    if fresh:
        shutil.rmtree(checkpoints, ignore_errors=True)
    for place in (path.parent, checkpoints):
        check_writable(place)
    start = time.perf_counter()
    splits = make_data(row, seed)
    model, history = None, History()
    if row.baseline is not None:
        metrics, chosen = run_baseline(row, splits)
    else:
        model, history = train(
            row, seed, splits, folder=checkpoints, settings=row.recipe() | {"seed": seed}, on_epoch=on_epoch
        )
        metrics, chosen = evaluate(model, splits.validation), {"best_epoch": history.best["epoch"]}
        metrics |= evaluate_on_silhouettes(model, row, seed, folder)
        if PartialState().is_main_process:
            about = {"report": report, "row": name, "scale": scale, "seed": str(seed), "result": path.name}
            weights.save(model, checkpoints / "best.safetensors", about)
    images = metrics.pop("images")
    result = {
        "report": report,
        "row": name,
        "scale": scale,
        "data": "embedded",
        "split": f"{splits.description}; metrics over the {images} validation pairs",
        "seed": seed,
        "overrides": dict(overrides or {}),
        "parameters": count_parameters(model) if model else 0,
        "metrics": metrics,
        "foreground_share": float(np.mean(splits.validation.masks)),
        **chosen,
        "history": list(history),
        "config": row.recipe(),
        "run": results.describe_run(
            seconds=history[-1]["seconds"] if history else time.perf_counter() - start,
            precision=resolve_precision(row.training.precision) if row.training else None,
        ),
    }
    if PartialState().is_main_process:
        results.write(path, result)
    return Outcome(result, path, model, splits, history)


def run_baseline(row: Row, data: Splits) -> tuple[dict, dict]:
    """Metrics of a classical baseline on the validation part, and the strength chosen on the training part."""
    filter = row.baseline.filter
    strength = baselines.tune(data.train.images[:TUNING_IMAGES], data.train.masks[:TUNING_IMAGES], filter)
    metrics = BinaryMetrics()
    for image, mask in zip(data.validation.images, data.validation.masks):
        predicted = torch.from_numpy(baselines.segment(image, filter, strength))
        logits = predicted.float() * 2 - 1
        metrics.update(BinaryMetrics.count(logits[None, None], torch.from_numpy(mask)[None, None]))
    computed = metrics.compute()
    del computed["bce"]  # a hard mask has no probabilities
    return computed, {"strength": strength, "tuned_on": f"the first {TUNING_IMAGES} training pairs"}


def evaluate_on_silhouettes(model: nn.Module, row: Row, seed: int, folder: str | Path | None) -> dict[str, float]:
    """Mean IoU over 200 or more noisy pictures of each set of real silhouettes: `iou_horse` and so on."""
    noise = shapes.Noise(**row.data.noise.model_dump())
    found = {}
    for name, masks in shapes.silhouettes(row.data.size, folder).items():
        masks = np.tile(masks, (-(-200 // len(masks)), 1, 1))
        images = shapes.degrade(masks, noise, np.random.default_rng([seed, len(masks)]))
        found[f"iou_{name}"] = evaluate(model, SegmentationDataset(images, masks))["iou"]
    return found


def check_writable(folder: Path) -> None:
    """Raises OSError, naming the folder, where not even a megabyte can be written into it."""
    write_whole(folder / ".probe", lambda file: file.write(bytes(2**20)), "results").unlink()
