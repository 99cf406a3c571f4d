"""Result files, and the tables of reported beside measured numbers that are made from them."""

from __future__ import annotations

import json
import platform
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from scipy.special import stdtrit

from .files import root, shipped, user_path, write_whole
from .reports.keys import SCALES
from .rows import load_rows

PACKAGES = ("torch", "numpy", "opencv-python-headless", "albumentations", "accelerate", "scikit-image")
NEEDED = ("report", "row", "scale", "data", "seed", "overrides", "parameters", "metrics")
# What metrics are called in tables; others stand under their own name.
LABELS = {
    "iou": "IoU",
    "mean_iou": "mIoU",
    "iou_background": "IoU of the background",
    "mean_iou_pooled": "mIoU, pooled",
    "dice": "Dice",
    "iou_pooled": "IoU, pooled",
    "dice_pooled": "Dice, pooled",
    "pixel_accuracy": "pixel accuracy",
    "bce": "BCE",
    "boundary_iou": "boundary IoU",
    "boundary_iou_1px": "boundary IoU, 1 px",
    "hausdorff": "Hausdorff",
    "hausdorff_95": "HD95",
    "hausdorff_all": "Hausdorff, all pixels",
    "parameters": "parameters",
    "checkpoint_mib": "checkpoint, MiB",
}


# Of a network, by its number of parameters: a checkpoint keeps each as four bytes, and Adam's two averages of it.
SIZES = {"parameters": 1, "checkpoint_mib": 12 / 2**20}


def results_folder(out: str | Path | None = None) -> Path:
    """Where results are written: `out`, else `results` in the checkout, or in the working folder."""
    return user_path(out).absolute() if out is not None else (root() or Path.cwd()) / "results"


def result_path(
    report: str,
    row: str,
    scale: str,
    seed: int,
    overrides: Mapping[str, Any],
    out: str | Path | None = None,
    data: str = "embedded",
) -> Path:
    """Where the result of a run goes: `out`/REPORT/ROW.SCALE.seedN.json, with real data and overrides in the name."""
    changes = "".join(f".{key}={value}" for key, value in sorted(overrides.items()))
    changes = ("" if data == "embedded" else f".{data}") + changes
    changes = re.sub(r"[^\w.=+-]+", "_", changes)
    return results_folder(out) / report / f"{row}.{scale}.seed{seed}{changes}.json"


def write(path: Path, result: Mapping) -> None:
    """Writes a result, or another record, as JSON; whole or not at all."""
    text = json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(path, lambda file: file.write(text.encode()), "result")


def read(report: str, folder: str | Path | None = None) -> list[dict]:
    """All results of a report, those of changed rows (`overrides`) left out.

    Raises:
        ValueError: a file that is no result, by name.
    """
    return [result for _, result in read_files(report, Path(folder) if folder else shipped("results"))]


def read_files(report: str, folder: Path) -> Iterator[tuple[Path, dict]]:
    """The same with their files."""
    for path in sorted((folder / report).glob("*.json")):
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            if missing := [key for key in NEEDED if key not in result]:
                raise KeyError(*missing)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not a result file ({error!r}); remove it and run its row again") from None
        if not result["overrides"]:
            yield path, result


def read_record(name: str) -> dict:
    """A file directly in `results/`, which a benchmark wrote."""
    return json.loads((shipped("results") / name).read_text(encoding="utf-8"))


def measured(results: Sequence[dict], row: str) -> dict | None:
    """What was measured for a row: mean and standard deviation over seeds, of the largest scale, real data first.

    Returns:
        {"scale", "data", "seeds", "metrics": {name: mean}, "spread": {name: standard deviation over the seeds, or of a
        single one over its folds}, "parameters"}, or None where there is no result.
    """
    mine = [result for result in results if result["row"] == row]
    if not mine:
        return None

    def rank(result: dict) -> tuple:
        return (result["data"] != "embedded", SCALES.index(result["scale"]))

    best = max(map(rank, mine))
    mine = [result for result in mine if rank(result) == best]
    names = [name for name in mine[0]["metrics"] if all(name in result["metrics"] for result in mine)]
    values = {name: [result["metrics"][name] for result in mine] for name in names}
    return {
        "scale": mine[0]["scale"],
        "data": mine[0]["data"],
        "seeds": sorted(result["seed"] for result in mine),
        "metrics": {name: mean(v) for name, v in values.items()},
        "spread": {name: stdev(v) for name, v in values.items() if len(v) > 1} or mine[0].get("spread", {}),
        "parameters": mine[0]["parameters"],
    }


def difference(
    report: str, row: str, other: str, metric: str, *, scale: str = "quick", folder: str | Path | None = None
) -> tuple[float, float | None, int]:
    """By how much a row's metric exceeds another row's: the mean over all seeds and folds that both have, its standard
    error, None where there is only one, and how many they are. Results on real data come before those on embedded data.

    Raises:
        ValueError: the two have no seed and fold in common.
    """
    found = read(report, folder)

    def values(name: str) -> dict:
        mine = [result for result in found if (result["row"], result["scale"]) == (name, scale)]
        mine = [result for result in mine if result["data"] != "embedded"] or mine
        return {
            (result["seed"], fold): part["metrics"][metric]
            for result in mine
            for fold, part in enumerate(result.get("folds") or [result])
        }

    one, two = values(row), values(other)
    gains = [one[key] - two[key] for key in one.keys() & two.keys()]
    if not gains:
        raise ValueError(f"{report}: {row} and {other} have no seed and fold in common at scale {scale}")
    return mean(gains), stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else None, len(gains)


def interval(
    report: str,
    row: str,
    other: str,
    metric: str,
    *,
    folds: int | None = None,
    confidence: float = 0.95,
    scale: str = "quick",
    folder: str | Path | None = None,
) -> tuple[float, float, int]:
    """The confidence interval of a `difference`: its middle, half of its width, and from how many differences.

    By Student's t. `folds` says in how many folds the rows were cross-validated: then differences share training data,
    and the interval is wider, by the correction of Nadeau and Bengio (Inference for the generalization error, Machine
    Learning 52, 2003), which Bouckaert and Frank (PAKDD 2004) use for repeated cross-validation. It is approximate.

    Raises:
        ValueError: the two have no two seeds or folds in common, or `folds` is below 2.
    """
    if folds is not None and folds < 2:
        raise ValueError(f"folds must be at least 2, or None for runs that share no data; got {folds}")
    gain, error, count = difference(report, row, other, metric, scale=scale, folder=folder)
    if error is None:
        raise ValueError(f"{report}: {row} and {other} have one difference at scale {scale}; an interval takes two")
    shared = count / (folds - 1) if folds else 0  # held-out pictures for each that trains, times the count
    return gain, float(stdtrit(count - 1, (1 + confidence) / 2)) * error * (1 + shared) ** 0.5, count


def summary(report: str, scale: str | None = None, folder: str | Path | None = None) -> list[dict]:
    """Every row of a report with what was reported and what was measured; `scale` leaves the other scale out."""
    found = [result for result in read(report, folder) if scale in (None, result["scale"])]
    return [{"row": row, "measured": measured(found, row.name)} for row in load_rows(report)]


def markdown_table(heads: Sequence, rows: Iterable[Sequence]) -> str:
    """A table as Markdown: a line of heads, and a line for each row, with as many cells."""
    lines = [f"| {' | '.join(map(str, cells))} |" for cells in (heads, *rows)]
    return "\n".join([lines[0], "|---" * len(heads) + "|", *lines[1:]])


def scoreboard(report: str, metrics: Sequence[str] | None = None) -> str:
    """A Markdown table of a report's rows, a line for each scale that was run: each reported number beside ours.

    ± is the standard deviation over seeds, or, of a single seed, over its folds.
    """
    found = read(report)
    rows = load_rows(report)
    if metrics is None:
        metrics = list(dict.fromkeys(name for row in rows for name in row.reported))
    heads = [f"{LABELS.get(name, name)} {kind}" for name in metrics for kind in ("reported", "ours")]
    lines = []
    for row in rows:
        scales = [measured([result for result in found if result["scale"] == scale], row.name) for scale in SCALES]
        run: list[dict | None] = [line for line in scales if line]
        for ours in run or [None]:
            cells = []
            for name in metrics:
                cells += [number(row.reported.get(name), row.reported_spread.get(name)), number(*_of(ours, name))]
            where = f"{ours['scale']}, {len(ours['seeds'])}, {ours['data']}" if ours else "not run"
            lines.append([f"{row.title} (`{row.name}`)", *cells, where])
    return markdown_table(["row", *heads, "scale, seeds, data"], lines)


def _of(ours: dict | None, name: str) -> tuple[float | None, float | None]:
    if ours and name in SIZES:
        return (SIZES[name] * ours["parameters"] or None, None)
    return (ours["metrics"].get(name), ours["spread"].get(name)) if ours else (None, None)


def number(value: float | None, spread: float | None = None) -> str:
    """0.9091 or 0.9091 ± 0.0012, a distance such as 40.66, 9,800,000, and a dash for a number that does not exist."""
    if value is None:
        return "–"
    if abs(value) >= 10_000:
        return f"{value:,.0f}"
    digits = 4 if abs(value) < 10 else 2
    return f"{value:.{digits}f}" + (f" ± {spread:.{digits}f}" if spread is not None else "")


def describe_run(seconds: float, precision: str | None) -> dict:
    """On what a result was measured: time, precision of the training, hardware, package versions, commit."""
    return {
        "seconds": round(seconds, 1),
        "precision": precision,
        "hardware": hardware(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "commit": commit(),
    }


def hardware() -> str:
    """Processor, cores that torch uses, and GPU, in words."""
    capabilities: dict[str, str] = getattr(torch.cpu, "get_capabilities", dict)()  # PyTorch 2.6 cannot tell
    name = capabilities.get("cpu_name") or platform.processor() or platform.machine()
    text = f"{name}, {torch.get_num_threads()} threads"
    return f"{torch.cuda.get_device_name()}, {text}" if torch.cuda.is_available() else text


def commit() -> str | None:
    """The checkout's commit, with "-dirty" where files differ from it; None outside a checkout."""
    if root() is None:
        return None
    command = ["git", "-C", str(root()), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
