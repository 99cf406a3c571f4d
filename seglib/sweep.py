"""Every combination of a few choices, each run once: on this machine, or on a Ray cluster."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from filelock import FileLock

from . import experiment, results
from .extras import need
from .reports.keys import Scale
from .rows import Sweep, load_row, load_sweep

BACKENDS = ("joblib", "ray")
KEPT = ("metrics", "spread", "photographs", "calibration")  # of a cell's result in the table


@dataclass(frozen=True)
class Cell:
    """One combination: a value of each axis by its label, the row, and the changes to it that they stand for. Without
    any, it is the row itself, and so is its result."""

    labels: Mapping[str, str]
    row: str
    overrides: Mapping[str, Any]


def cells(sweep: Sweep) -> Iterator[Cell]:
    """All combinations of a sweep's axes, the last axis changing fastest."""
    for labels in product(*sweep.axes.values()):
        chosen = dict(zip(sweep.axes, labels))
        overrides = dict(sweep.changes)
        for axis, label in chosen.items():
            overrides |= sweep.axes[axis][label]
        yield Cell(chosen, overrides.pop("row", sweep.row), overrides)


def run_sweep(
    report: str,
    name: str,
    *,
    scale: Scale = "quick",
    seed: int = 0,
    data: str | Path | None = None,
    out: str | Path | None = None,
    backend: str = "joblib",
    jobs: int = 1,
    gpus: float = 0,
) -> list[dict]:
    """Runs the cells of a sweep that have no result yet; cut off, the same call goes on where it stopped.

    A cell is a run of a row with overrides (see `experiment.run`). Its result appears whole or not at all, in a folder
    of its own in `runs`; from there this process alone moves it into the sweep's one file,
    `out`/REPORT/sweeps/NAME.json, which refers to the file of a cell that is a plain row. What is there is never run
    again. A cell whose process or machine is lost is started again, from its last checkpoint where that can be
    reached. Networks and predictions of a cell that is done are not kept.

    Args:
        report, name: which sweep, as the report's configuration file names it.
        scale, seed, data, out: as for `experiment.run`; on a cluster, folders that every machine sees.
        backend: "joblib": on this machine; "ray": on the Ray cluster that the environment variable RAY_ADDRESS names,
            else on one of this machine alone.
        jobs: cells at once, with joblib; Ray fills the cluster.
        gpus: GPUs a cell needs, with Ray; a part of one lets cells share it.

    Returns:
        The table, see `table`.

    Raises:
        ConfigError: a sweep or one of its rows that cannot be used, before any work is done.
        ValueError: another backend, or GPUs with joblib.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend: expected {' or '.join(BACKENDS)}, got {backend!r}")
    if gpus and backend != "ray":
        raise ValueError("GPUs are shared out by Ray alone; take backend 'ray'")
    data = data or os.environ.get("SEGLIB_DATA")  # said to every worker: another machine's variable may differ
    all_cells = list(cells(load_sweep(report, name)))
    # A mistake in any is known before the first is run.
    rows = [load_row(report, cell.row, scale, cell.overrides) for cell in all_cells]
    _collect(report, name, out)  # what a call that was cut off has left
    records, todo = read_records(report, name, out), []
    for cell, row in zip(all_cells, rows):
        source = experiment.data_source(row, data)
        if _result(records, report, cell, source, scale, seed, out) is None:
            place = None
            if cell.overrides:
                key = json.dumps([cell.row, scale, source, seed, cell.overrides], sort_keys=True)
                place = _workplace(report, name, out) / hashlib.sha256(key.encode()).hexdigest()[:12]
            todo.append((report, cell.row, scale, seed, data, out, dict(cell.overrides), place))
    for _ in RUNNERS[backend](todo, jobs, gpus):
        _collect(report, name, out)
    return table(report, name, source, scale=scale, seed=seed, out=out)


def table(
    report: str, name: str, source: str, *, scale: str = "quick", seed: int = 0, out: str | Path | None = None
) -> list[dict]:
    """A line for each cell that has a result: the labels of its axes, its `metrics` and what it has of `KEPT` else.

    Args:
        source: the data, as result files name it: "embedded" or the real data set.
        report, name, scale, seed, out: as for `run_sweep`.
    """
    records, lines = read_records(report, name, out), []
    for cell in cells(load_sweep(report, name)):
        result = _result(records, report, cell, source, scale, seed, out)
        if result is not None:
            lines.append(dict(cell.labels) | {key: result[key] for key in KEPT if key in result})
    return lines


def sweep_path(report: str, name: str, out: str | Path | None = None) -> Path:
    """The file with a sweep's results."""
    return results.results_folder(out) / report / "sweeps" / f"{name}.json"


def read_records(report: str, name: str, out: str | Path | None = None) -> list[dict]:
    """A sweep's results as its file has them, none where there is none: of each combination, seed and data set the
    whole result under the labels of its axes, or for a plain row, in `result`, its own file's name."""
    path = sweep_path(report, name, out)
    return json.loads(path.read_text(encoding="utf-8"))["results"] if path.is_file() else []


def _result(records: list[dict], report: str, cell: Cell, source: str, scale: str, seed: int, out) -> dict | None:
    """The result of a cell, where there is one."""
    if not cell.overrides:
        path = results.result_path(report, cell.row, scale, seed, {}, out, source)
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    wanted = (cell.row, scale, source, seed, dict(cell.overrides))
    return next((record for record in records if _what(record) == wanted), None)


def _what(record: Mapping) -> tuple:
    """What tells a record from the others of its sweep."""
    return tuple(record.get(key) for key in ("row", "scale", "data", "seed", "overrides"))


def _workplace(report: str, name: str, out: str | Path | None) -> Path:
    """Where the cells of a sweep are worked on, each in a folder of its own."""
    return results.results_folder(out).parent / "runs" / report / "sweeps" / name


def _collect(report: str, name: str, out: str | Path | None) -> None:
    """Moves the results of cells that are done into the sweep's file, in the order of the sweep."""
    workplace = _workplace(report, name, out)
    workplace.mkdir(parents=True, exist_ok=True)
    with FileLock(workplace / ".lock"):  # for the same sweep may be run with another seed at the same time
        before = read_records(report, name, out)
        paths = workplace.glob("*/result.json")
        done = {path.parent: json.loads(path.read_text(encoding="utf-8")) for path in paths}
        order = list(cells(load_sweep(report, name)))
        labels = {json.dumps([cell.row, cell.overrides], sort_keys=True): cell.labels for cell in order}
        records = [record for record in before if record.get("overrides")]
        for result in done.values():
            key = json.dumps([result["row"], result["overrides"]], sort_keys=True)
            records.append({"labels": labels.get(key, {})} | result)
        for cell in order:
            if not cell.overrides:
                records += _references(report, cell, out)
        places = {json.dumps(cell.labels): number for number, cell in enumerate(order)}
        # Of combinations that the sweep no longer has, the records stay, behind the others.
        records.sort(
            key=lambda one: (one["seed"], one["data"], one["scale"], places.get(json.dumps(one["labels"]), len(places)))
        )
        if records != before:
            results.write(sweep_path(report, name, out), {"report": report, "sweep": name, "results": records})
        for place in done:
            shutil.rmtree(place)


def _references(report: str, cell: Cell, out: str | Path | None) -> list[dict]:
    """Where the results of a cell that is a plain row stand."""
    return [
        {"labels": dict(cell.labels)}
        | {key: result[key] for key in ("row", "scale", "data", "seed")}
        | {"result": path.name}
        for path, result in results.read_files(report, results.results_folder(out))
        if result["row"] == cell.row
    ]


def _run_cell(report, row, scale, seed, data, out, overrides, place) -> None:
    options = {"scale": scale, "seed": seed, "data": data, "out": out, "overrides": overrides}
    outcome = experiment.run(report, row, place=place, **options)
    if place is None:  # a plain row's result stands elsewhere
        shutil.rmtree(outcome.place)


def _with_joblib(todo: list[tuple], jobs: int, gpus: float) -> Iterator[None]:
    from joblib import Parallel, delayed

    yield from Parallel(n_jobs=jobs, return_as="generator_unordered")(delayed(_run_cell)(*job) for job in todo)


def _with_ray(todo: list[tuple], jobs: int, gpus: float) -> Iterator[None]:
    need("ray")
    import ray

    ray.init(ignore_reinit_error=True, log_to_driver=False)
    # A lost machine is no fault of the cell: it is tried again for as long as there is another.
    remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=-1)(_run_cell)
    left = [remote.remote(*job) for job in todo]
    while left:
        done, left = ray.wait(left)
        yield from ray.get(done)


RUNNERS = {"joblib": _with_joblib, "ray": _with_ray}
