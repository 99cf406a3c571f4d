"""Rules that every notebook keeps, so that `pytest --nbval notebooks` means something; links; and exercises.

A rule is a function of a notebook and of its path, and says in sentences where the notebook breaks it.
"""

import ast
import re
from functools import cache
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from seglib.course.exercises import CHECKS, check
from seglib.course.notebook import address, caption

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb")) + sorted(ROOT.glob("reduce_dataset.ipynb"))
SOLUTIONS = sorted(ROOT.glob("notebooks/solutions/*.ipynb"))
GUIDES = [ROOT / "README.md", ROOT / "notebooks/README.md", ROOT / "data/README.md"]
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
COLAB = "https://colab.research.google.com"
# A path of somebody's machine: of two parts or more, or below a folder that every machine has. Before it stands nothing
# that makes it a part of an address, of a relative path, of a formula or of HTML.
MACHINE_PATH = re.compile(
    r"(?<![\w./:~})<>\]*$-])/(?:[\w.@-]+/[\w.@/-]*|(?:home|Users|tmp|work|root|var|opt|mnt|usr|etc)\b)"
    r"|file:/|ipykernel_\d|(?<!\w)[A-Za-z]:\\\w"
)


@cache
def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def markdown_of(notebook) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tags(cell) -> set:
    return set(cell.metadata.get("tags", []))


def pictures_of(cell) -> list:
    return [output for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]


def anchors(path: Path) -> set:
    """What `#…` may name in a file: its headings, as GitHub writes them of Markdown, and JupyterLab of notebooks."""
    notebook = path.suffix == ".ipynb"
    text = markdown_of(read(path)) if notebook else path.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+?)\s*$", re.sub(r"(?s)```.*?```", "", text), re.MULTILINE)
    names = headings if notebook else [re.sub(r"[^\w -]", "", heading.lower()) for heading in headings]
    return {name.replace(" ", "-") for name in names}


def faulty_links(text: str, path: Path):
    for link in re.findall(r"\]\(([^)\s]+)", text):
        place, _, anchor = link.partition("#")
        target = path.parent / place if place else path
        if link.startswith(f"{COLAB}/github"):
            course, _, file = place.partition("/blob/main/")
            if course != f"{COLAB}/github/{address()}" or not (ROOT / file).is_file():
                yield f"a badge that opens something else: {link}"
        elif link.startswith("http"):
            continue
        elif not target.exists():
            yield f"a link to nowhere: {link}"
        elif anchor and anchor not in anchors(target):
            yield f"a link to a heading that is not there: {link}"


# --- rules of every notebook ---


def it_was_run_top_to_bottom_without_an_error(notebook, path):
    cells = code_cells(notebook)
    if [cell.execution_count for cell in cells] != list(range(1, len(cells) + 1)):
        yield "the execution counts are not 1, 2, 3 and so on"
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        yield "the kernel is not python3"
    for cell in cells:
        if any(output.output_type == "error" for output in cell.outputs):
            yield f"an error: {cell.source}"


def nbval_compares_most_cells_and_they_have_outputs(notebook, path):
    cells = code_cells(notebook)
    compared = [cell for cell in cells if not tags(cell) & {"nbval-ignore-output", "nbval-skip"}]
    if len(compared) < 0.6 * len(cells):
        yield f"{len(compared)} of {len(cells)} cells are compared, fewer than 60 %"
    shown = sum(bool(cell.outputs) for cell in compared[1:])  # the first one is the set-up
    if shown < 0.9 * len(compared[1:]):
        yield f"{shown} of {len(compared[1:])} compared cells have outputs, fewer than 90 %"
    for cell in cells:
        if re.search(r"#\s*nbval", cell.source, re.IGNORECASE):
            yield f"a marker of nbval as a comment, not as a tag: {cell.source}"


def outputs_are_of_kinds_that_nbval_can_compare(notebook, path):
    for cell in code_cells(notebook):
        if cell.source.rstrip().endswith(";"):
            yield f"a semicolon, which hides nothing from nbval: {cell.source}"
        if "clear_output" in cell.source:
            yield f"outputs that are cleared: {cell.source}"
        for output in cell.outputs:
            if "image/svg+xml" in output.get("data", {}):
                yield f"an SVG picture: {cell.source}"
            if output.get("name") == "stderr":
                yield f"something on stderr: {output.text}"


def its_links_lead_somewhere(notebook, path):
    yield from faulty_links(markdown_of(notebook), path)


def it_opens_itself_on_colab_and_fetches_this_course(notebook, path):
    badge = rf"\[!\[[^\]]+\]\({COLAB}/assets/colab-badge\.svg\)\]\(([^)]*)\)"
    badges = re.findall(badge, markdown_of(notebook))
    own = f"{COLAB}/github/{address()}/blob/main/{name_of(path)}"
    if badges != ([] if path.parent.name == "solutions" else [own]):
        yield f"badges: {badges}"
    sources = "\n".join(cell.source for cell in code_cells(notebook))
    repositories = re.findall(r"^REPOSITORY = (.*)$", sources, re.MULTILINE)
    if repositories != [f'"https://github.com/{address()}"']:
        yield f"addresses to fetch the course from: {repositories}"


def it_names_no_path_of_a_machine(notebook, path):
    for cell in notebook.cells:
        texts = [cell.source]
        for output in cell.get("outputs", []):
            shown = [value for kind, value in output.get("data", {}).items() if not kind.startswith("image/")]
            texts += map(str, [output.get("text", ""), *output.get("traceback", []), *shown])
        for text in texts:
            for found in MACHINE_PATH.finditer(text):
                if found[0] != "/content/course":  # where Colab's set-up cell clones to
                    yield f"a path of a machine: {text[max(0, found.start() - 20) : found.end() + 20]}"


# --- rules of lessons, not of solutions ---


def each_picture_has_a_checked_number_beside_it(notebook, path):
    for cell in filter(pictures_of, code_cells(notebook)):
        printed = "".join(output.text for output in cell.outputs if output.output_type == "stream")
        if not re.search(r"\d|True", printed):
            yield f"a picture without a number: {cell.source}"
        if "nbval-ignore-output" in tags(cell):
            yield f"a picture whose number is not compared: {cell.source}"
        if "False" in printed:
            yield f"a picture beside which a check failed: {cell.source}"


def each_picture_has_its_caption_as_alternative_text(notebook, path):
    for number, cell in enumerate(notebook.cells):
        pictures = pictures_of(cell)
        words = caption(notebook, number) if pictures else ""
        if pictures and len(words) <= 20:
            yield f"no caption in italics after: {cell.source}"
        for i, output in enumerate(pictures, 1):
            expected = (f"Picture {i} of {len(pictures)}. " if len(pictures) > 1 else "") + re.sub(r"[`*$]", "", words)
            if output.metadata.get("image/png", {}).get("alt") != expected:
                yield f"another alternative text (run the notebook again, with --in-place) than: {expected}"


# --- rules of the reports' notebooks ---


def sections_come_in_the_course_s_order(notebook, path):
    headings = re.findall(r"^## (.+)$", markdown_of(notebook), re.MULTILINE)
    found = [next((i for i, name in enumerate(SECTIONS) if heading.startswith(name)), None) for heading in headings]
    if found != list(range(len(SECTIONS))):
        yield f"sections: {headings}"


EVERYWHERE = (
    it_was_run_top_to_bottom_without_an_error,
    nbval_compares_most_cells_and_they_have_outputs,
    outputs_are_of_kinds_that_nbval_can_compare,
    its_links_lead_somewhere,
    it_opens_itself_on_colab_and_fetches_this_course,
    it_names_no_path_of_a_machine,
)
IN_LESSONS = (each_picture_has_a_checked_number_beside_it, each_picture_has_its_caption_as_alternative_text)
IN_REPORTS = (sections_come_in_the_course_s_order,)

RULES = [
    (path, rule)
    for path in NOTEBOOKS + SOLUTIONS
    for rule in EVERYWHERE + IN_LESSONS * (path in NOTEBOOKS) + IN_REPORTS * (path.parent.name == "notebooks")
]


def test_there_are_notebooks():
    assert [path.stem for path in NOTEBOOKS][:1] == ["01_denoising"]
    assert {path.name for path in SOLUTIONS} == {path.name for path in NOTEBOOKS if path.parent.name == "notebooks"}


@pytest.mark.parametrize(("path", "rule"), RULES, ids=lambda one: getattr(one, "__name__", None) or name_of(one))
def test_rule(path, rule):
    assert list(rule(read(path), path)) == []


def bad_notebook():
    """A notebook that breaks every rule, each in every way."""

    def picture(alternative=None, kind="image/png"):
        metadata = {kind: {"alt": alternative}} if alternative else {}
        return new_output("display_data", {kind: "bm9uZQ=="}, metadata=metadata)

    def printed(text, name="stdout"):
        return new_output("stream", name=name, text=text)

    ignored = {"tags": ["nbval-ignore-output"]}
    badge = f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({COLAB}/github/somebody/else/blob/main/other.ipynb)"
    links = "[no file](gone.ipynb) [no heading](README.md#gone) [nor here](01_denoising.ipynb#Gone) [nor](#gone)"
    cells = [
        new_markdown_cell(f"# Bad\n\n{badge}\n\n{links} [there](README.md#glossary) [too](01_denoising.ipynb#Data)"),
        new_markdown_cell("## Model\n\n## Data\n\nFirst put the files into `C:\\data`, or mine into `/root`."),
        new_code_cell("1 / 0", execution_count=3, outputs=[new_output("error", ename="ZeroDivisionError")]),
        new_code_cell("quiet()  # NBVAL_IGNORE_OUTPUT", execution_count=1),
        new_code_cell("plot();", outputs=[picture("old words"), printed("on average: False")], metadata=ignored),
        new_markdown_cell("*Too short.*"),
        new_code_cell("clear_output()\nplot()", outputs=[picture(), picture(kind="image/svg+xml")], metadata=ignored),
        new_markdown_cell("*A caption of more than twenty letters.* And more."),
        new_code_cell("open('/tmp/list.txt')", outputs=[printed("a warning", "stderr")], metadata=ignored),
        new_code_cell("where()", outputs=[printed("<a> in /opt/notes/seglib"), printed("file:///x")], metadata=ignored),
        new_code_cell("ours()", outputs=[new_output("execute_result", {"text/plain": "'/srv/data'"})]),
    ]
    return new_notebook(cells=cells)


SAID = {  # words of what each rule says of it, parted by |
    it_was_run_top_to_bottom_without_an_error: "execution counts | kernel | an error: 1 / 0",
    nbval_compares_most_cells_and_they_have_outputs: "3 of 7 cells are compared | 1 of 2 compared cells have outputs "
    "| as a comment, not as a tag: quiet()",
    outputs_are_of_kinds_that_nbval_can_compare: "a semicolon, which hides nothing from nbval: plot(); "
    "| outputs that are cleared | an SVG picture | something on stderr: a warning",
    its_links_lead_somewhere: f"opens something else: {COLAB}/github/somebody/else | to nowhere: gone.ipynb | heading "
    "that is not there: README.md#gone | not there: 01_denoising.ipynb#Gone | heading that is not there: #gone",
    it_opens_itself_on_colab_and_fetches_this_course: f"badges: ['{COLAB}/github/somebody/else "
    "| addresses to fetch the course from: []",
    it_names_no_path_of_a_machine: "C:\\data | `/root` | /tmp/list.txt | /opt/notes | file:/ | /srv/data",
    each_picture_has_a_checked_number_beside_it: "without a number: clear_output() | not compared: plot(); "
    "| check failed: plot();",
    each_picture_has_its_caption_as_alternative_text: "no caption in italics after: plot(); | than: Too short. "
    "| than: A caption of more than twenty letters.",
    sections_come_in_the_course_s_order: "sections: ['Model', 'Data']",
}


@pytest.mark.parametrize("rule", EVERYWHERE + IN_LESSONS + IN_REPORTS, ids=lambda rule: rule.__name__)
def test_a_rule_says_where_it_is_broken(rule):
    faults = list(rule(bad_notebook(), NOTEBOOKS[0]))  # as if it lay in the first lesson's place
    expected = SAID[rule].split(" | ")
    for words in expected:
        assert any(words in fault for fault in faults), (words, faults)
    assert len(faults) >= len(expected)


@pytest.mark.parametrize("path", GUIDES, ids=name_of)
def test_links_of_guides_lead_somewhere(path):
    assert list(faulty_links(path.read_text(encoding="utf-8"), path)) == []


def test_the_readme_s_badges_open_the_notebooks_that_they_stand_beside():
    rows = re.findall(r"^\| \[.*\.ipynb.*$", GUIDES[0].read_text(encoding="utf-8"), re.MULTILINE)
    pairs = [re.findall(r"(?<=\()(?:notebooks/)?\w+\.ipynb|(?<=/blob/main/)[\w/]+\.ipynb", row) for row in rows]
    assert pairs == [[name_of(path)] * 2 for path in NOTEBOOKS]


def definitions(path: Path) -> dict:
    """The exercises' functions as a notebook's cells define them, run with what the set-up cell imports."""
    found = {}
    for cell in code_cells(read(path)):
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


@pytest.mark.parametrize("path", [p for p in NOTEBOOKS if p.parent.name == "notebooks"], ids=lambda path: path.stem)
def test_every_lesson_has_three_exercises(path):
    assert len(definitions(path)) >= 3
