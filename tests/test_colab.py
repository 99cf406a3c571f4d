import importlib.metadata
from pathlib import Path

import pytest

from seglib import colab


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
