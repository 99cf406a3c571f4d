"""What the library loads, and that loading it changes nothing and asks no network."""

import importlib
import json
import os
import subprocess
import sys

import pytest
import torch

# Packages from outside, and the parts of the library that need no more than those and the ones above.
STEPS = [
    ("numpy.typing, torch", "losses, muon, models.blocks, models.unet"),
    ("cv2", "files, export"),
    ("safetensors.torch", "weights"),
    ("scipy.spatial", "metrics, items"),
    ("accelerate, tqdm", "training, tiles"),
]
MODULES = [name for _, ours in STEPS for name in ours.split(", ")]

PROGRAM = """
import importlib, json, os, random, sys, warnings

def packages():
    return {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)

def settings():
    import cv2, numpy, torch
    return {
        "threads": [torch.get_num_threads(), torch.get_num_interop_threads(), cv2.getNumThreads()],
        "environment": dict(os.environ),
        "warnings": [repr(entry) for entry in warnings.filters],
        "random": [repr(random.getstate()), repr(numpy.random.get_state()), torch.get_rng_state().tolist()],
        "torch": [repr(torch.get_default_dtype()), torch.is_grad_enabled(), torch.get_float32_matmul_precision()],
        "numpy": repr(numpy.geterr()),
    }

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.posix_spawn"):
        raise AssertionError(f"{event}: {arguments}")

loaded, changed = [], []
for theirs, ours in json.loads(sys.argv[1]):
    for name in theirs.split(", "):
        importlib.import_module(name)
    before = packages(), settings() if "cv2" in sys.modules else None
    if theirs.startswith("accelerate"):
        sys.addaudithook(refuse)  # which can never be taken away again
    for name in ours.split(", "):
        importlib.import_module(f"seglib.{name}")
    loaded.append(sorted(name for name in packages() - before[0] - {"seglib"} if not name.startswith("_")))
    changed += [key for key, value in (before[1] or {}).items() if settings()[key] != value]
print(json.dumps([loaded, changed, sorted(packages()), sorted(name for name in sys.modules if "seglib" in name)]))
"""


@pytest.fixture(scope="module")
def found():
    """From a fresh process: what each step loads beyond the packages it names, which settings change, and all packages
    and modules of ours that are there at the end."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(STEPS)], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_no_part_of_the_library_loads_more_than_it_needs(found):
    assert dict(zip((ours for _, ours in STEPS), found[0])) == {ours: [] for _, ours in STEPS}
    course = {"albumentations", "pydantic", "matplotlib", "pycocotools", "skimage", "segmentation_models_pytorch"}
    assert not set(found[2]) & (course | {"timm", "onnx", "onnxscript", "IPython", "ray", "joblib"})


@pytest.mark.slow
def test_the_library_knows_nothing_of_what_is_built_on_it(found):
    assert set(found[3]) == {"seglib", "seglib.extras", "seglib.models", *(f"seglib.{name}" for name in MODULES)}


@pytest.mark.slow
def test_loading_the_library_changes_no_setting_and_asks_no_network(found):
    assert found[1] == []


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_is_public(name):
    module = importlib.import_module(f"seglib.{name}")
    public = module.__all__
    assert len(set(public)) == len(public) > 0
    assert all(hasattr(module, entry) and not entry.startswith("_") for entry in public)


@pytest.mark.parametrize(
    ("package", "named", "extra", "module"),
    [
        ("segmentation_models_pytorch", "segmentation_models_pytorch", "reports", "models.library"),
        ("timm", "timm", "reports", "models.library"),
        ("yaml", "pyyaml", "reports", "reports"),
        ("skimage", "scikit-image", "reports", "data"),
        ("onnx", "onnx", "onnx", "export"),
        ("onnxscript", "onnxscript", "onnx", "export"),
    ],
)
def test_a_package_that_is_missing_is_named_with_the_command_that_installs_it(
    package, named, extra, module, monkeypatch, tmp_path
):
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, f"seglib.{module}", raising=False)  # afterwards the one that was there is back
    with pytest.raises(ModuleNotFoundError, match=rf"needs {package}: pip install {named} .*\[{extra}\]"):
        importlib.import_module(f"seglib.{module}").to_onnx(torch.nn.Conv2d(1, 1, 1), 1, tmp_path / "never")
