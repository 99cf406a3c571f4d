"""Makes the course run on Colab without touching what is installed there. Needs the standard library only."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path


def missing_packages() -> list[str]:
    """The requirements of `seglib` and of the notebooks of which no version at all is installed."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    missing = []
    extras = project["optional-dependencies"]
    for requirement in [*project["dependencies"], *extras["reports"], *extras["onnx"], *extras["brush"]]:
        name = re.match(r"[\w.-]+", requirement)[0]
        # Colab has OpenCV under another of its names.
        names = [name, "opencv-python", "opencv-contrib-python"] if name.startswith("opencv") else [name]
        if not any(_installed(candidate) for candidate in names):
            missing.append(requirement)
    return missing


def install_missing() -> None:
    """Installs what is missing, with the installed versions of everything else held fixed."""
    missing = missing_packages()
    if not missing:
        return
    installed = [f"{d.metadata['Name']}=={d.version}" for d in importlib.metadata.distributions() if d.metadata["Name"]]
    with tempfile.TemporaryDirectory() as folder:
        held = Path(folder) / "installed.txt"
        held.write_text("\n".join(sorted(set(installed))))
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", str(held), *missing]
        subprocess.run(command, check=True)


def _installed(name: str) -> bool:
    try:
        return bool(importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return False
