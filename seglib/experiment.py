"""From a row to a result: data, model, fit, evaluate, result file."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from accelerate.utils import set_seed
from filelock import FileLock, Timeout
from safetensors.torch import load_file
from torch import nn

from . import results, weights
from .data.datasets import channel_statistics
from .files import user_path, write_mask, write_whole
from .items import digest, hashed
from .losses import weighted_sum
from .models.blocks import Normalize, initialize_kaiming
from .models.unet import UNet
from .reports import find_report
from .reports.base import Splits
from .reports.keys import ConfigError, Row, Scale
from .results import result_path
from .rows import load_row
from .training import History, OtherRun, fit, resolve_precision

LOSS_OPTIONS = ("boundary_growth", "positive_weight", "focal_gamma", "class_weights")  # `Loss` but for the weights
PRETRAINING_SEED = 3000  # added to the seed where the drawn pictures of a starting row must be others


@dataclass
class Outcome:
    """What running a row gives: the result as it stands in the file, and the networks, data and histories of its
    folds; a row without folds has one of each. A classical baseline has no network (None)."""

    result: dict
    path: Path
    place: Path  # what else is left of the run, see `run`
    data: list[Splits]
    models: list[nn.Module | None] = field(default_factory=list)
    histories: list[History] = field(default_factory=list)

    @property
    def model(self) -> nn.Module | None:
        """The first fold's network."""
        return self.models[0]


def make_data(row: Row, seed: int, folder: str | Path | None = None) -> Splits:
    """Generates or loads a row's data, and holds a part out (its first fold); the same row and seed give the same data.

    Args:
        folder: with the real data sets; None: the embedded data.
    """
    return make_folds(row, seed, folder)[0]


def make_folds(row: Row, seed: int, folder: str | Path | None = None) -> list[Splits]:
    """The data of a row, split for each of its folds; a row without folds has one. Arguments as for `make_data`."""
    return find_report(row.report).folds(row, seed, folder)


def make_model(row: Row) -> nn.Module:
    """The network of a row, with fresh weights.

    Raises:
        ConfigError: the row is a classical baseline.
    """
    if row.model is None:
        raise ConfigError(f"row {row.name!r} of {row.report!r} is a classical baseline: it has no network")
    arguments = row.model.model_dump()
    normalize = arguments.pop("normalize")
    init = arguments.pop("init", "pytorch")
    network: nn.Module
    if "widths" in arguments:
        network = UNet(**arguments)
    else:
        from .models import library  # timm takes seconds to import, and only these rows need it

        network = library.NETWORKS[arguments.pop("network", "encoder-unet")](**arguments)
    if init == "kaiming":
        initialize_kaiming(network)
    return nn.Sequential(Normalize(row.model.in_channels), network) if normalize else network


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


def train(row: Row, seed: int, data: Splits, start: str | Path | None = None, **arguments) -> tuple[nn.Module, History]:
    """Trains a row's network on `data`, from fresh weights or those in the file `start`; `arguments` go to `fit`."""
    report = find_report(row.report)
    set_seed(seed)
    model = make_model(row)
    assert row.loss is not None  # for it has a network
    assert row.training is not None
    if isinstance(model, nn.Sequential) and isinstance(model[0], Normalize):
        model[0].set(*channel_statistics(data.train.images))
    if start is not None:
        weights.load(model, start)  # with the statistics that it was trained with
    data = report.prepared(model, row, seed, data)
    losses = row.loss.model_dump()
    options = {name: losses.pop(name) for name in LOSS_OPTIONS}
    arguments |= {"metrics": report.metrics} | row.training.model_dump()
    history = fit(model, weighted_sum(losses, **options), data.train, data.validation, seed=seed, **arguments)
    return model, history


def run_baseline(row: Row, data: Splits) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics of a classical baseline on the measured part, and what was chosen for it on the training part."""
    return find_report(row.report).run_baseline(row, data)


def run(
    report: str,
    name: str,
    *,
    scale: Scale = "quick",
    seed: int = 0,
    data: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    place: Path | None = None,
    fresh: bool = False,
    on_epoch: Callable[[dict], None] | None = None,
) -> Outcome:
    """Runs a row and writes its result file; a run that was cut off is taken up at its last checkpoint.

    Beside the folder of the results, in `runs`, is left for each row (and there for each fold) the best network, its
    checkpoints and its predictions for the validation images.

    Args:
        report, name: which row.
        scale: "quick" or "full".
        seed: of data, weights, shuffling and augmentation.
        data: folder with the real data sets; default: the environment variable SEGLIB_DATA, where it is set.
        overrides: changes to the row, such as {"training.epochs": 3}; the result file says so and is not counted as
            the row's own.
        out: folder of the result files; default: `results` in the checkout, or in the working folder.
        place: a folder for all that the run leaves, its result.json too, instead of those two.
        fresh: start again, even where a checkpoint could be taken up.
        on_epoch: called with the history's row after each epoch.

    Raises:
        ConfigError: a mistake in the row, the overrides or the scale, before any work is done.
        OSError: results cannot be written there, before any work is done.
        OtherRun: the checkpoints there are of other data, options or settings; the old result stays.
        RuntimeError: another process runs the same row with the same `out`.
    """
    row = load_row(report, name, scale, overrides)
    folder = data_folder(data)
    _check_start(row)
    source = data_source(row, folder)
    path = place / "result.json" if place else result_path(report, name, scale, seed, overrides or {}, out, source)
    place = place or run_folder(path)
    for needed in (path.parent, place):
        check_writable(needed)
    with only_one(place):
        first = _run_start(row, seed, folder, data=data, out=out, on_epoch=on_epoch)
        clock = time.perf_counter()
        outcome = Outcome({}, path, place, make_folds(row, seed, folder))
        starts = starting_points(first, outcome.data) if first else [None] * len(outcome.data)
        if fresh:  # what is there goes only now that all that may be missing is there
            shutil.rmtree(place, ignore_errors=True)
        found = [_run_fold(row, seed, folder, outcome, i, start, on_epoch) for i, start in enumerate(starts)]
        _write_folds(outcome)
        outcome.result |= _describe(row, seed, source, overrides or {}, outcome, found, time.perf_counter() - clock)
        if PartialState().is_main_process:
            results.write(path, outcome.result)
        return outcome


def _check_start(row: Row) -> None:
    if row.start and load_row(row.report, row.start, row.scale).model != row.model:
        raise ConfigError(
            f"row {row.name!r} starts from {row.start!r}, so it must have that row's network; change both"
        )


def _run_start(row: Row, seed: int, folder: str | Path | None, **options: Any) -> Outcome | None:
    """Runs the row that a row starts from, where there is one, unless it has been run already."""
    if row.start is None:
        return None
    # Where drawn pictures stand in for real ones, a row that is never given real ones must draw others.
    drawn = not folder and not getattr(load_row(row.report, row.start, row.scale).data, "real", False)
    return run(row.report, row.start, scale=row.scale, seed=seed + PRETRAINING_SEED * drawn, **options)


def _run_fold(
    row: Row,
    seed: int,
    folder: str | Path | None,
    outcome: Outcome,
    number: int,
    start: Path | None,
    on_epoch: Callable[[dict], None] | None,
) -> dict:
    """Trains and measures one fold; what the result file says of it. Adds network and history to `outcome`."""
    fold, where = outcome.data[number], fold_folder(outcome, number)
    if row.baseline is not None:
        model, history = None, History()
        metrics, details = run_baseline(row, fold)
    else:
        settings = row.training_recipe() | {"seed": seed}
        if len(outcome.data) > 1:
            settings["fold"] = number
        if fold.test:
            settings["test part"] = f"{len(fold.test.names)} items ({digest(fold.test)[:8]})"
        if start is not None:
            tensors = sorted(load_file(start).items())  # in a file they may be in any order
            settings["weights at the start"] = hashed(*zip(*tensors))[:8]
        try:
            model, history = train(
                row, seed, fold, start, folder=where / "checkpoints", settings=settings, on_epoch=on_epoch
            )
        except OtherRun as error:
            raise OtherRun(
                f"{error} (`seglib run {row.report} {row.name}`: --fresh, or --out in another folder)"
            ) from None
        masks, found = find_report(row.report).evaluate(model, row, seed, folder, fold)
        metrics = {name: value for name, value in found.items() if not isinstance(value, list)}
        details = {"best_epoch": history.best["epoch"]} | {n: value for n, value in found.items() if n not in metrics}
        if PartialState().is_main_process:
            about = {"report": row.report, "row": row.name, "scale": row.scale, "seed": str(seed)}
            about |= {"result": outcome.path.name, "fold": str(number), "size": str(row.data.resize)}
            weights.save(model, where / "best.safetensors", about)
            for mask, stem in zip(masks, fold.measured.names):
                write_mask(where / "predictions" / f"{stem}.png", mask)
    outcome.models.append(model)
    outcome.histories.append(history)
    images, part = metrics.pop("images"), "test" if fold.test else "validation"
    return {
        "split": f"{fold.description}; metrics over the {images} {part} pairs",
        "metrics": metrics,
        "foreground_share": float(np.mean([np.mean(mask) for mask in fold.measured.masks])),
        **details,
        "history": list(history),
    }


def _describe(
    row: Row,
    seed: int,
    source: str,
    overrides: Mapping[str, Any],
    outcome: Outcome,
    found: list[dict],
    seconds: float,
) -> dict:
    """The result as its file has it: what was run, what was found, and on what."""
    trained = [history[-1]["seconds"] for history in outcome.histories if history]
    return {
        "report": row.report,
        "row": row.name,
        "scale": row.scale,
        "data": source,
        "seed": seed,
        "overrides": dict(overrides),
        "parameters": count_parameters(outcome.model) if outcome.model else 0,
        **(found[0] if len(found) == 1 else over_folds(found)),
        "config": row.recipe(),
        "run": results.describe_run(
            seconds=sum(trained) if trained else seconds,
            precision=resolve_precision(row.training.precision) if row.training else None,
        ),
    }


def _write_folds(outcome: Outcome) -> None:
    """Which pictures each fold is validated on, beside a run that has several."""
    if len(outcome.data) > 1 and PartialState().is_main_process:
        names = json.dumps([fold.validation.names for fold in outcome.data], indent=1)
        write_whole(outcome.place / "folds.json", lambda file: file.write(names.encode()), "folds")


def data_folder(data: str | Path | None) -> str | Path | None:
    """The folder with the real data sets: the one given, else that of SEGLIB_DATA, else None.

    Raises:
        ConfigError: it is not there.
    """
    given = data or os.environ.get("SEGLIB_DATA")
    if not given:
        return None
    folder = user_path(given)
    if not folder.is_dir():
        raise ConfigError(f"expected a folder with the real data sets, got {str(folder)!r} (--data or SEGLIB_DATA)")
    return folder


@contextmanager
def only_one(place: Path) -> Iterator[None]:
    """Keeps a run's folder to one run at a time: two would take up and remove each other's checkpoints.

    Raises:
        RuntimeError: another run is at work there.
    """
    if not PartialState().is_main_process:
        yield
        return
    lock = place.with_name(f"{place.name}.lock")
    try:
        with FileLock(lock, timeout=0):
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
    except Timeout:
        raise RuntimeError(f"another process runs this row, in {place}; wait until it is done, or stop it") from None


def starting_points(first: Outcome, folds: Sequence[Splits]) -> list[Path]:
    """The weights that each fold of a row starts from: those of `first`'s same fold, or of its only one.

    Raises:
        ConfigError: there are fewer folds, or a fold would be validated on what its starting network was trained on.
    """
    if 1 < len(first.data) < len(folds):
        raise ConfigError(f"{len(folds)} folds cannot start from the networks of {len(first.data)}")
    places = []
    for i, fold in enumerate(folds):
        k = i if len(first.data) > 1 else 0
        known = sorted(set(first.data[k].train.names) & set(fold.validation.names))
        if known:
            raise ConfigError(
                f"fold {i}: its starting network was trained on {len(known)} of its validation pictures, such as "
                f"{known[0]}; start from a row with the same folds, or on other data"
            )
        places.append(fold_folder(first, k) / "best.safetensors")
    return places


def data_source(row: Row, folder: str | Path | None) -> str:
    """What a row runs on: "embedded", or the names of real data sets."""
    return find_report(row.report).source(row, folder)


def fold_folder(outcome: Outcome, fold: int) -> Path:
    """Where a run leaves what belongs to one of its folds."""
    return outcome.place / f"fold{fold}" if len(outcome.data) > 1 else outcome.place


def run_folder(result: Path) -> Path:
    """Where the run that writes this result file leaves networks, checkpoints and predictions."""
    return result.parents[2] / "runs" / result.parent.name / result.stem


def over_folds(found: list[dict]) -> dict:
    """The folds of a run, and the mean and standard deviation of their metrics."""
    common = [name for name in found[0]["metrics"] if all(name in fold["metrics"] for fold in found)]
    values = {name: [fold["metrics"][name] for fold in found] for name in common}
    return {
        "metrics": {name: float(np.mean(v)) for name, v in values.items()},
        "spread": {name: float(np.std(v, ddof=1)) for name, v in values.items()},
        "folds": found,
    }


def check_writable(folder: Path) -> None:
    """Raises OSError, naming the folder, where not even a megabyte can be written into it."""
    write_whole(folder / ".probe", lambda file: file.write(bytes(2**20)), "results").unlink()
