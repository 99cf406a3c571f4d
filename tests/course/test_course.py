"""The five notebooks as one course: the reader's thread, the tables of what is taught where, and the glossary."""

import re
from pathlib import Path

import nbformat
import pytest

import seglib.reports.denoising.baselines
import seglib.reports.face_masks.baselines
import seglib.reports.scribbles.baselines
from seglib import losses, metrics, training
from seglib.data import seeded
from seglib.models import blocks
from seglib.reports import reports

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "notebooks/README.md").read_text(encoding="utf-8")
LESSONS = {path.stem[:2].lstrip("0"): path for path in sorted(ROOT.glob("notebooks/*.ipynb"))}
CODE = "\n".join(
    path.read_text(encoding="utf-8") for path in [*ROOT.glob("seglib/**/*.py"), *ROOT.glob("configs/*.yaml")]
)


def text_of(path: Path) -> str:
    return "\n\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)


def tables() -> list[list[str]]:
    """The rows of the guide's tables, without their heads."""
    lines = [line for line in GUIDE.splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]


def paragraphs(path: Path) -> list[str]:
    """A notebook's prose, without marks of emphasis and code, each paragraph in one line."""
    prose = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
    return [re.sub(r"[*`]", "", re.sub(r"\s+", " ", part)) for source in prose for part in source.split("\n\n")]


def whole(term: str) -> re.Pattern:
    """Finds a term, all of it and nothing more, in the singular or plural."""
    return re.compile(rf"(?<![\w-]){re.escape(re.sub('(?<=..)s$', '', term))}(?:s|es)?(?![\w-])", re.IGNORECASE)


def terms_of(what: str) -> list[str]:
    return [term for term in re.split(r"(?:[,;:] | |^)and |[,;:] ", what) if term]


PROSE = {number: paragraphs(path) for number, path in LESSONS.items()}
ORDINARY = {"objects", "people", "photographs", "corrections", "wrong"}  # said everywhere, and meant only sometimes
# Said in an earlier notebook than the one that teaches it, and why that does not matter there.
EARLIER = {
    "IoU loss": "an exercise in which it is written, and named for what it is",
    "ResNet": "what other people's networks are built on, in a table of them",
    "ensembles": "the networks of three folds, used together for a picture of what they miss",
}
TAUGHT = [row for row in tables() if len(row) == 3 and row[2] != "where"]
NAMED = {name for row in TAUGHT for name in re.findall(r"`([^`]+)`", row[1])}


def test_the_tables_are_there():
    assert len(TAUGHT) > 40
    assert sorted(path.stem[3:] for path in LESSONS.values()) == reports()  # a notebook for each


@pytest.mark.parametrize(
    "names",
    [blocks.BLOCKS, blocks.SKIPS, blocks.UPS, blocks.NORMS, losses.LOSSES, training.OPTIMIZERS, blocks.BOTTLENECKS],
    ids=["blocks", "skips", "ups", "norms", "losses", "optimizers", "bottlenecks"],
)
def test_every_part_and_loss_is_taught_somewhere(names):
    assert set(names) - NAMED - {"plain", "adam"} == set()


def test_every_metric_and_baseline_is_taught_somewhere():
    def functions(module) -> set:
        own = {name for name, thing in vars(module).items() if getattr(thing, "__module__", "") == module.__name__}
        return {name for name in own if name[0] != "_" and name.islower()}

    sets_of_metrics = {"boundary_metrics", "mask_metrics", "mean_metrics"}
    assert functions(metrics) - sets_of_metrics - NAMED == set()
    tuning = {"tune", "tune_region_based"}
    rooms = (seglib.reports.denoising, seglib.reports.face_masks, seglib.reports.scribbles)
    for module in (seeded, *(room.baselines for room in rooms)):
        assert functions(module) - tuning - NAMED == set()


def test_names_are_those_of_the_code():
    for name in NAMED:
        modules = list(ROOT.glob(f"seglib/**/{name.replace('.', '/')}.py"))
        assert modules or re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", CODE), name


@pytest.mark.parametrize("row", TAUGHT, ids=lambda row: row[0][:40])
def test_where_it_is_taught_there_is_talk_of_it(row):
    what, names, where = row
    terms = terms_of(what) + [name + loss for name in re.findall(r"`([^`]+)`", names) for loss in ("", "_loss")]
    assert "](" in where
    for link in re.findall(r"\]\(([^)]+)\)", where):
        text = re.sub(r"\s+", " ", text_of(ROOT / "notebooks" / link))
        assert any(whole(term).search(text) for term in terms), (link, terms)


@pytest.mark.parametrize("row", TAUGHT, ids=lambda row: row[0][:40])
def test_before_it_is_taught_there_is_no_talk_of_it(row):
    what, _, where = row
    first = re.search(r"\[(\d)", where)[1]
    for term in [term for term in terms_of(what) if term not in ORDINARY | EARLIER.keys()]:
        for number in range(1, int(first)):
            for text in filter(whole(term).search, PROSE[str(number)]):
                # Somebody who is told where to read more is not left alone with a word.
                assert re.search(rf"notebook {first}\b|\]\({LESSONS[first].name}", text), (term, number, text)


def test_exceptions_are_still_in_the_tables():
    assert {*ORDINARY, *EARLIER} <= {term for what, *_ in TAUGHT for term in terms_of(what)}


def test_the_thread_is_the_one_that_notebooks_say_themselves():
    thread = {row[0]: row for row in tables() if len(row) == 5 and row[0] in LESSONS}
    assert list(thread) == list(LESSONS)
    for number, (_, link, before, _, after) in thread.items():
        path = LESSONS[number]
        assert link.endswith(f"]({path.name})")
        text = text_of(path)
        opening = text.partition("## What the report claims")[0]
        for other in re.findall(r"\d", before):
            assert f"]({LESSONS[other].name})" in opening, f"{path.name} does not say that it builds on {other}"
        following = re.findall(r"\*\*Next\*\*.*\]\((\w+\.ipynb)\)", text)
        assert following == ([LESSONS[after].name] if after else []), path.name


def test_the_glossary_is_in_order_and_its_terms_are_used():
    terms = re.findall(r"^\*\*(.+?)\.\*\*", GUIDE.partition("## Glossary")[2], re.MULTILINE)
    assert len(terms) >= 30
    assert terms == sorted(terms, key=str.lower)
    for term in terms:
        # In parentheses is what others call it.
        for part in re.sub(r" \(.*\)", "", term).split(", "):
            assert any(whole(part).search(text) for texts in PROSE.values() for text in texts), (term, part)
