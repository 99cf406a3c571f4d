"""Rules that every notebook keeps, so that `pytest --nbval notebooks` means something."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

from seglib.exercises import CHECKS, check
from seglib.notebook import address, caption

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb")) + sorted(ROOT.glob("reduce_dataset.ipynb"))
SOLUTIONS = sorted(ROOT.glob("notebooks/solutions/*.ipynb"))
SECTIONS = [
    "What you will learn",
    "What the report claims",
    "Data",
    "Model",
    "Loss",
    "Training",
    "Figures",
    "Reported beside measured",
    "What goes wrong",
    "Beyond the report",
    "Exercises",
    "Takeaways",
    "References",
]


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(path: Path) -> list:
    return [cell for cell in read(path).cells if cell.cell_type == "code" and cell.source.strip()]


def tags(cell) -> set:
    return set(cell.metadata.get("tags", []))


every_notebook = pytest.mark.parametrize("path", NOTEBOOKS + SOLUTIONS, ids=lambda path: path.stem)
every_lesson = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_are_notebooks():
    assert [path.stem for path in NOTEBOOKS][:1] == ["01_denoising"]
    assert {path.name for path in SOLUTIONS} == {path.name for path in NOTEBOOKS if path.parent.name == "notebooks"}


@every_notebook
def test_it_was_run_top_to_bottom_without_an_error(path):
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]
    assert read(path).metadata.kernelspec.name == "python3"


@every_notebook
def test_nbval_compares_most_cells_and_they_have_outputs(path):
    cells = code_cells(path)
    compared = [cell for cell in cells if not tags(cell) & {"nbval-ignore-output", "nbval-skip"}]
    assert len(compared) >= 0.6 * len(cells)
    assert sum(bool(cell.outputs) for cell in compared[1:]) >= 0.9 * len(compared[1:])  # the first one is the set-up
    assert not [cell for cell in cells if re.search(r"#\s*nbval", cell.source, re.IGNORECASE)]  # tags, not comments


@every_notebook
def test_outputs_are_of_kinds_that_nbval_can_compare(path):
    for cell in code_cells(path):
        assert not cell.source.rstrip().endswith(";"), cell.source
        assert "clear_output" not in cell.source
        for output in cell.outputs:
            assert "image/svg+xml" not in output.get("data", {})
            assert output.get("name") != "stderr", output.text


@every_lesson
def test_each_picture_has_a_checked_number_beside_it(path):
    for cell in code_cells(path):
        if any("image/png" in output.get("data", {}) for output in cell.outputs):
            printed = "".join(output.text for output in cell.outputs if output.output_type == "stream")
            assert re.search(r"\d|True", printed), cell.source
            assert "nbval-ignore-output" not in tags(cell), cell.source
            assert "False" not in printed, printed


@every_lesson
def test_each_picture_has_its_caption_as_alternative_text(path):
    notebook = read(path)
    for number, cell in enumerate(notebook.cells):
        pictures = [output for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
        for i, output in enumerate(pictures, 1):
            words = caption(notebook, number)
            assert len(words) > 20, f"no caption in italics after {cell.source!r}"
            expected = (f"Picture {i} of {len(pictures)}. " if len(pictures) > 1 else "") + re.sub(r"[`*$]", "", words)
            alternative = output.metadata.get("image/png", {}).get("alt")
            assert alternative == expected, "run the notebook again, with --in-place"


@pytest.mark.parametrize("path", [p for p in NOTEBOOKS if p.parent.name == "notebooks"], ids=lambda path: path.stem)
def test_sections_come_in_the_course_s_order(path):
    text = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    headings = [heading for heading in re.findall(r"^## (.+)$", text, re.MULTILINE)]
    found = [next((i for i, name in enumerate(SECTIONS) if heading.startswith(name)), None) for heading in headings]
    assert found == list(range(len(SECTIONS))), headings


@every_notebook
def test_paths_links_and_address(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(rf"/home/|/Users/|ipykernel_\d|{re.escape(str(Path.home()))}/", text)
    for cell in read(path).cells:
        for link in re.findall(r"\]\(([^)#]+)\)", cell.source) if cell.cell_type == "markdown" else []:
            if link.startswith("https://colab.research.google.com/github"):
                place = path.relative_to(ROOT).as_posix()
                assert link == f"https://colab.research.google.com/github/{address()}/blob/main/{place}"
            elif not link.startswith("http"):
                assert (path.parent / link).exists(), link
    for found in re.findall(r"REPOSITORY = \\\"https://github.com/([^\\]+)\\\"", text):
        assert found == address()


def definitions(path: Path) -> dict:
    """The exercises' functions as a notebook's cells define them, run with what the set-up cell imports."""
    found = {}
    for cell in code_cells(path):
        tree = ast.parse(cell.source)
        names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
        if "exercise" in tags(cell):
            scope = {"np": __import__("numpy"), "torch": __import__("torch")}
            functions = ast.Module([node for node in tree.body if isinstance(node, ast.FunctionDef)], [])
            exec(compile(functions, str(path), "exec"), scope)
            found |= {name: scope[name] for name in names}
    return found


@pytest.mark.parametrize("name", CHECKS)
def test_an_exercise_s_solution_passes_its_check_and_its_stub_does_not(name, capsys):
    lesson = next(path for path in NOTEBOOKS if name in definitions(path))
    solution = definitions(lesson.parent / "solutions" / lesson.name)[name]
    assert check(solution)
    assert not check(definitions(lesson)[name])
    assert "not solved yet" in capsys.readouterr().out


def wrong_soft_iou_loss(logits, target):
    overlap = (logits * target).sum((1, 2, 3))  # forgets the sigmoid
    return (1 - overlap / (logits.sum((1, 2, 3)) + target.sum((1, 2, 3)) - overlap)).mean()


def wrong_best_threshold(probabilities, truths):
    return 0.5


def wrong_receptive_field(levels):
    return 1 + 4 * levels  # forgets that pooling lengthens the steps


@pytest.mark.parametrize("wrong", [wrong_soft_iou_loss, wrong_best_threshold, wrong_receptive_field])
def test_a_wrong_answer_is_told_what_is_wrong(wrong, capsys):
    wrong.__name__ = wrong.__name__.removeprefix("wrong_")
    assert not check(wrong)
    assert "not right yet" in capsys.readouterr().out


@every_lesson
def test_every_lesson_has_three_exercises(path):
    if path.parent.name == "notebooks":
        assert len(definitions(path)) >= 3
