"""The package's rooms: imports run downwards only, no room but its own knows a report, and a sixth needs no change."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import seglib
from seglib.reports import reports

PACKAGE = Path(seglib.__file__).parent
ROOMS = ["library", "data", "reports", "experiment", "course"]  # from the ground up
LIBRARY = {"extras", "files", "losses", "metrics", "muon", "items", "tiles", "training", "export", "weights", "models"}
EXPERIMENT = {"rows", "experiment", "results", "sweep", "prediction", "download"}


def room(module: str) -> str:
    """Where a module stands: `seglib.models.unet` in the library."""
    first = [*module.split("."), ""][1]
    if first in LIBRARY:
        return "library"
    if first in EXPERIMENT:
        return "experiment"
    return {"data": "data", "reports": "reports"}.get(first, "course")


def name_of(path: Path, package: Path) -> str:
    parts = [package.name, *path.relative_to(package).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, package: Path = PACKAGE) -> set[str]:
    """The modules of the package that a file imports anywhere, also within a function."""
    files = {name_of(one, package): one for one in package.rglob("*.py")}
    place = name_of(path, package).split(".")
    place = place if path.name == "__init__.py" else place[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == package.name}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(place[: len(place) - node.level + 1] if node.level else [])
            base = ".".join(filter(None, [base, node.module]))
            if base.split(".")[0] == package.name:
                for alias in node.names:
                    inner = f"{base}.{alias.name}"
                    found.add(inner if inner in files else base)
    return found


def upwards(package: Path) -> list[str]:
    """Imports that lead from a room to one above it."""
    found = []
    for path in sorted(package.rglob("*.py")):
        name = name_of(path, package)
        if name == package.name:  # the door: what it offers is loaded when it is asked for
            continue
        for other in imports(path, package) - {package.name}:
            if ROOMS.index(room(other)) > ROOMS.index(room(name)):
                found.append(f"{name} imports {other}")
    return found


def test_imports_run_downwards_only():
    assert upwards(PACKAGE) == []
    found = {name_of(path, PACKAGE) for path in PACKAGE.rglob("*.py")}
    assert {f"seglib.{name}" for name in LIBRARY | EXPERIMENT} <= found  # no room is empty because a name has changed


@pytest.mark.parametrize(
    ("place", "line", "told"),
    [
        ("losses.py", "from .data import datasets", "seglib.losses imports seglib.data.datasets"),
        ("models/unet.py", "def f():\n    from ..rows import load_row", "seglib.models.unet imports seglib.rows"),
        ("data/coco.py", "import seglib.reports.base", "seglib.data.coco imports seglib.reports.base"),
        ("reports/base.py", "from seglib import results", "seglib.reports.base imports seglib.results"),
        ("experiment.py", "from .course.notebook import train", "seglib.experiment imports seglib.course.notebook"),
    ],
)
def test_an_import_that_is_turned_is_found(tmp_path, place, line, told):
    copy = tmp_path / "seglib"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / place).open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    assert upwards(copy) == [told]


def test_only_its_own_room_knows_a_report():
    """Neither by an import nor by its name; what a docstring gives as an example is no knowledge."""
    for path in sorted(PACKAGE.rglob("*.py")):
        own = path.relative_to(PACKAGE / "reports").parts[0] if path.is_relative_to(PACKAGE / "reports") else ""
        if path.parent.name == "brush":  # a tool around the network of one report
            own = "neural_segmentello"
        others = [name for name in reports() if name != own]
        for other in others:
            assert not [name for name in imports(path) if name.startswith(f"seglib.reports.{other}")], path
        if path.parent.name == "course":  # exercises and figures belong to a lesson each
            continue
        strings = [
            node.value for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Constant)
        ]
        # "scribbles" is also what one of NeuralSegmentello's data sets is called.
        assert not set(others) - {"scribbles"} & {text for text in strings if isinstance(text, str)}, path


REPORT = '''
"""A sixth report: is the left half of a picture brighter than the right one?"""

from pathlib import Path

import numpy as np
from pydantic import Field

from ...data.datasets import SegmentationDataset
from ...training import evaluate
from ..base import Report, Splits, measure_masks, predict_masks
from ..keys import Data, Row, Strict


class Halves(Data):
    size: int = Field(ge=8)
    count: int = Field(ge=4)
    augment: str = "none"

    @property
    def channels(self):
        return 1

    @property
    def resize(self):
        return None

    def seen_at(self, size):
        return self


class Baseline(Strict):
    threshold: int


class HalvesRow(Row):
    data: Halves
    baseline: Baseline | None = None


class HalvesReport(Report):
    row_type = HalvesRow

    def folds(self, row, seed, folder):
        rng = np.random.default_rng(seed)
        masks = np.zeros((row.data.count, row.data.size, row.data.size), np.uint8)
        masks[:, :, : row.data.size // 2] = 1
        images = (masks * 150 + rng.integers(0, 60, masks.shape)).astype(np.uint8)
        train = SegmentationDataset(images[2:], masks[2:], augment=self.augmentation(row), seed=seed)
        return [Splits(train, SegmentationDataset(images[:2], masks[:2]), "halves")]

    def run_baseline(self, row, data):
        masks = [image > row.baseline.threshold for image in data.validation.images]
        return measure_masks(masks, data.validation.masks), {}

    def evaluate(self, model, row, seed, folder, data):
        return predict_masks(model, data.validation), evaluate(model, data.validation)


REPORT = HalvesReport()
'''
ROWS = """
defaults:
  data: {size: 16, count: 10}
  model: {in_channels: 1, out_channels: 1, widths: [8, 16]}
  loss: {bce: 1.0}
  training: {epochs: 2, batch_size: 4, learning_rate: 0.01}
scales:
  quick: {}
  full: {data: {size: 32}}
sweeps:
  rates:
    row: network
    axes: {rate: {slow: {training.learning_rate: 0.001}, as it is: {}}}
rows:
  threshold: {title: A threshold, baseline: {threshold: 100}}
  network: {title: A network, reported: {iou: 0.9}}
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the course with a sixth report: one folder, one file."""
    folder = tmp_path_factory.mktemp("course")
    shutil.copytree(PACKAGE, folder / "seglib", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "configs").mkdir()
    (folder / "pyproject.toml").touch()
    (folder / "seglib/reports/halves").mkdir()
    (folder / "seglib/reports/halves/__init__.py").touch()
    (folder / "seglib/reports/halves/report.py").write_text(REPORT, encoding="utf-8")
    (folder / "configs/halves.yaml").write_text(ROWS, encoding="utf-8")
    return folder


@pytest.mark.slow
def test_a_sixth_report_is_one_folder_and_one_file(checkout):
    """Run, swept, predicted, scored and built in processes that know nothing else of it."""
    program = """
import json, sys
import numpy as np
from seglib import build_model
from seglib.__main__ import main
from seglib.files import write_grey

picture = np.full((20, 30), 30, np.uint8)
picture[:, :15] = 200
write_grey("picture.png", picture)
best = "runs/halves/network.quick.seed1/best.safetensors"
commands = ["run halves threshold", "run halves network --seed 1", "sweep halves rates --seed 1",
            f"predict halves network picture.png --out masks --weights {best}", "rows halves"]
print(json.dumps([main(command.split()) for command in commands]), file=sys.stderr)
print(type(build_model("halves", "network")).__name__, file=sys.stderr)
"""
    environment = {key: value for key, value in os.environ.items() if key != "SEGLIB_DATA"} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=checkout, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.stderr.splitlines()[-2:] == ["[0, 0, 0, 0, 0]", "UNet"], done.stderr
    threshold = json.loads((checkout / "results/halves/threshold.quick.seed0.json").read_text())
    assert threshold["metrics"]["iou"] == 1
    network = json.loads((checkout / "results/halves/network.quick.seed1.json").read_text())
    assert network["data"] == "embedded"
    assert len(network["history"]) == 2
    sweep = json.loads((checkout / "results/halves/sweeps/rates.json").read_text())["results"]
    assert [one["labels"]["rate"] for one in sweep] == ["slow", "as it is"]
    assert sweep[0]["config"]["training"]["learning_rate"] == 0.001
    assert sweep[1]["result"] == "network.quick.seed1.json"  # a plain row's own file
    assert (checkout / "masks/picture.png").is_file()
    assert "| A threshold (`threshold`) | – | 1.0000 | quick, 1, embedded |" in done.stdout
    assert f"| A network (`network`) | 0.9000 | {network['metrics']['iou']:.4f} |" in done.stdout


@pytest.mark.slow
def test_a_report_without_its_file_of_rows_is_told(checkout):
    (checkout / "seglib/reports/lost").mkdir(exist_ok=True)
    shutil.copy(checkout / "seglib/reports/halves/report.py", checkout / "seglib/reports/lost/report.py")
    done = subprocess.run(
        [sys.executable, "-m", "seglib", "rows", "lost"], cwd=checkout, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert "lost.yaml: there is no such file; it should have the rows of 'lost'" in done.stderr
    shutil.rmtree(checkout / "seglib/reports/lost")
