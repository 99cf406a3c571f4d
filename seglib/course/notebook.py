"""What only a notebook needs: set-up, training in sight, source code, Markdown tables; and running all notebooks."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import os
import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import torch
from torch import nn
from torch.utils.data import Dataset, Subset

from .. import results
from ..extras import need
from ..files import root, user_path, write_whole
from ..reports import reports
from ..reports.keys import SCALES, ConfigError, Row
from ..rows import load_row

if TYPE_CHECKING:  # imported where it is used: it takes seconds, and running notebooks does without
    import numpy as np
    from ipywidgets import FileUpload

    from ..reports.base import Splits
    from ..training import History

GOOGLE_DRIVE = Path("/content/drive/MyDrive")  # once Colab has mounted it
BATCHES_TIMED = 6
WIDGET = "application/vnd.jupyter.widget-view+json"


def setup() -> str:
    """Prepares a notebook and returns its scale: SEGLIB_SCALE where it is set; else `full` on Colab's GPUs, and `quick`
    everywhere else.

    Raises:
        ConfigError: SEGLIB_SCALE is neither.
    """
    from matplotlib import pyplot as plt

    colab_gpu = "google.colab" in sys.modules and torch.cuda.is_available()
    scale = os.environ.get("SEGLIB_SCALE", "full" if colab_gpu else "quick")
    if scale not in SCALES:
        raise ConfigError(f"SEGLIB_SCALE: expected {' or '.join(SCALES)}, got {scale!r}")
    plt.rcParams.update({"figure.dpi": 100, "font.size": 10, "axes.titlesize": 11, "figure.facecolor": "white"})
    print(f"scale: {scale}")
    if colab_gpu and scale == "full":
        print("This is the reports' own scale. Each training says how long it will take before it starts.")
        print("For minutes instead: `%env SEGLIB_SCALE=quick` in a cell above this one, and then all cells again.")
        if not GOOGLE_DRIVE.is_dir():
            print("Checkpoints end with this machine, unless you mount your Google Drive before you train:")
            print("    from google.colab import drive; drive.mount('/content/drive')")
    return scale


def live_row(report: str, name: str, scale: str, cuts: Mapping[str, Any]) -> Row:
    """A row that a notebook trains: at quick scale with `cuts`, so that it takes minutes; at full scale as it is."""
    return load_row(report, name, scale, cuts if scale == "quick" else {})


def train(row: Row, data: Splits, seed: int = 0) -> tuple[nn.Module, History]:
    """`experiment.train` in the reader's sight, with a line for each epoch.

    At full scale it also says first how long it will take, and keeps checkpoints: run again, be it in another session,
    a cell goes on where it was interrupted. They lie on Google Drive where Colab has mounted it, else in `runs`.
    """
    from .. import experiment

    if row.scale == "quick":
        return experiment.train(row, seed, data, on_epoch=print_epoch)
    settings = row.training_recipe() | {"seed": seed, "data": data.description}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    base = GOOGLE_DRIVE / "seglib" if GOOGLE_DRIVE.is_dir() else (root() or Path.cwd()) / "runs"
    folder = base / "notebooks" / row.report / f"{row.name}.{digest}"
    if any(folder.glob("*")):
        print(f"{row.title}: goes on from the checkpoints in {folder}", flush=True)
    else:
        minutes = expected_seconds(row, data, seed) / 60
        print(f"{row.title}: about {minutes:.0f} minutes; checkpoints in {folder}", flush=True)
    return experiment.train(row, seed, data, folder=folder, settings=settings, on_epoch=print_epoch)


class Excerpt(Subset):
    """The first `count` images of a data set, as `experiment.train` takes one."""

    def __init__(self, data: Dataset, count: int):
        super().__init__(data, range(min(count, len(data))))
        self.sizes = getattr(data, "sizes", ())[: len(self)]

    @property
    def images(self) -> Sequence:
        """All of the data set's, for their statistics."""
        return self.dataset.images


def expected_seconds(row: Row, data: Splits, seed: int = 0) -> float:
    """How long all of a row's epochs will take here, by a few epochs over a few batches.

    The difference of two short trainings leaves out what comes once, such as a GPU's start; one before them is for
    warming up. Early stopping may end the real training sooner.
    """
    from .. import experiment

    part = Excerpt(data.train, BATCHES_TIMED * row.training.batch_size)
    held_out = Excerpt(data.validation, math.ceil(len(part) * len(data.validation) / len(data.train)))
    few, many = 1, 4

    def seconds(epochs: int) -> float:
        short = row.model_copy(update={"training": row.training.model_copy(update={"epochs": epochs})})
        start = time.perf_counter()
        experiment.train(short, seed, replace(data, train=part, validation=held_out))
        return time.perf_counter() - start

    seconds(few)
    epoch = max(0.0, seconds(many) - seconds(few)) / (many - few)  # below 0 where the machine was busy meanwhile
    return row.training.epochs * epoch * len(data.train) / len(part)


def data_folder() -> str | None:
    """The folder with real data for a notebook: None, the embedded data, unless SEGLIB_NOTEBOOK_DATA names one."""
    folder = os.environ.get("SEGLIB_NOTEBOOK_DATA")
    return str(user_path(folder)) if folder else None


def show_source(*objects) -> None:
    """Shows the source of functions and classes, just as the package runs it."""
    markdown("\n".join(f"```python\n{inspect.getsource(thing).rstrip()}\n```" for thing in objects))


def photograph_button() -> FileUpload:
    """Shows a button, in JupyterLab and on Colab, by which a reader gives the notebook a photograph; returns it for
    `uploaded_photograph`."""
    from IPython.display import display
    from ipywidgets import FileUpload

    button = FileUpload(accept="image/*", description="a photograph")
    display(button)
    return button


def uploaded_photograph(button: FileUpload) -> np.ndarray | None:
    """The photograph that was given to a `photograph_button`, upright, RGB uint8 (H, W, 3); None if there is none yet.

    Raises:
        DataError: the file is no picture that can be read.
    """
    from ..data.images import read_photograph

    given = button.value  # a tuple, and in ipywidgets 7, which Colab has, a dict by name
    files = [file | {"name": name} for name, file in given.items()] if isinstance(given, dict) else given
    if not files:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(files[-1]["name"]).name
        path.write_bytes(files[-1]["content"])
        return read_photograph(path)


def markdown(text: str) -> None:
    """Shows Markdown text."""
    from IPython.display import Markdown, display

    display(Markdown(text))


def table(rows: Sequence[Mapping]) -> None:
    """Shows a list of dicts with the same keys as a table."""
    heads = list(rows[0])
    markdown(results.markdown_table(heads, ([row[head] for head in heads] for row in rows)))


def print_epoch(row: Mapping) -> None:
    """One line about an epoch, for `fit`'s `on_epoch`."""
    measured = ("val_iou", "val_dice") if "val_iou" in row else ("val_mean_iou", "val_pixel_accuracy")
    numbers = "  ".join(f"{name} {row[name]:.4g}" for name in ("loss", "val_loss", *measured, "learning_rate_end"))
    print(f"epoch {row['epoch']}  {row['seconds']:.0f} s  {numbers}", flush=True)


def all_notebooks(folder: Path) -> list[Path]:
    """The course's notebooks without the solutions: the lessons in order, what goes further, and COCO's."""
    patterns = ("notebooks/*.ipynb", "notebooks/further/*.ipynb", "reduce_dataset.ipynb")
    return [path for pattern in patterns for path in sorted(folder.glob(pattern))]


def code_digest(path: Path) -> str:
    """What tells the code of a notebook from any other: twelve hexadecimal digits, whatever its texts and outputs, and
    the repository's address."""
    import nbformat

    cells = nbformat.read(path, as_version=4).cells
    code = "\n\n".join(cell.source for cell in cells if cell.cell_type == "code")
    code = re.sub(r'REPOSITORY = "[^"]+"', "", code)
    return hashlib.sha256(code.encode()).hexdigest()[:12]


def run_notebooks(paths: Sequence[str | Path], out: str | Path, in_place: bool = False) -> int:
    """Runs notebooks top to bottom, each in a process of its own, and prints time, memory and the scoreboard.

    Each becomes an executed notebook and an HTML page in `out`, and all their pictures one page, figures.html.
    `in_place` also keeps the outputs in the notebook and, of the course's own, time and memory in
    results/notebooks.json. A notebook that fails is named with its error, and the others are run all the same.

    Returns:
        How many failed.
    """
    need("course")
    from . import render

    paths = [Path(path) for path in paths] or all_notebooks(root() or Path.cwd())
    if not paths:
        raise FileNotFoundError(f"no notebooks below {root() or Path.cwd()}: run this in the course's folder")
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"no such notebook: {', '.join(missing)}")
    out = user_path(out)
    records, failed = {}, 0
    for path in paths:
        start = time.perf_counter()
        command = [sys.executable, "-m", "seglib.course.notebook", str(path), str(out), "in-place" if in_place else ""]
        status, memory = run_watched(command)
        seconds = time.perf_counter() - start
        failed += status != 0
        print(
            f"{path.name}: {'FAILED' if status else 'done'} in {seconds:.0f} s, peak memory {memory:.0f} MB", flush=True
        )
        records[path.name] = {
            "code": code_digest(path),
            "seconds": round(seconds),
            "peak_memory_mb": round(memory),
            "passed": status == 0,
        }
    record = {"notebooks": records, "hardware": results.hardware()}
    results.write(out / "notebooks.json", record)
    if in_place:
        _keep_record(record, paths)
    try:
        page = render.figures_page(out / path.name for path in paths)
        write_whole(out / "figures.html", lambda file: file.write(page.encode()), "page")
    except render.FormulaError as failure:  # its notebook has failed for it already
        print(f"no figures.html: {failure}", flush=True)
    print()
    for report in reports():
        print(f"{report}\n{results.scoreboard(report)}\n")
    print(f"The executed notebooks and their HTML pages are in {out.resolve()}")
    return failed


def _keep_record(record: dict, paths: Sequence[Path]) -> None:
    """Puts time and memory of the course's own notebooks that passed into results/notebooks.json; of others that are
    there, it stays as it was."""
    own = {path.resolve() for path in all_notebooks(root())} if root() else set()
    passed = {path.name for path in paths if path.resolve() in own and record["notebooks"][path.name]["passed"]}
    if passed:
        path = root() / "results" / "notebooks.json"
        before = results.read_record(path.name)["notebooks"] if path.is_file() else {}
        notebooks = before | {name: record["notebooks"][name] for name in passed}
        results.write(path, record | {"notebooks": dict(sorted(notebooks.items()))})


def execute(path: Path, out: Path, in_place: bool) -> None:
    """Runs one notebook with the files of its own folder, and writes it as notebook and as HTML.

    Raises:
        SystemExit: a cell failed or a formula cannot be shown; the message names the notebook and the error.
    """
    need("course")
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    from . import render

    notebook = nbformat.read(path, as_version=4)
    cells = [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]

    def progress(cell, cell_index) -> None:
        if cell_index in cells:
            print(f"{path.name}: cell {cells.index(cell_index) + 1} of {len(cells)}", end="\r", flush=True)

    client = NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent.resolve())}},
        coalesce_streams=True,
        extra_arguments=["--log-level=ERROR"],
        on_cell_start=progress if sys.stdout.isatty() else None,
    )
    error = None
    try:
        client.execute()
    except CellExecutionError as failure:
        error = failure
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # time stamps, different in every run
        if "outputs" in cell:  # a widget lives as long as its kernel; what is stored of it would be shown as an error
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
    # The kernel's Python version is this machine's, not the notebook's.
    notebook.metadata["language_info"] = {"name": "python"}
    render.describe_pictures(notebook)
    text = nbformat.writes(notebook) + "\n"
    targets = [out / path.name] + ([path] if in_place and error is None else [])
    for target in targets:
        write_whole(target, lambda file: file.write(text.encode()), "notebook")
    faults = [] if error is None else [f"{path.name}: a cell failed with {error.ename}: {error.evalue}"]
    try:
        page = render.page_of(notebook, path, out, all_notebooks(root()) if root() else [])
        write_whole(out / path.with_suffix(".html").name, lambda file: file.write(page.encode()), "page")
    except render.FormulaError as failure:
        faults.append(str(failure))
    if faults:
        raise SystemExit("\n".join(faults))


def run_watched(command: Sequence[str]) -> tuple[int, float]:
    """Runs a command; its exit status, and the most memory, in MiB, that it or a process of its own had."""
    process, most = psutil.Popen(command), 0
    while True:
        with suppress(psutil.Error):  # one may end while it is looked at
            most = max(most, *(one.memory_info().rss for one in (process, *process.children(recursive=True))))
        try:
            return process.wait(timeout=0.1), most / 2**20
        except psutil.TimeoutExpired:
            continue


def set_address(url: str) -> list[Path]:
    """Writes the repository's address, https://github.com/OWNER/REPOSITORY, into pyproject.toml and every notebook.

    Returns:
        The files that changed.

    Raises:
        ValueError: another kind of address.
    """
    if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", url):
        raise ValueError(f"expected an address like https://github.com/OWNER/REPOSITORY, got {url!r}")
    folder = root()
    if folder is None:
        raise FileNotFoundError("seglib is not run from the course's folder, whose files hold the address")
    old, new = address(), url.removeprefix("https://github.com/")
    changed = []
    solutions = sorted(folder.glob("notebooks/solutions/*.ipynb"))
    for path in [folder / "pyproject.toml", folder / "README.md", *all_notebooks(folder), *solutions]:
        text = path.read_text(encoding="utf-8")
        if old in text:
            write_whole(path, lambda file, t=text: file.write(t.replace(old, new).encode()), "address")
            changed.append(path)
    return changed


def address() -> str:
    """OWNER/REPOSITORY as pyproject.toml has it."""
    import tomllib

    urls = tomllib.loads((root() / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    return urls["Repository"].removeprefix("https://github.com/")


if __name__ == "__main__":
    execute(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "in-place")
