"""Every combination of a few choices, each run once: on this machine, or on a Ray cluster."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from . import experiment, results
from .config import Sweep, load_row, load_sweep

BACKENDS = ("joblib", "ray")
KEPT = ("metrics", "spread", "photographs", "calibration")  # of a cell's result in the table


@dataclass(frozen=True)
class Cell:
    """One combination: a value of each axis by its label, the row, and the changes to it that they stand for."""

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
    scale: str = "quick",
    seed: int = 0,
    data: str | Path | None = None,
    out: str | Path | None = None,
    backend: str = "joblib",
    jobs: int = 1,
    gpus: float = 0,
) -> list[dict]:
    """Runs the cells of a sweep that have no result file yet; cut off, the same call goes on where it stopped.

    A cell is a run of a row with overrides (see `experiment.run`): its result file appears whole or not at
    all, and one that is there is never run again. A cell whose process or machine is lost is started again, from its
    last checkpoint where that can be reached. Networks and predictions of a cell that is done are not kept.

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
    sweep, todo = load_sweep(report, name), []
    data = data or os.environ.get("SEGLIB_DATA")  # said to every worker: another machine's variable may differ
    for cell in cells(sweep):
        row = load_row(report, cell.row, scale, cell.overrides)  # a mistake in any is known before the first is run
        source = experiment.data_source(row, data)
        if not results.result_path(report, cell.row, scale, seed, cell.overrides, out, source).is_file():
            todo.append(cell)
    jobs_of = [(report, cell.row, scale, seed, data, out, dict(cell.overrides)) for cell in todo]
    RUNNERS[backend](jobs_of, jobs, gpus)
    return table(report, name, source, scale=scale, seed=seed, out=out)


def table(
    report: str, name: str, source: str, *, scale: str = "quick", seed: int = 0, out: str | Path | None = None
) -> list[dict]:
    """A line for each cell that has a result: the labels of its axes, its `metrics` and what it has of `KEPT` else.

    Args:
        source: the data, as result files name it: "embedded" or the real data set.
        report, name, scale, seed, out: as for `run_sweep`.
    """
    sweep, lines = load_sweep(report, name), []
    for cell in cells(sweep):
        path = results.result_path(report, cell.row, scale, seed, cell.overrides, out, source)
        if path.is_file():
            result = json.loads(path.read_text())
            lines.append(dict(cell.labels) | {key: result[key] for key in KEPT if key in result})
    return lines


def _run_cell(report, row, scale, seed, data, out, overrides) -> None:
    outcome = experiment.run(report, row, scale=scale, seed=seed, data=data, out=out, overrides=overrides)
    shutil.rmtree(experiment.run_folder(outcome.path))


def _with_joblib(jobs_of: list[tuple], jobs: int, gpus: float) -> None:
    from joblib import Parallel, delayed

    Parallel(n_jobs=jobs)(delayed(_run_cell)(*job) for job in jobs_of)


def _with_ray(jobs_of: list[tuple], jobs: int, gpus: float) -> None:
    import ray

    ray.init(ignore_reinit_error=True, log_to_driver=False)
    # A lost machine is no fault of the cell: it is tried again for as long as there is another.
    remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=-1)(_run_cell)
    ray.get([remote.remote(*job) for job in jobs_of])


RUNNERS = {"joblib": _with_joblib, "ray": _with_ray}
