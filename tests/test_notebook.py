import json
import shutil
from pathlib import Path

import nbformat
import pytest

from seglib import notebook
from seglib.config import ConfigError

ROOT = Path(__file__).parent.parent


def write_notebook(path: Path, *cells: str) -> Path:
    node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    node.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(node, path)
    return path


def test_notebooks_are_run_measured_and_written(tmp_path, capfd):
    (tmp_path / "beside.txt").write_text("found")
    good = write_notebook(tmp_path / "good.ipynb", "print(open('beside.txt').read())", "21 * 2")
    bad = write_notebook(tmp_path / "bad.ipynb", "1 / 0", "print('never')")
    before = good.read_text()
    assert notebook.run_notebooks([bad, good], tmp_path / "out") == 1
    printed = capfd.readouterr()
    assert "bad.ipynb: a cell failed with ZeroDivisionError: division by zero" in printed.err
    assert "bad.ipynb: FAILED" in printed.out
    assert "good.ipynb: done in" in printed.out
    assert "reported" in printed.out  # the scoreboard
    assert str(tmp_path / "out") in printed.out
    executed = nbformat.read(tmp_path / "out/good.ipynb", as_version=4)
    assert executed.cells[0].outputs[0].text == "found\n"
    assert [cell.execution_count for cell in executed.cells] == [1, 2]
    assert ">42<" in (tmp_path / "out/good.html").read_text().replace("\n", "")
    assert "<h2>bad.ipynb</h2>" in (tmp_path / "out/figures.html").read_text()
    record = json.loads((tmp_path / "out/notebooks.json").read_text())["notebooks"]
    assert record["good.ipynb"]["passed"]
    assert not record["bad.ipynb"]["passed"]
    assert 20 < record["good.ipynb"]["peak_memory_mb"] < 4000
    assert good.read_text() == before


def test_in_place_keeps_the_outputs_in_the_notebook(tmp_path):
    path = write_notebook(tmp_path / "lesson.ipynb", "print('kept')")
    assert notebook.run_notebooks([path], tmp_path / "out", in_place=True) == 0
    assert nbformat.read(path, as_version=4).cells[0].outputs[0].text == "kept\n"


DRAWING = "import matplotlib.pyplot as plt\n_ = plt.plot([0, 1])\nplt.show()"


def test_a_picture_s_caption_is_its_alternative_text(tmp_path):
    path = write_notebook(tmp_path / "lesson.ipynb", DRAWING, DRAWING)
    node = nbformat.read(path, as_version=4)
    node.cells.insert(1, nbformat.v4.new_markdown_cell("*A line <that> rises by $a$.* And more."))
    node.cells.append(nbformat.v4.new_markdown_cell("**No** caption, *although* in italics."))
    nbformat.write(node, path)
    assert notebook.run_notebooks([path], tmp_path / "out", in_place=True) == 0
    node = nbformat.read(path, as_version=4)
    pictures = [output for cell in node.cells for output in cell.get("outputs", []) if "image/png" in output.data]
    assert [picture.metadata.get("image/png", {}).get("alt") for picture in pictures] == [
        "A line <that> rises by a.",
        None,
    ]
    assert 'alt="A line &lt;that&gt; rises by a."' in (tmp_path / "out/lesson.html").read_text()
    page = (tmp_path / "out/figures.html").read_text()
    assert page.count("<figure>") == 2
    assert "A line &lt;that&gt; rises by $a$." in page
    assert "no caption" in page


def test_time_and_memory_of_the_course_s_own_notebooks_are_kept(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "results").mkdir()
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


def test_a_notebook_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such notebook: .*lost.ipynb"):
        notebook.run_notebooks([tmp_path / "lost.ipynb"], tmp_path)


def test_the_scale_is_quick_unless_the_variable_says_otherwise(monkeypatch, capsys):
    monkeypatch.delenv("SEGLIB_SCALE", raising=False)
    assert notebook.setup() == "quick"
    monkeypatch.setenv("SEGLIB_SCALE", "full")
    assert notebook.setup() == "full"
    assert capsys.readouterr().out == "scale: quick\nscale: full\n"
    monkeypatch.setenv("SEGLIB_SCALE", "huge")
    with pytest.raises(ConfigError, match="SEGLIB_SCALE: expected quick or full, got 'huge'"):
        notebook.setup()


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
