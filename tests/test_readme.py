import re
import tomllib
from pathlib import Path

from seglib import results
from seglib.config import reports

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_scoreboard_is_the_one_that_the_results_give():
    for report in reports():
        assert results.scoreboard(report) in README, f"put what `python -m seglib rows {report}` prints into README.md"


def test_the_number_over_pixels_is_the_one_on_record():
    (said,) = re.findall(r"over the pixels of all of them together, `ours` has (0\.\d{4})", README)
    assert f"{results.measured(results.read('scribbles'), 'ours')['metrics']['mean_iou_pooled']:.4f}" == said


def test_the_example_runs(capsys):
    (program,) = re.findall(r"```python\n(.+?)```", README, re.DOTALL)
    assert len([line for line in program.splitlines() if line.strip()]) <= 13
    exec(program, {})
    assert 0 < float(capsys.readouterr().out.splitlines()[-1]) <= 1


def test_links_lead_somewhere():
    for file in (ROOT / "README.md", ROOT / "data/README.md"):
        for link in re.findall(r"\]\(([^)#]+)\)", file.read_text(encoding="utf-8")):
            assert link.startswith("http") or (file.parent / link).exists(), link


def test_what_the_package_needs_stands_in_the_requirements():
    def names(lines) -> dict:
        pattern = re.compile(r"([\w-]+)\s*(.*?)\s*(?:#.*)?$")
        return dict(pattern.match(line).groups() for line in lines if line.strip() and not line.startswith("#"))

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed, listed = names(project["dependencies"]), names((ROOT / "requirements.txt").read_text().splitlines())
    assert needed.items() <= listed.items()
    pinned = names(line.replace("==", " ==") for line in (ROOT / "constraints.txt").read_text().splitlines())
    assert {name.lower() for name in listed} <= {name.lower() for name in pinned}
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if "<" in line.split("#")[0]:
            assert "# capped" in line or "capped with" in line, f"no reason beside the cap: {line}"
