"""The same sweep command on a Ray cluster of two nodes, one of which is killed while it works."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

import seglib

pytest.importorskip("ray", reason="Ray is an optional extra of seglib")
RANGES = ("base", "contrast", "blur_sigma", "gaussian_sigma", "salt_pepper")
CONTENT = {
    "defaults": {
        "data": {
            "size": 32,
            "count": 120,
            "held_out": 0.2,
            "augment": "none",
            "noise": {"blur_probability": 0} | {name: [0, 0.2] for name in RANGES},
        },
        "model": {"in_channels": 1, "out_channels": 1, "widths": [8, 16]},
        "loss": {"bce": 1},
        "training": {"epochs": 40, "batch_size": 4, "learning_rate": 0.01},
    },
    "rows": {"report": {"title": "A network", "best": True}},
    "sweeps": {
        "small": {
            "row": "report",
            "axes": {
                "loss": {name: {"loss.bce": weight} for name, weight in (("whole", 1), ("half", 0.5))},
                "rate": {str(rate): {"training.learning_rate": rate} for rate in (0.001, 0.003, 0.01)},
            },
        }
    },
}


@pytest.fixture
def checkout(tmp_path):
    """A copy of the package whose denoising report has the sweep above, for processes of their own."""
    folder = tmp_path / "checkout"
    shutil.copytree(Path(seglib.__file__).parent, folder / "seglib", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "configs").mkdir()
    (folder / "configs" / "denoising.yaml").write_text(yaml.safe_dump(CONTENT, sort_keys=False), encoding="utf-8")
    (folder / "pyproject.toml").touch()
    return folder


@pytest.fixture
def cluster(checkout, monkeypatch):
    """A node of one core, which others can join."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(checkout))  # of the nodes' workers
    monkeypatch.delenv("SEGLIB_DATA", raising=False)
    for name in ("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.setenv(name, "0")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 80 * 2**20})
    yield cluster
    cluster.shutdown()


def wait_for(condition, process, seconds=120):
    start = time.monotonic()
    while not condition():
        assert process.poll() is None, "the sweep ended early"
        assert time.monotonic() - start < seconds, "waited too long"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_node_is_killed_in_mid_sweep_and_every_cell_is_done_once(tmp_path, checkout, cluster):
    results, runs = tmp_path / "results/denoising/sweeps/small.json", tmp_path / "runs/denoising/sweeps/small"
    command = [sys.executable, "-m", "seglib", "sweep", "denoising", "small", "--backend", "ray"]
    command += ["--out", str(tmp_path / "results")]
    options = {"cwd": checkout, "env": os.environ | {"RAY_ADDRESS": cluster.address}, "text": True}
    sweep = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)

    def begun():
        """The cells that are being worked on, and have been for an epoch: with one core each, one a node."""
        return {place.parents[1].name for place in runs.glob("*/checkpoints/*.pt")}

    # The second joins later: the sweep itself, which may be attached to any node of its machine, must not lose its own.
    wait_for(lambda: len(begun()) == 1, sweep)
    second = cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    wait_for(lambda: len(begun()) == 2, sweep)
    interrupted = begun()
    before = len(json.loads(results.read_text())["results"]) if results.is_file() else 0
    cluster.remove_node(second, allow_graceful=False)
    output, _ = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, output
    assert before < 5
    found = json.loads(results.read_text())["results"]
    chosen = [(one["config"]["loss"]["bce"], one["config"]["training"]["learning_rate"]) for one in found]
    assert sorted(chosen) == [(bce, rate) for bce in (0.5, 1) for rate in (0.001, 0.003, 0.01)]
    assert len(interrupted) == 2
    assert not list(runs.glob("*/*"))  # all is in the file
    for one in found:  # also the one that was begun on the killed node and ended on the other
        assert [line["epoch"] for line in one["history"]] == list(range(1, 41))
    lines = [line for line in output.splitlines() if line.startswith("loss ")]
    labels = [tuple(line.split()[1:4:2]) for line in lines]
    assert labels == [(loss, rate) for loss in ("whole", "half") for rate in ("0.001", "0.003", "0.01")]

    written = results.stat().st_mtime_ns
    again = subprocess.run(command, capture_output=True, timeout=120, **options)
    assert again.returncode == 0, again.stderr
    assert results.stat().st_mtime_ns == written
