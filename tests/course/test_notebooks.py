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
from seglib.course.notebook import address
from seglib.course.render import caption
from seglib.course.tolerance import marked, tolerance_of

ROOT = Path(__file__).parents[2]
REPORTS = sorted(ROOT.glob("notebooks/*.ipynb"))
FURTHER = sorted(ROOT.glob("notebooks/further/*.ipynb"))
NOTEBOOKS = [*REPORTS, *FURTHER, *sorted(ROOT.glob("reduce_dataset.ipynb"))]
SOLUTIONS = sorted(ROOT.glob("notebooks/solutions/*.ipynb"))
# Reports' notebooks that show their results and build nothing yet. What lessons keep, they need not.
FIRST_EDITION = ("03_neural_segmentello", "04_scribbles", "05_mars_terrain")
LESSONS = [path for path in REPORTS if path.stem not in FIRST_EDITION]
GUIDES = [ROOT / "README.md", ROOT / "notebooks/README.md", ROOT / "data/README.md"]
LEARNT = ["What the report claims", "Data", "Model", "Loss", "Training", "Figures", "Reported beside measured"]
LEARNT += ["What goes wrong"]
SECTIONS = ["What you will be able to do", *LEARNT, "Beyond the report", "Takeaways", "References"]
FIRST_SECTIONS = ["What you will learn", *LEARNT, "Beyond the report", "Exercises", "Takeaways", "References"]
COLUMNS = 100  # of a line of code: what a page shows without scrolling
LINES = 25  # of a cell of code, but for the folded set-up
MEGABYTES = 2
# How much a lesson, and a further notebook, has of each: fewest and most.
CELLS = ((40, 60), (10, 40))
WORDS = ((2500, 3500), (600, 3000))
PREDICTIONS = ((5, 8), (3, 8))
CHANGES = ((3, 6), (1, 6))
QUESTIONS = (2, 3)  # of a section
IMPORTS = (ast.Import, ast.ImportFrom)
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


def only_defines(cell) -> bool:
    return all(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in ast.parse(cell.source).body)


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
    # The first one is the set-up; what only defines something has nothing to say.
    speaking = [cell for cell in compared[1:] if not only_defines(cell)]
    shown = sum(bool(cell.outputs) for cell in speaking)
    if shown < 0.9 * len(speaking):
        yield f"{shown} of {len(speaking)} compared cells have outputs, fewer than 90 %"
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


def lines_of_code_fit_into_a_page(notebook, path):
    for cell in code_cells(notebook):
        for line in cell.source.splitlines():
            if len(line) > COLUMNS:
                yield f"a line of {len(line)} columns, {COLUMNS} fit: {line}"


def its_set_up_is_folded(notebook, path):
    """In JupyterLab and the pages by `source_hidden`, on Colab as a form with a title."""
    first = code_cells(notebook)[0]
    folded = first.metadata.get("jupyter", {}).get("source_hidden"), first.metadata.get("cellView")
    if folded != (True, "form") or not first.source.startswith("# @title "):
        yield f"the set-up cell is not folded: {first.source.splitlines()[0]}, {first.metadata}"


def what_a_cell_defines_is_marked(notebook, path):
    """`twin=NAME`: the package has it too, see test_twins.py; `own=NAME`: it has not; `exercise`."""
    for cell in code_cells(notebook):
        kinds = (ast.FunctionDef, ast.ClassDef)
        names = {node.name for node in ast.parse(cell.source).body if isinstance(node, kinds)}
        marks = {tag.partition("=")[2] for tag in tags(cell) if tag.startswith(("twin=", "own="))}
        if "exercise" not in tags(cell) and names - marks:
            yield f"defined without a mark: {', '.join(sorted(names - marks))}"
        if marks - names:
            yield f"marked and not defined there: {', '.join(sorted(marks - names))}"


def its_marked_numbers_have_a_tolerance(notebook, path):
    for cell in code_cells(notebook):
        for output in cell.outputs:
            texts = [output.get("text"), *output.get("data", {}).values()]
            for text in (text for text in texts if isinstance(text, str)):
                try:
                    list(marked(text, tolerance_of(tags(cell))))
                except ValueError as error:
                    yield str(error)


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
    order = FIRST_SECTIONS if path.stem in FIRST_EDITION else SECTIONS
    headings = re.findall(r"^## (.+)$", markdown_of(notebook), re.MULTILINE)
    found = [next((i for i, name in enumerate(order) if heading.startswith(name)), None) for heading in headings]
    if found != list(range(len(order))):
        yield f"sections: {headings}"


# --- rules of what teaches: lessons and further notebooks ---


def sections_of(notebook) -> dict:
    """What a notebook's sections say, by their headings."""
    parts = re.split(r"^## (.+)$", markdown_of(notebook), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def words_of(notebook) -> int:
    """How many words a reader reads from top to bottom: without folded answers, formulas and references."""
    text = "\n".join(text for heading, text in sections_of(notebook).items() if heading != "References")
    text = markdown_of(notebook).partition("\n## ")[0] + text
    for left_out in (r"<details>.*?</details>", r"\$\$.*?\$\$", r"\$[^$]+\$", r"\]\([^)]*\)"):
        text = re.sub(left_out, " ", text, flags=re.DOTALL)
    return len(re.findall(r"\S*[^\W\d_]\S*", text))  # with a letter in it


def outside(count: int, bounds: tuple, what: str):
    if not bounds[0] <= count <= bounds[1]:
        yield f"{count} {what}, expected {bounds[0]} to {bounds[1]}"


def it_has_the_size_of_a_lesson(notebook, path):
    kind = path in FURTHER
    yield from outside(len(notebook.cells), CELLS[kind], "cells")
    yield from outside(words_of(notebook), WORDS[kind], "words")
    yield from outside(len(nbformat.writes(notebook)) / 1e6, (0, MEGABYTES), "megabytes")
    for cell in code_cells(notebook)[1:]:
        yield from outside(len(cell.source.splitlines()), (1, LINES), f"lines in a cell: {cell.source[:40]}")


def it_asks_before_it_tells(notebook, path):
    kind = path in FURTHER
    yield from outside(markdown_of(notebook).count("**Before you run it:**"), PREDICTIONS[kind], "predictions")
    yield from outside(markdown_of(notebook).count("**Change and rerun:**"), CHANGES[kind], "changes to try")
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type != "markdown" or "**Before you run it:**" not in cell.source:
            continue
        after = notebook.cells[number + 1] if number + 1 < len(notebook.cells) else None
        asked = cell.source.rpartition("**Before you run it:**")[2]
        if after is None or after.cell_type != "code" or "\n\n" in asked.strip() or cell.source.count("you run it") > 1:
            yield f"a prediction that does not stand right before its cell: {asked.strip()[:60]}"


def its_sections_end_with_folded_questions(notebook, path):
    taught = [heading for heading in sections_of(notebook) if heading in LEARNT]
    for heading in taught:
        _, asks, questions = sections_of(notebook)[heading].rpartition("**Check yourself**")
        if not asks:
            yield f"no questions at the end of {heading}"
        yield from outside(questions.count("<details>"), QUESTIONS, f"questions at the end of {heading}")
    if not taught and not markdown_of(notebook).count("**Check yourself**"):
        yield "no questions"
    answers = re.findall(r"<details><summary>.+?</summary>\n\n.+?\n</details>", markdown_of(notebook), re.DOTALL)
    if len(answers) != markdown_of(notebook).count("<details>"):
        yield "a folded answer that is not <details><summary>…</summary>, an empty line, the answer and </details>"


def it_shows_values_and_not_verdicts(notebook, path):
    for cell in code_cells(notebook):
        printed = "".join(output.get("text", "") for output in cell.outputs)
        if re.search(r"\b(True|False)$", printed, re.MULTILINE):
            yield f"a bare True or False: {printed}"


def its_exercises_stand_where_they_belong(notebook, path):
    if "Exercises" in sections_of(notebook):
        yield "a section of exercises: each stands after the section that it belongs to"


EVERYWHERE = (
    it_was_run_top_to_bottom_without_an_error,
    nbval_compares_most_cells_and_they_have_outputs,
    outputs_are_of_kinds_that_nbval_can_compare,
    its_links_lead_somewhere,
    it_opens_itself_on_colab_and_fetches_this_course,
    it_names_no_path_of_a_machine,
    lines_of_code_fit_into_a_page,
    its_set_up_is_folded,
    what_a_cell_defines_is_marked,
    its_marked_numbers_have_a_tolerance,
)
IN_LESSONS = (each_picture_has_a_checked_number_beside_it, each_picture_has_its_caption_as_alternative_text)
IN_REPORTS = (sections_come_in_the_course_s_order,)
TEACHING = (
    it_has_the_size_of_a_lesson,
    it_asks_before_it_tells,
    its_sections_end_with_folded_questions,
    it_shows_values_and_not_verdicts,
    its_exercises_stand_where_they_belong,
)


def rules_of(path: Path) -> tuple:
    rules = EVERYWHERE + IN_LESSONS * (path in NOTEBOOKS) + IN_REPORTS * (path in REPORTS)
    return rules + TEACHING * (path in LESSONS + FURTHER)


RULES = [(path, rule) for path in NOTEBOOKS + SOLUTIONS for rule in rules_of(path)]


def test_there_are_notebooks():
    assert [path.stem for path in NOTEBOOKS][:1] == ["01_denoising"]
    with_exercises = {path.name for path in REPORTS + FURTHER if definitions(path)}
    assert {path.name for path in SOLUTIONS} == with_exercises >= {path.name for path in REPORTS}


@pytest.mark.parametrize("stem", FIRST_EDITION)
def test_a_notebook_of_the_first_edition_is_no_lesson_yet(stem):
    """Where this fails, the notebook has become one: its name goes out of FIRST_EDITION."""
    (path,) = (path for path in REPORTS if path.stem == stem)
    assert [fault for rule in TEACHING for fault in rule(read(path), path)]


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
    question = "**Before you run it:** why?"
    long = "x = 1  # " + "far " * 30
    cells = [
        new_markdown_cell(f"# Bad\n\n{badge}\n\n{links} [there](README.md#glossary) [too](01_denoising.ipynb#Data)"),
        new_markdown_cell(
            "## Model\n\n## Data\n\n## Exercises\n\nFirst put the files into `C:\\data`, or mine into `/root`."
        ),
        new_code_cell("1 / 0", execution_count=3, outputs=[new_output("error", ename="ZeroDivisionError")]),
        new_code_cell("quiet()  # NBVAL_IGNORE_OUTPUT", execution_count=1),
        new_code_cell("plot();", outputs=[picture("old words"), printed("on average: False")], metadata=ignored),
        new_markdown_cell("*Too short.*"),
        new_code_cell("clear_output()\nplot()", outputs=[picture(), picture(kind="image/svg+xml")], metadata=ignored),
        new_markdown_cell("*A caption of more than twenty letters.* And more."),
        new_code_cell("open('/tmp/list.txt')", outputs=[printed("a warning", "stderr")], metadata=ignored),
        new_code_cell("where()", outputs=[printed("<a> in /opt/notes/seglib"), printed("file:///x")], metadata=ignored),
        new_code_cell("ours()", outputs=[new_output("execute_result", {"text/plain": "'/srv/data'"})]),
        new_markdown_cell(f"{question} Because.\n\nMore. <details><summary>Who?</summary> I.</details>"),
        new_code_cell(f"def f():\n    pass\n\n\n{long}", outputs=[printed("IoU ≈ 0.9")], metadata={"tags": ["own=g"]}),
        new_code_cell("\n".join(["1 + 1"] * 30), outputs=[printed("≈ 0.9")], metadata={"tags": ["tolerance=0.2"]}),
    ]
    return new_notebook(cells=cells)


SAID = {  # words of what each rule says of it, parted by |
    it_was_run_top_to_bottom_without_an_error: "execution counts | kernel | an error: 1 / 0",
    nbval_compares_most_cells_and_they_have_outputs: "5 of 9 cells are compared | 3 of 4 compared cells have outputs "
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
    sections_come_in_the_course_s_order: "sections: ['Model', 'Data', 'Exercises']",
    lines_of_code_fit_into_a_page: "a line of 129 columns, 100 fit: x = 1  # far",
    its_set_up_is_folded: "the set-up cell is not folded: 1 / 0",
    what_a_cell_defines_is_marked: "defined without a mark: f | marked and not defined there: g",
    its_marked_numbers_have_a_tolerance: "number without a tolerance: 'IoU ≈ 0.9' | a tolerance of 0.2, above a tenth",
    it_has_the_size_of_a_lesson: "14 cells, expected 40 to 60 | words, expected 2500 to | 30 lines in a cell: 1 + 1",
    it_asks_before_it_tells: "1 predictions, expected 5 to 8 | 0 changes to try, expected 3 to 6 "
    "| a prediction that does not stand right before its cell: why? Because.",
    its_sections_end_with_folded_questions: "no questions at the end of Model | 0 questions at the end of Data "
    "| a folded answer that is not <details>",
    it_shows_values_and_not_verdicts: "a bare True or False: on average: False",
    its_exercises_stand_where_they_belong: "a section of exercises",
}


@pytest.mark.parametrize("rule", EVERYWHERE + IN_LESSONS + IN_REPORTS + TEACHING, ids=lambda rule: rule.__name__)
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
    pairs = [re.findall(r"(?<=\()[\w/]+\.ipynb|(?<=/blob/main/)[\w/]+\.ipynb", row) for row in rows]
    assert sorted(pairs) == sorted([name_of(path)] * 2 for path in NOTEBOOKS)


def definitions(path: Path) -> dict:
    """The exercises' functions as a notebook's cells define them, run with what the set-up cell imports."""
    found = {}
    imports = [node for node in ast.parse(code_cells(read(path))[0].source).body if isinstance(node, IMPORTS)]
    for cell in code_cells(read(path)):
        tree = ast.parse(cell.source)
        names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
        if "exercise" in tags(cell):
            scope: dict = {}
            exec(compile(ast.Module(imports, []), str(path), "exec"), scope)
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


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_every_lesson_has_three_exercises(path):
    assert len(definitions(path)) >= 3
