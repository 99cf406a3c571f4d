"""Marked numbers of notebooks' outputs: `pytest --nbval` as a reader types it, with this course's plugin."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_notebook, new_output

from seglib.course.tolerance import marked, settled, tolerance_of

ROOT = Path(__file__).parents[2]
CELLS = [  # what a cell prints, what is stored of it, its tags, and what nbval says: nothing, or why it fails
    ("IoU ≈ 0.907", "IoU ≈ 0.904", ["tolerance=0.01"], None),
    ("IoU ≈ 0.907 (within 0.01)", "IoU ≈ 0.904 (within 0.01)", [], None),
    ("≈ 1,020 and ≈ -2.1e-05", "≈ 1,000 and ≈ -2.0e-05", ["tolerance=5%"], None),
    ("IoU ≈ 0.915", "IoU ≈ 0.904", ["tolerance=0.01"], "0.915"),
    ("IoU ≈ 0.904", "IoU ≈ 0.904", [], "a marked number without a tolerance"),
    ("IoU ≈ 0.904", "IoU ≈ 0.904", ["tolerance=0.1"], "a tolerance of 0.1, above a tenth of its number"),
    ("≈ 0 pixels", "≈ 0 pixels", ["tolerance=0.5"], "above a tenth of its number"),
    ("IoU ≈ 0.904", "IoU ≈ 0.904", ["tolerance: 0.01"], "expected one tag such as tolerance=0.01"),
    ("Dice ≈ 0.904", "IoU ≈ 0.904", ["tolerance=0.01"], "Dice"),
    ("IoU ≈ 0.904, epoch 2", "IoU ≈ 0.904, epoch 1", ["tolerance=0.01"], "epoch 2"),
    ("IoU 0.905", "IoU 0.904", ["tolerance=0.01"], "0.905"),
    ("IoU ≈ nan", "IoU ≈ 0.904", ["tolerance=0.01"], "nan"),
    ("≈ 0.904 ≈ 0.1", "≈ 0.904", ["tolerance=0.01"], "0.1"),
]


@pytest.mark.slow
def test_nbval_compares_marked_numbers_within_their_tolerance_and_all_else_exactly(tmp_path):
    cells = []
    for number, (new, stored, tags, _) in enumerate(CELLS, 1):
        output = new_output("stream", text=f"{stored}\n")
        cells.append(
            new_code_cell(f"print({new!r})", execution_count=number, outputs=[output], metadata={"tags": tags})
        )
    for shown, tags in (("| ≈ 0.907 |", []), ("| ≈ 0.95 |", [])):  # in a table, the next two cells
        code = f"from IPython.display import Markdown\nMarkdown('| IoU |\\n|---|\\n{shown}')"
        data = {"text/markdown": "| IoU |\n|---|\n| ≈ 0.904 |", "text/plain": "<IPython.core.display.Markdown object>"}
        output = new_output("execute_result", data, execution_count=len(cells) + 1)
        tags = ["tolerance=1%", *tags]
        cells.append(new_code_cell(code, execution_count=len(cells) + 1, outputs=[output], metadata={"tags": tags}))
    code = "from ipywidgets import Button\ndisplay(Button())\nprint(1)"  # a widget, which stored outputs do not have
    cells.append(new_code_cell(code, execution_count=len(cells) + 1, outputs=[new_output("stream", text="1\n")]))
    notebook = new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    nbformat.write(notebook, tmp_path / "lesson.ipynb")
    shutil.copy(ROOT / "conftest.py", tmp_path)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--nbval", "--nbval-current-env", "-rA", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    verdicts = {
        int(cell): verdict for verdict, cell in re.findall(r"^(\w+) \S+::Cell (\d+)", done.stdout, re.MULTILINE)
    }
    expected = [said is None for *_, said in CELLS] + [True, False, True]
    assert [verdicts[number] == "PASSED" for number in range(len(expected))] == expected, done.stdout
    parts = re.split(r"^_+ \S+::Cell (\d+) _+$", done.stdout, flags=re.MULTILINE)
    told = dict(zip(map(int, parts[1::2]), parts[2::2]))
    for number, (*_, said) in enumerate(CELLS):
        assert said is None or said in told[number], told[number]


@given(
    st.floats(0.01, 1000),
    st.floats(0.1, 10),
    st.floats(-20, 20),
)
def test_a_number_passes_exactly_where_it_is_within_the_tolerance(value, percent, off):
    stored, new = f"IoU ≈ {value:.6f}, 2 epochs", f"IoU ≈ {value * (1 + off / 100):.6f}, 2 epochs"
    if abs(abs(off) - percent) < 0.1:  # the six digits decide
        return
    assert (settled(new, stored, f"{percent:.3f}%") == stored) == (abs(off) < percent)


def test_numbers_are_read_as_people_write_them():
    text = "≈0.5, ≈ −3.25, ≈ +7, ≈ 12,345.5, ≈ 85 %, ≈ 2e-3; not 4, nor 5 (within 1)"
    assert [value for _, value, _ in marked(text, "1%")] == [0.5, -3.25, 7, 12345.5, 85, 0.002]
    assert [within for *_, within in marked("≈ 200 and ≈ 50 (within 2)", "10%")] == [20, 2]
    assert len([*marked("≈ 0.69", "10%")]) == 1  # a tenth of it, computed in two ways, differs in the last bit


@pytest.mark.parametrize(
    ("text", "tolerance", "said"),
    [
        ("about ≈ nan", "1%", "a mark without a number: 'about ≈ nan'"),
        ("IoU ≈ 0.9", None, "a marked number without a tolerance: 'IoU ≈ 0.9'"),
        ("IoU ≈ 0.9", "11%", "a tolerance of 0.099, above a tenth of its number: 'IoU ≈ 0.9'"),
        ("IoU ≈ 0.9 (within 0.2)", "1%", "a tolerance of 0.2, above a tenth of its number"),
    ],
)
def test_a_wrong_mark_is_named(text, tolerance, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        list(marked(text, tolerance))


@pytest.mark.parametrize("tags", [["tolerance"], ["tolerance=ten"], ["tolerance=1%", "tolerance=2%"], ["tolerance=-1"]])
def test_a_wrong_tag_is_named(tags):
    with pytest.raises(
        ValueError, match=re.escape("expected one tag such as tolerance=0.01 or tolerance=5%, got tolerance")
    ):
        tolerance_of(["exercise", *tags])


def test_a_cell_without_the_tag_has_no_tolerance():
    assert tolerance_of(["exercise", "nbval-ignore-output"]) is None
    assert tolerance_of(["tolerance=2.5%"]) == "2.5%"
