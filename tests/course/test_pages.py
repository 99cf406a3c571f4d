import json
import re
import tomllib
from pathlib import Path

import pytest

import benchmarks.report as speed
from seglib import results
from seglib.course import pages
from seglib.course.notebook import all_notebooks, code_digest
from seglib.reports import reports

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


ADVICE = "run `python -m seglib readme`"


def test_scoreboards_and_costs_are_those_on_record():
    assert pages.rendered(README) == README, ADVICE
    for report in reports():
        assert results.scoreboard(report) in README


def test_notebooks_say_what_they_cost():
    measured = results.read_record("notebooks.json")["notebooks"]
    notebooks = all_notebooks(ROOT)
    assert set(measured) == {path.name for path in notebooks}, "run `python -m seglib notebooks --in-place`"
    for path in notebooks:
        text = path.read_text(encoding="utf-8")
        assert pages.rendered_notebook(path.name, text) == text, ADVICE
        assert f"{pages.cost(path.name)}" in text
        # Of the code as it is now, not of some that was there before.
        assert measured[path.name]["code"] == code_digest(path), f"run `python -m seglib notebooks --in-place {path}`"
        assert measured[path.name]["seconds"] < 240  # together under 15 minutes
        assert measured[path.name]["peak_memory_mb"] < 4096
    assert sum(one["seconds"] for one in measured.values()) < 900


def test_the_picture_shows_the_numbers_on_record():
    numbers = {report: pages.headline(report) for report in reports()}
    assert pages.numbers_in(ROOT / pages.PICTURE) == json.loads(json.dumps(numbers)), ADVICE
    assert f"]({pages.PICTURE.as_posix()})" in README
    reported = [line for lines in numbers.values() for line in lines if line[1] is not None]
    assert len(reported) >= 25
    assert all(0 < value <= 1 for line in reported for value in line[1:])


def test_a_number_that_is_out_of_date_is_found():
    table = results.scoreboard("denoising")
    wrong = README.replace(table, re.sub(r"0\.\d{4} ±", "0.9999 ±", table, count=1))
    assert wrong != README
    assert pages.rendered(wrong) == README
    with pytest.raises(ValueError, match=r"expected a heading '### …' for denoising; there are Noise, Face masks"):
        pages.rendered(README.replace("### Denoising", "### Noise"))


def test_a_sixth_report_needs_a_heading_and_a_table_to_be_filled(monkeypatch):
    before = pages.rendered(README)
    lines = {report: results.scoreboard(report) for report in reports()} | {"red_coins": "| row | IoU |\n|---|---|"}
    monkeypatch.setattr(pages, "reports", lambda: list(lines))
    monkeypatch.setattr(results, "scoreboard", lines.get)
    with pytest.raises(ValueError, match=r"expected a heading '### …' for red_coins"):
        pages.rendered(before)
    first = "### Red coins\n\nWhat they are.\n\n"
    page = before.replace("### Denoising", f"{first}| row |\n\n### Denoising")
    assert pages.headings(page)["red_coins"] == "Red coins"
    assert pages.rendered(page) == before.replace("### Denoising", f"{first}{lines['red_coins']}\n\n### Denoising")
    with pytest.raises(ValueError, match="expected one place for the table of Red coins, found 0"):
        pages.rendered(before.replace("### Denoising", f"{first}### Denoising"))  # the next table is not its own


def test_the_number_over_pixels_is_the_one_on_record():
    (said,) = re.findall(r"over the pixels of all of them together, `ours` has (0\.\d{4})", README)
    assert f"{results.measured(results.read('scribbles'), 'ours')['metrics']['mean_iou_pooled']:.4f}" == said


def test_tables_of_speed_are_those_on_record():
    record, quality = (results.read_record(name) for name in ("benchmarks.json", "time_to_quality.json"))
    assert speed.rendered(README, record, quality) == README, "run `python -m benchmarks`"
    assert speed.rendered(README.replace(speed.tables(record, quality), "old"), record, quality) == README
    with pytest.raises(ValueError, match="expected one place for the tables in the README, found 0"):
        speed.rendered(README.replace("<!-- python -m benchmarks -->", ""), record, quality)
    assert all(0 < one["share_waiting"]["median"] < 1 for one in record["input_pipeline"]["reports"].values())


@pytest.mark.slow
def test_the_example_runs(capsys):
    (program,) = re.findall(r"```python\n(.+?)```", README, re.DOTALL)
    assert len([line for line in program.splitlines() if line.strip()]) <= 10
    exec(program, {})
    assert 0 < float(capsys.readouterr().out.splitlines()[-1]) <= 1


def test_what_the_package_needs_stands_in_the_requirements():
    def names(lines) -> dict:
        pattern = re.compile(r"([\w-]+)\s*(.*?)\s*(?:#.*)?$")
        return dict(pattern.match(line).groups() for line in lines if line.strip() and not line.startswith("#"))

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = names((ROOT / "requirements.txt").read_text().splitlines())
    assert names(project["dependencies"]).items() <= listed.items()
    for extra in ("reports", "course", "onnx", "ray", "test"):
        lines = [line for line in project["optional-dependencies"][extra] if not line.startswith("seglib[")]
        # Files for other programs need a newer PyTorch than all else.
        assert (names(lines).items() - {("torch", ">=2.7")}) <= listed.items(), extra
    pinned = names(line.replace("==", " ==") for line in (ROOT / "constraints.txt").read_text().splitlines())
    assert {name.lower() for name in listed} <= {name.lower() for name in pinned}
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if "<" in line.split("#")[0]:
            assert "# capped" in line or "capped with" in line, f"no reason beside the cap: {line}"
