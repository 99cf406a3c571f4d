"""The project as a whole: the Python that it asks for, warnings about its own calls, a command that takes days."""

import re
import tomllib
import warnings
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from seglib import experiment, results
from seglib.__main__ import main
from seglib.files import write_whole
from seglib.rows import row_names

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("version", ["3.10.14", "3.11.0", "3.11.3", "3.11.4", "3.12.0", "3.13.9", "3.14.0"])
def test_make_takes_the_pythons_that_the_package_takes(version, monkeypatch):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    taken = version in SpecifierSet(project["requires-python"])
    (program,) = re.findall(r"-c '(import sys; .+)'", (ROOT / "Makefile").read_text(encoding="utf-8"))
    monkeypatch.setattr("sys.version_info", (*map(int, version.split(".")), "final", 0))
    if taken:
        exec(program, {})
    else:
        with pytest.raises(SystemExit, match=rf"3\.11\.4 on.*; \$\(PYTHON\) is {re.escape(version)}\."):
            exec(program, {})


@pytest.mark.parametrize("category", [DeprecationWarning, PendingDeprecationWarning, FutureWarning])
def test_a_warning_about_a_call_in_seglib_fails_a_test(tmp_path, category):
    def old(*_):
        warnings.warn("old", category, stacklevel=2)  # of whoever calls it, as libraries do

    with pytest.raises(category):
        write_whole(tmp_path / "file", old)  # calls it in seglib.files
    with pytest.raises(category):
        warnings.warn_explicit("old", category, "shapes.py", 1, module="seglib.reports.denoising.shapes")
    with warnings.catch_warnings(record=True) as caught:
        old()  # the call is this test's own
    assert [warning.category for warning in caught] == [category]


def test_reproduce_does_a_row_again_whose_result_was_cut_short(tmp_path, monkeypatch, capsys):
    run = []
    monkeypatch.delenv("SEGLIB_DATA", raising=False)
    monkeypatch.setattr(experiment, "run", lambda report, name, **_: run.append(name))
    monkeypatch.setattr(results, "root", lambda: tmp_path)
    whole, short = (results.result_path("denoising", name, "full", 0, {}) for name in ("report", "fast"))
    results.write(whole, {"metrics": {"iou": 0.9}})
    short.write_bytes(whole.read_bytes()[:-9])
    assert main(["reproduce", "denoising"]) == 0
    assert run == [name for name in row_names("denoising") if name != "report"]
    said = capsys.readouterr().out
    assert "denoising report: done already" in said
    assert f"{short} was cut short, so again:\ndenoising fast: full scale" in said
