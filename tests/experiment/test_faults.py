"""What goes wrong from outside: processes that are killed, two at once, files that are not what they should be.

Full disks, read-only folders and folders that are files are in test_files.py; cut downloads and malicious archives in
test_download.py; damaged checkpoints in test_training.py; cut results in test_results.py.
"""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from seglib import experiment, weights
from seglib.__main__ import main
from seglib.files import write_whole
from seglib.training import DamagedCheckpoint, load_checkpoint

SMALL = {"data.count": 40, "training.batch_size": 8, "model.widths": "[4,8]"}


def arguments(out: Path, **changes) -> list[str]:
    found = ["run", "denoising", "report", "--out", str(out)]
    return found + [part for key, value in (SMALL | changes).items() for part in ("--set", f"{key}={value}")]


def start(out: Path, **changes) -> subprocess.Popen:
    command = [sys.executable, "-m", "seglib", *arguments(out, **changes)]
    return subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)


def wait_for(there, process: subprocess.Popen) -> None:
    for _ in range(600):
        if there():
            return
        assert process.poll() is None
        time.sleep(0.1)
    pytest.fail("it never came so far")


@pytest.mark.slow  # a process that loads PyTorch and trains
def test_two_runs_of_the_same_row_at_once(tmp_path, capsys):
    first = start(tmp_path / "results", **{"training.epochs": 2000})
    try:
        wait_for(lambda: list(tmp_path.glob("runs/denoising/*/checkpoints/epoch-*.pt")), first)
        assert main(arguments(tmp_path / "results", **{"training.epochs": 2000})) == 1
        assert "another process runs this row" in capsys.readouterr().err
        assert first.poll() is None
        assert main(arguments(tmp_path / "results", **{"training.epochs": 1})) == 0  # another one is free
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    (checkpoint, *_) = tmp_path.glob("runs/denoising/*epochs=2000/checkpoints/*.pt")
    with experiment.only_one(checkpoint.parents[1]):  # what a killed run held is free again
        pass


def test_a_lock_is_given_back_also_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), experiment.only_one(tmp_path / "run"):
        raise ZeroDivisionError
    with experiment.only_one(tmp_path / "run"):
        second = experiment.only_one(tmp_path / "run")
        with pytest.raises(RuntimeError, match="another process runs this row"):
            second.__enter__()


WRITER = """
import sys
from seglib.files import write_whole
number = 0
while True:
    write_whole(sys.argv[1], lambda file: [file.write(bytes([number % 256]) * 50_000) for _ in range(20)])
    number += 1
"""


@pytest.mark.parametrize("after", [0.05, 0.11, 0.23])
def test_a_process_killed_while_it_writes_leaves_a_whole_file(tmp_path, after):
    path = tmp_path / "result.json"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)])
    wait_for(path.is_file, writer)
    time.sleep(after)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    content = path.read_bytes()
    assert len(content) == 1_000_000
    assert len(set(content)) == 1
    write_whole(path, lambda file: file.write(b"new"))  # whatever it left does not stand in the way
    assert path.read_bytes() == b"new"


class Malicious:
    def __reduce__(self):
        return (Path.touch, (Path(os.environ["SEGLIB_TEST_TRAP"]),))


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A file that `Malicious` makes."""
    monkeypatch.setenv("SEGLIB_TEST_TRAP", str(tmp_path / "trap"))
    yield
    assert not (tmp_path / "trap").exists()


@pytest.mark.usefixtures("trap")
@pytest.mark.parametrize("dump", [pickle.dump, torch.save])
def test_a_malicious_weights_file_runs_nothing(tmp_path, capsys, dump):
    file, picture = tmp_path / "evil.safetensors", tmp_path / "noisy.png"
    with file.open("wb") as opened:
        dump({"weight": Malicious()}, opened)
    cv2.imwrite(str(picture), np.zeros((16, 24), np.uint8))
    given = ["predict", "denoising", "report", str(picture), "--out", str(tmp_path / "out"), "--weights", str(file)]
    assert main(given) == 1
    assert "evil.safetensors" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"evil\.safetensors"):
        weights.load(experiment.build_model("denoising", "report"), file)


@pytest.mark.usefixtures("trap")
def test_a_malicious_checkpoint_runs_nothing(tmp_path):
    torch.save({"model": Malicious()}, tmp_path / "epoch-0001.pt")
    with pytest.raises(DamagedCheckpoint, match=r"epoch-0001\.pt is damaged: it holds more than tensors"):
        load_checkpoint(tmp_path / "epoch-0001.pt")


def test_a_corrupt_photograph_in_a_data_folder_is_named(tmp_path, capsys):
    """COCO's layout with one photograph cut short."""
    images = tmp_path / "coco" / "val2017"
    images.mkdir(parents=True)
    content = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "thing"}]}
    for number in range(1, 5):
        name, outline = f"{number:012}.jpg", [50, 50, 250, 50, 250, 250, 50, 250]
        cv2.imwrite(str(images / name), np.random.default_rng(number).integers(0, 255, (320, 400, 3), np.uint8))
        content["images"].append({"id": number, "file_name": name, "height": 320, "width": 400})
        note = {"id": number, "image_id": number, "category_id": 1, "segmentation": [outline], "area": 40_000}
        content["annotations"].append(note | {"bbox": [50, 50, 200, 200], "iscrowd": 0})
    (tmp_path / "coco" / "annotations").mkdir()
    (tmp_path / "coco/annotations/instances_val2017.json").write_text(json.dumps(content))
    victim = images / f"{3:012}.jpg"
    victim.write_bytes(victim.read_bytes()[:50])
    given = ["run", "neural_segmentello", "tiny16-32_bce-dice", "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main([*given, "--set", "data.training=3", "--set", "data.validation=1"]) == 1
    assert victim.name in capsys.readouterr().err
    assert not list(tmp_path.glob("out/**/*.json"))
