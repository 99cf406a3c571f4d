import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_an_installed_wheel_finds_its_configurations_results_and_weights(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=300)
    (wheel,) = tmp_path.glob("seglib-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if "brush/runtime" in name]
        assert "seglib/brush/brush.js" in archive.namelist()
        archive.extractall(tmp_path / "site")

    def python(*arguments: str) -> str:
        environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert str(tmp_path / "site") in python("-c", "import seglib; print(seglib.__file__)")
    rows = json.loads(python("-m", "seglib", "rows", "--json"))
    assert next(row for row in rows if row["row"] == "report")["measured"]["iou"] > 0.9
    assert "report.safetensors" in python(
        "-c", "from seglib.prediction import shipped_weights; print(shipped_weights('denoising', 'report'))"
    )


@pytest.mark.slow
def test_a_missing_package_is_one_sentence(tmp_path):
    program = """
import sys
sys.modules["yaml"] = None  # makes `import yaml` fail as if it were not installed
import runpy
sys.argv = ["seglib", "rows"]
runpy.run_module("seglib", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "needs yaml: pip install pyyaml (all of it: the extra [reports])" in done.stderr
