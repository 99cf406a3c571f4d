"""Keeps what the README and the notebooks say about results equal to `results/`: python -m seglib readme

The scoreboards, time and memory of each notebook, and the picture at the top. A test fails where they differ.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from .. import results
from ..files import write_whole
from ..reports import reports
from ..rows import load_rows
from .notebook import all_notebooks

PICTURE = Path("results/overview.png")


def cost(notebook: str) -> str:
    """Time and memory of a notebook as they were last measured, such as "1.5 min, 1.3 GB"."""
    one = results.read_record("notebooks.json")["notebooks"][notebook]
    seconds = one["seconds"]
    time = f"{seconds} s" if seconds < 60 else f"{round(2 * seconds / 60) / 2:g} min"
    return f"{time}, {one['peak_memory_mb'] / 1024:.1f} GB"


def headline(report: str) -> list[tuple[str, float | None, float | None]]:
    """Of a report's rows that have a reported number or are the best of ours: label, reported and measured IoU, or
    mean IoU where that is what the report gives."""
    rows, found = load_rows(report), results.read(report)
    metric = next(name for row in rows for name in ("mean_iou", "iou") if name in row.reported)
    lines = []
    for row in rows:
        ours = results.measured(found, row.name)
        if metric in row.reported or row.best:
            lines.append((row.label, row.reported.get(metric), ours and ours["metrics"].get(metric)))
    return lines


def headings(readme: str) -> dict[str, str]:
    """Of each report the heading of its scoreboard, which is its name as people write it: `face_masks`, Face masks.

    Raises:
        ValueError: a report has none.
    """
    there = {heading.lower().replace(" ", ""): heading for heading in re.findall(r"(?m)^### (.+)$", readme)}
    if missing := [report for report in reports() if report.replace("_", "") not in there]:
        raise ValueError(f"expected a heading '### …' for {', '.join(missing)}; there are {', '.join(there.values())}")
    return {report: there[report.replace("_", "")] for report in reports()}


def rendered(readme: str) -> str:
    """The README's text with the scoreboards and costs that are on record.

    Raises:
        ValueError: a heading, the table below it or a notebook's line is not there.
    """
    for report, heading in headings(readme).items():
        # Up to the next heading: another report's table is not this one's.
        pattern = rf"(?s)(?<=\n### {re.escape(heading)}\n)((?:(?!\n##).)*?\n)\| row \|.*?\n(?=\n)"
        readme = replace_one(
            pattern, lambda found, r=report: f"{found[1]}{results.scoreboard(r)}\n", readme, f"the table of {heading}"
        )
    for name in results.read_record("notebooks.json")["notebooks"]:
        pattern = rf"(?m)^(\|.*\]\((?:notebooks/(?:further/)?)?{re.escape(name)}\).*\| )[^|\n]+ \|$"
        readme = replace_one(pattern, lambda found, n=name: f"{found[1]}{cost(n)} |", readme, name)
    return readme


def rendered_notebook(name: str, text: str) -> str:
    """A notebook file's text with the cost that is on record."""
    pattern = r"\*\*Measured\*\*: [^\"\\]*?\(`make notebooks`\)"
    return replace_one(
        pattern, lambda _: f"**Measured**: {cost(name)}, on two CPU cores (`make notebooks`)", text, name
    )


def replace_one(pattern: str, new: Callable[[re.Match], str], text: str, what: str) -> str:
    """Text with the one match of `pattern` replaced by what `new` makes of it.

    Raises:
        ValueError: there is none, or several; `what` names it.
    """
    text, count = re.subn(pattern, new, text)
    if count != 1:
        raise ValueError(f"expected one place for {what}, found {count}")
    return text


def picture(numbers: dict, names: dict[str, str]) -> bytes:
    """The picture at the top of the README, as PNG: of each report its `headline`, below its name. Its metadata hold
    the numbers as well, see `numbers_in`."""
    from .figures import overview

    figure = overview({names[report]: lines for report, lines in numbers.items()})
    file = BytesIO()
    figure.savefig(file, format="png", dpi=130, metadata={"Description": json.dumps(numbers), "Software": None})
    return file.getvalue()


def numbers_in(path: Path) -> dict:
    """The numbers that a picture made by `picture` shows."""
    from PIL import Image

    with Image.open(path) as image:
        return json.loads(image.text["Description"])


def update(folder: Path) -> list[Path]:
    """Writes all of it into the course's folder; returns the files that changed."""
    readme = (folder / "README.md").read_text(encoding="utf-8")
    new = {folder / "README.md": rendered(readme)}
    for name in results.read_record("notebooks.json")["notebooks"]:
        (path,) = [path for path in all_notebooks(folder) if path.name == name]
        new[path] = rendered_notebook(name, path.read_text(encoding="utf-8"))
    content = {path: text.encode() for path, text in new.items() if text != path.read_text(encoding="utf-8")}
    numbers = {report: [list(line) for line in headline(report)] for report in reports()}
    if not (folder / PICTURE).is_file() or numbers_in(folder / PICTURE) != numbers:
        content[folder / PICTURE] = picture(numbers, headings(readme))
    for path, data in content.items():
        write_whole(path, lambda file, d=data: file.write(d), "what results say")
    return list(content)
