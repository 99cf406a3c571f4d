import io
import json
import math
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image

from seglib import experiment
from seglib.course import notebook, render
from seglib.data.images import DataError
from seglib.reports import reports
from seglib.reports.base import Splits
from seglib.rows import ConfigError, load_row

ROOT = Path(__file__).parents[2]


def write_notebook(path: Path, *cells: str) -> Path:
    node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    node.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(node, path)
    return path


@pytest.mark.slow
def test_notebooks_are_run_measured_and_written(tmp_path, capfd):
    (tmp_path / "beside.txt").write_text("found")
    good = write_notebook(tmp_path / "good.ipynb", "print(open('beside.txt').read())", "21 * 2")
    bad = write_notebook(tmp_path / "bad.ipynb", "1 / 0", "print('never')")
    before = good.read_text()
    with pytest.raises(FileNotFoundError, match=r"no such notebook: .*lost.ipynb"):
        notebook.run_notebooks([good, tmp_path / "lost.ipynb"], tmp_path / "out")
    assert notebook.run_notebooks([bad, good], tmp_path / "out") == 1
    printed = capfd.readouterr()
    assert "bad.ipynb: a cell failed with ZeroDivisionError: division by zero" in printed.err
    for said in ("bad.ipynb: FAILED", "good.ipynb: done in", "reported", str(tmp_path / "out")):  # with the scoreboard
        assert said in printed.out
    executed = nbformat.read(tmp_path / "out/good.ipynb", as_version=4)
    assert executed.cells[0].outputs[0].text == "found\n"
    assert [cell.execution_count for cell in executed.cells] == [1, 2]
    assert ">42<" in (tmp_path / "out/good.html").read_text().replace("\n", "")
    assert "<h2>bad.ipynb</h2>" in (tmp_path / "out/figures.html").read_text()
    record = json.loads((tmp_path / "out/notebooks.json").read_text())["notebooks"]
    assert [record[name]["passed"] for name in ("good.ipynb", "bad.ipynb")] == [True, False]
    assert 20 < record["good.ipynb"]["peak_memory_mb"] < 4000
    assert good.read_text() == before


@pytest.mark.slow
def test_in_place_outputs_stay_in_the_notebook_and_a_picture_s_caption_is_its_alternative_text(tmp_path):
    drawing = "import matplotlib.pyplot as plt\n_ = plt.plot([0, 1])\nplt.show()"
    path = write_notebook(tmp_path / "lesson.ipynb", drawing, drawing)
    node = nbformat.read(path, as_version=4)
    node.cells.insert(1, nbformat.v4.new_markdown_cell("*A line <that> rises by $a$.* And more."))
    node.cells.append(nbformat.v4.new_markdown_cell("**No** caption, *although* in italics."))
    nbformat.write(node, path)
    before = notebook.code_digest(path)
    assert notebook.run_notebooks([path], tmp_path / "out", in_place=True) == 0
    assert notebook.code_digest(path) == before  # outputs are no part of it
    node = nbformat.read(path, as_version=4)
    pictures = [output for cell in node.cells for output in cell.get("outputs", []) if "image/png" in output.data]
    named = [picture.metadata.get("image/png", {}).get("alt") for picture in pictures]
    assert named == ["A line <that> rises by a.", None]
    assert 'alt="A line &lt;that&gt; rises by a."' in (tmp_path / "out/lesson.html").read_text()
    page = (tmp_path / "out/figures.html").read_text()
    assert page.count("<figure>") == 2
    assert "A line &lt;that&gt; rises by <math><mi>a</mi></math>." in page
    assert page.count('alt="A line &lt;that&gt; rises by a."') == page.count('alt="no caption"') == 2  # on both grounds
    assert "<figcaption>no caption<" in page


@pytest.mark.slow
def test_a_button_is_shown_and_not_stored_for_it_lives_no_longer_than_its_kernel(tmp_path):
    asks = (
        "from seglib.course.notebook import photograph_button\nbutton = photograph_button()\nprint(len(button.value))"
    )
    path = write_notebook(tmp_path / "lesson.ipynb", asks, "display(button)\ndisplay(1)")
    assert notebook.run_notebooks([path], tmp_path / "out", in_place=True) == 0
    cells = nbformat.read(path, as_version=4).cells
    assert [output.get("text") or output.data["text/plain"] for cell in cells for output in cell.outputs] == [
        "0\n",
        "1",
    ]


def uploaded(name: str, content: bytes, version: int) -> SimpleNamespace:
    """A button that was given a file, as ipywidgets 8 and 7 (which Colab has) describe it."""
    if version == 8:
        return SimpleNamespace(value=({"name": name, "content": memoryview(content), "size": len(content)},))
    return SimpleNamespace(value={name: {"metadata": {"name": name}, "content": content}})


@pytest.mark.parametrize("version", [8, 7])
def test_an_uploaded_photograph_is_read_as_any_other(version):
    stored = np.zeros((4, 6, 3), np.uint8)
    stored[0] = 200, 100, 50
    exif, content = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6  # it lies on its left side
    Image.fromarray(stored).save(content, "png", exif=exif)
    for name in ("me.png", "folder/../../me.PNG", "Bild ohne Endung"):
        found = notebook.uploaded_photograph(uploaded(name, content.getvalue(), version))
        np.testing.assert_array_equal(found, np.rot90(stored, -1))
    with pytest.raises(DataError, match=r"words\.jpg: not a readable image"):
        notebook.uploaded_photograph(uploaded("words.jpg", b"no picture", version))
    assert notebook.uploaded_photograph(SimpleNamespace(value=() if version == 8 else {})) is None


def test_a_digest_is_of_the_code_alone(tmp_path):
    path = write_notebook(tmp_path / "lesson.ipynb", 'REPOSITORY = "https://github.com/OWNER/REPOSITORY"', "1 + 1")
    before = notebook.code_digest(path)
    path.write_text(path.read_text().replace("OWNER/REPOSITORY", "somebody/course"))
    assert notebook.code_digest(path) == before
    path.write_text(path.read_text().replace("1 + 1", "1 + 2"))
    assert notebook.code_digest(path) != before


def test_several_pictures_of_a_cell_are_numbered():
    pictures = [nbformat.v4.new_output("display_data", {"image/png": "bm9uZQ=="}) for _ in range(2)]
    cells = [
        nbformat.v4.new_code_cell("draw()", outputs=pictures),
        nbformat.v4.new_markdown_cell("*Two nets.* And more."),
    ]
    node = nbformat.v4.new_notebook(cells=cells)
    render.describe_pictures(node)
    named = [output.metadata["image/png"]["alt"] for output in node.cells[0].outputs]
    assert named == ["Picture 1 of 2. Two nets.", "Picture 2 of 2. Two nets."]


def test_time_and_memory_of_the_course_s_own_notebooks_are_kept(tmp_path, monkeypatch):
    watched = notebook.run_watched

    def stand_in(command):
        """Runs nothing, and fails where the notebook would."""
        shutil.copy(command[3], command[4])
        return watched([sys.executable, "-c", f"exit({'1 / 0' in Path(command[3]).read_text()})"])

    for name in ("notebooks", "results", "out"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(notebook, "run_watched", stand_in)
    monkeypatch.setattr(notebook, "root", lambda: tmp_path)
    monkeypatch.setattr(notebook.results, "shipped", lambda name: tmp_path / name)
    monkeypatch.setattr(notebook, "reports", list)
    one, two = (write_notebook(tmp_path / f"notebooks/{name}.ipynb", "1 + 1") for name in ("01_one", "02_two"))
    foreign = write_notebook(tmp_path / "foreign.ipynb", "1 + 1")
    record = tmp_path / "results/notebooks.json"
    notebook.run_notebooks([two, foreign], tmp_path / "out")
    assert not record.exists()
    notebook.run_notebooks([two, foreign], tmp_path / "out", in_place=True)
    assert list(json.loads(record.read_text())["notebooks"]) == ["02_two.ipynb"]
    write_notebook(two, "1 / 0")
    notebook.run_notebooks([one, two], tmp_path / "out", in_place=True)
    kept = json.loads(record.read_text())["notebooks"]
    assert list(kept) == ["01_one.ipynb", "02_two.ipynb"]
    assert all(entry["passed"] for entry in kept.values())


def test_memory_is_the_most_that_a_process_or_one_of_its_own_had():
    """One that takes 200 MB, by way of another that takes none."""
    takes = "import time; x = bytearray(200_000_000); time.sleep(1)"
    starts = f"import subprocess, sys; exit(3 + subprocess.run([sys.executable, '-c', {takes!r}]).returncode)"
    status, memory = notebook.run_watched([sys.executable, "-c", starts])
    assert status == 3
    assert 190 < memory < 300


def test_the_scale_is_quick_unless_the_variable_says_otherwise(monkeypatch, capsys):
    monkeypatch.delenv("SEGLIB_SCALE", raising=False)
    assert notebook.setup() == "quick"
    monkeypatch.setenv("SEGLIB_SCALE", "full")
    assert notebook.setup() == "full"
    assert capsys.readouterr().out == "scale: quick\nscale: full\n"
    monkeypatch.setenv("SEGLIB_SCALE", "huge")
    with pytest.raises(ConfigError, match="SEGLIB_SCALE: expected quick or full, got 'huge'"):
        notebook.setup()


def test_colab_with_a_gpu_runs_the_full_scale_and_says_so(monkeypatch, capsys):
    monkeypatch.delenv("SEGLIB_SCALE", raising=False)
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert notebook.setup() == "quick"
    assert capsys.readouterr().out == "scale: quick\n"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert notebook.setup() == "full"
    said = capsys.readouterr().out
    assert said.startswith("scale: full\n")
    assert "SEGLIB_SCALE=quick" in said
    assert "mount your Google Drive" in said
    monkeypatch.setenv("SEGLIB_SCALE", "quick")
    assert notebook.setup() == "quick"
    monkeypatch.delenv("SEGLIB_SCALE")
    monkeypatch.delitem(sys.modules, "google.colab")
    assert notebook.setup() == "quick"  # here, whatever the hardware


def test_a_live_row_is_cut_at_quick_scale_alone():
    cuts = {"training.epochs": 1, "model.widths": [4, 8]}
    assert notebook.live_row("denoising", "report", "quick", cuts) == load_row("denoising", "report", "quick", cuts)
    assert notebook.live_row("denoising", "report", "full", cuts) == load_row("denoising", "report", "full")


def a_row(scale):
    changes = {"data.size": 16, "data.count": 40, "model.widths": [8, 16], "training.epochs": 3}
    return load_row("denoising", "fast", scale, changes)


def test_a_quick_training_prints_its_epochs_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(notebook, "root", lambda: tmp_path)
    row = a_row("quick")
    data = experiment.make_data(row, 0)
    model, history = notebook.train(row, data)
    assert [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()] == ["epoch 1", "epoch 2", "epoch 3"]
    expected, _ = experiment.train(row, 0, data)
    assert len(history) == 3
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), expected.state_dict().values()))
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("mounted", [False, True])
def test_a_full_training_says_how_long_and_goes_on_where_it_was_interrupted(tmp_path, monkeypatch, capsys, mounted):
    monkeypatch.setattr(notebook, "root", lambda: tmp_path / "course")
    monkeypatch.setattr(notebook, "GOOGLE_DRIVE", tmp_path / "drive")
    if mounted:
        (tmp_path / "drive").mkdir()
    row = a_row("full")
    data = experiment.make_data(row, 0)

    def interrupt(entry):
        print("epoch", entry["epoch"])
        if entry["epoch"] == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(notebook, "print_epoch", interrupt)
        with pytest.raises(KeyboardInterrupt):
            notebook.train(row, data)
    first, *epochs = capsys.readouterr().out.splitlines()
    place = tmp_path / "drive" / "seglib" if mounted else tmp_path / "course" / "runs"
    assert re.fullmatch(rf"Fast recipe.*: about 0 minutes; checkpoints in {place}/notebooks/denoising/fast\.\w+", first)
    assert epochs == ["epoch 1", "epoch 2"]
    model, _ = notebook.train(row, data)
    first, *epochs = capsys.readouterr().out.splitlines()
    assert "goes on from the checkpoints" in first
    assert [line.split("  ")[0] for line in epochs] == ["epoch 3"]
    expected, _ = experiment.train(row, 0, data)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), expected.state_dict().values()))
    notebook.train(row, data, seed=1)  # another run has a folder of its own
    assert "about 0 minutes" in capsys.readouterr().out


def test_the_expected_time_is_that_of_all_epochs_without_what_comes_once(monkeypatch):
    clock, once = [0.0], [100, 9, 9]

    def stand_in(row, seed, data):
        assert (len(data.train), len(data.validation)) == (48, 12)  # six batches, and their share
        clock[0] += once.pop(0) + row.training.epochs * (0.5 * len(data.train) + 0.25 * len(data.validation))

    row = load_row("denoising", "fast", "full", {"training.epochs": 7, "training.batch_size": 8})
    monkeypatch.setattr(experiment, "train", stand_in)
    monkeypatch.setattr(notebook.time, "perf_counter", lambda: clock[0])
    seconds = notebook.expected_seconds(row, Splits(range(800), range(200), "no pictures"))
    assert seconds == pytest.approx(7 * (0.5 * 800 + 0.25 * 200))


SMALL = {
    ("denoising", "fast"): {"data.size": 16, "data.count": 5, "model.widths": [4, 8]},
    ("face_masks", "model-2"): {"data.size": 16, "data.count": 9, "model.widths": [4, 8]},
    ("neural_segmentello", "tiny16-32_bce-dice"): {"data.scenes": 12, "data.scene_size": 64, "data.longest": 64},
    ("scribbles", "report"): {"data.scenes": 4, "data.folds": 2, "data.width": 32, "data.height": 32}
    | {"model.encoder": "tu-resnet18", "training.batch_size": 2},
    ("mars_terrain", "baseline"): {"data.count": 30, "data.aliens": 2, "data.width": 16, "data.height": 16},
}


@pytest.mark.slow
@pytest.mark.parametrize("report", reports())
def test_every_kind_of_data_can_be_timed(report):
    (name,) = (name for its, name in SMALL if its == report)
    row = load_row(report, name, "quick", SMALL[report, name] | {"training.epochs": 1000})
    # By how much, a busy machine may get wrong, even the sign of so little.
    assert 0 <= notebook.expected_seconds(row, experiment.make_data(row, 0)) < math.inf


def test_the_address_is_written_everywhere(tmp_path, monkeypatch):
    for name in ("pyproject.toml", "README.md", "notebooks", "configs"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)
    monkeypatch.setattr(notebook, "root", lambda: tmp_path)
    old = notebook.address()
    changed = notebook.set_address("https://github.com/somebody/course")
    assert notebook.address() == "somebody/course"
    assert {path.name for path in changed} >= {"pyproject.toml", "README.md", "01_denoising.ipynb"}
    left = [path for path in tmp_path.rglob("*") if path.is_file() and old in path.read_text(errors="replace")]
    assert left == []
    with pytest.raises(ValueError, match="expected an address like"):
        notebook.set_address("https://example.com/course")
