import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import nbformat
import numpy as installed_numpy
import pytest
import torch as installed_torch

from seglib.course import colab

ROOT = Path(__file__).parents[2]
NOTEBOOKS = [*sorted(ROOT.glob("notebooks/**/*.ipynb")), ROOT / "reduce_dataset.ipynb"]


def test_nothing_is_missing_here():
    assert colab.missing_packages() == []


@pytest.mark.parametrize(("opencv", "missing"), [("opencv-python", []), (None, ["opencv-python-headless"])])
def test_only_what_is_missing_is_installed_and_the_rest_held_fixed(monkeypatch, tmp_path, opencv, missing):
    real = importlib.metadata.version

    def version(name):
        if name == opencv:
            return "4.12"
        if name in ("opencv-python-headless", "opencv-python", "opencv-contrib-python", "safetensors"):
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    commands, held = [], []
    monkeypatch.setattr(importlib.metadata, "version", version)

    def run(command, check):
        held.extend(Path(command[command.index("--constraint") + 1]).read_text().splitlines())
        commands.append(command)

    monkeypatch.setattr(colab.subprocess, "run", run)
    colab.install_missing()
    (command,) = commands
    wanted = [argument.split(">")[0] for argument in command[command.index("--constraint") + 2 :]]
    assert sorted(wanted) == sorted([*missing, "safetensors"])
    assert f"torch=={real('torch')}" in held
    assert f"numpy=={real('numpy')}" in held


def set_up_of(path: Path) -> str:
    """What a notebook's first code cell does before it imports anything of the course."""
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert "install_missing()" in cells[0], path
    return cells[0].partition("install_missing()")[0] + "install_missing()"


def test_all_notebooks_set_themselves_up_alike():
    assert len({set_up_of(path) for path in NOTEBOOKS}) == 1


def test_what_notebooks_import_is_what_the_set_up_cell_installs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    requirements = [*project["dependencies"], *extras["reports"], *extras["onnx"]]
    listed = {re.match(r"[\w.-]+", line)[0] for line in requirements} | {"seglib", "scipy"}  # scikit-image needs SciPy
    packages = importlib.metadata.packages_distributions() | {"seglib": ["seglib"]}
    for path in NOTEBOOKS:
        source = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")
        for module in set(re.findall(r"^\s*(?:import|from) (\w+)", source, re.MULTILINE)) - sys.stdlib_module_names:
            assert listed & set(packages[module]), f"{path.name} imports {module}"


def make_colab(folder: Path, missing: str) -> Path:
    """An environment that has all that this one has, by links, but for `seglib` and one package; its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    command = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not re.match(rf"_*(editable_*)?(seglib|{missing})", entry.name) and entry.suffix != ".pth":
            (site / entry.name).symlink_to(entry)
    return python


def make_wheel(name: str, folder: Path) -> None:
    """An installed package of pure Python as a file that pip installs."""
    package = importlib.metadata.distribution(name)
    with zipfile.ZipFile(folder / f"{name}-{package.version}-py3-none-any.whl", "w") as wheel:
        for file in package.files:
            if file.suffix != ".pyc":
                wheel.write(package.locate_file(file), str(file))


@pytest.mark.slow
def test_the_set_up_cell_on_a_machine_that_has_torch_and_not_seglib(tmp_path):
    python = make_colab(tmp_path / "colab", missing="platformdirs")
    make_wheel("platformdirs", tmp_path)
    # The working tree as a repository of its own: its address is a path, and so is the folder of the clone.
    course = tmp_path / "published"
    for name in ("seglib", "configs", "data"):
        shutil.copytree(ROOT / name, course / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, course)
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.com", "-C", str(course)]
    # The badge opens the notebook of the branch main; another, with a broken course, is the one that is checked out.
    broken = ["mv", "seglib/course/notebook.py", "seglib/other.py"]
    steps = [["init", "-q", "-b", "main"], ["add", "--all"], ["commit", "-qm", "published"]]
    for step in [*steps, ["checkout", "-qb", "draft"], broken, ["commit", "-qm", "broken"]]:
        subprocess.run(git + step, check=True)
    cell = set_up_of(NOTEBOOKS[0])
    cell = re.sub(r'(?<=REPOSITORY = ")[^"]+', f"file://{course}", cell)
    cell = cell.replace("/content/course", str(tmp_path / "content" / "course"))
    program = f"""
import importlib.machinery, importlib.metadata, json, sys, types
sys.modules["google.colab"] = types.ModuleType("google.colab")
sys.modules["google.colab"].__spec__ = importlib.machinery.ModuleSpec("google.colab", None)  # libraries look for it
def installed():
    return {{d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}}
before = installed()
{cell}
from seglib.course.notebook import setup
import numpy, seglib, torch
scale = setup()
print(json.dumps([before, installed(), seglib.__file__, scale, torch.__version__, numpy.__version__]))
"""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "SEGLIB", "VIRTUAL"))
    }
    environment |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    everything = {}
    for restarted in (False, True):  # a kernel's restart keeps the disk
        done = subprocess.run([python, "-c", program], capture_output=True, text=True, env=environment, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        before, after, where, scale, torch, numpy = json.loads(done.stdout.splitlines()[-1])
        assert "seglib" not in before
        everything = everything or before | {"platformdirs": importlib.metadata.version("platformdirs")}
        assert after == everything
        assert (before == everything) == restarted
    assert Path(where).is_relative_to(tmp_path / "content")
    assert (scale, torch, numpy) == ("quick", installed_torch.__version__, installed_numpy.__version__)
    site = next((tmp_path / "colab").glob("lib/*/site-packages"))
    assert (site / "torch").is_symlink()  # pip would have put a folder in its place
    assert (site / "numpy").is_symlink()
    assert not (site / "platformdirs").is_symlink()
