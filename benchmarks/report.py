"""What is on record, as the README shows it; needs none of the peers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median

from seglib.course.pages import replace_one
from seglib.results import markdown_table

# How many times as much as ours the best other way must take.
OUT_OF_THE_BOX, TUNED, QUALITY, LEANEST = 1.5, 1.0, 5.0, 1 / 1.1
METRICS = {"Hausdorff distance": 5.0, "HD95": 5.0, "boundary IoU": 2.0}
WAITING = 0.05  # the most of a step that may be spent waiting for its batch
SECTION = r"(?s)(?<=<!-- python -m benchmarks -->\n).*?(?=<!-- -->)"


def ratio_cell(ratio: Mapping[str, float], goal: float) -> str:
    """Median and quartiles, the median in bold where it reaches the goal."""
    value = f"{ratio['median']:.2f}"
    value = f"**{value}**" if ratio["median"] >= goal else value
    return f"{value} ({ratio['low']:.2f}–{ratio['high']:.2f})"


def training_table(record: Mapping) -> str:
    """Each peer out of the box and tuned as ours is, with its operations beside ours; and what share of the machine's
    peak ours reaches."""
    sizes = sorted({case["size"] for case in record["cases"]})
    rows = []
    for widths in dict.fromkeys(case["widths"] for case in record["cases"]):
        cases = [case for size in sizes for case in record["cases"] if (case["widths"], case["size"]) == (widths, size)]
        work = cases[0]["gigaflops"]
        for name in cases[0]["ratios"]:
            peer = name.removesuffix(", tuned")
            goal = math.inf if peer not in work else OUT_OF_THE_BOX if peer == name else TUNED
            operations = f"{work.get(peer, work['seglib']) / work['seglib']:.2f}"
            cells = [ratio_cell(case["ratios"][name], goal) for case in cases]
            rows.append([widths, name, operations, *cells, goal if peer in work else ""])
        shares = [f"{case['share_of_matrix_peak']:.0%}" for case in cases]
        rows.append([widths, "seglib: of the peak of matrix products", "1.00", *shares, ""])
    return markdown_table(["widths", "beside", "operations", *(f"{size}×{size}" for size in sizes), "goal"], rows)


def other_lines(record: Mapping, quality: Mapping) -> list[list]:
    lines = []
    for case in record["metric_speed"]["cases"]:
        what = f"time of the {case['metric']}, {'×'.join(map(str, case['shape']))}"
        for i, (way, ratio) in enumerate(case["ratios"].items()):
            goal = METRICS[case["metric"]] if i == 0 else 1.0
            lines.append([what, way, ratio_cell(ratio, goal), f"{goal:g}"])
    for case in record["memory"]["cases"]:
        ours = median(case["megabytes"]["seglib"])
        theirs = {name: values for name, values in case["megabytes"].items() if name != "seglib"}
        leanest = min(theirs, key=lambda name: median(theirs[name]))
        found = sorted(value / ours for value in theirs[leanest])
        ratio = {"median": median(found), "low": found[0], "high": found[-1]}
        what = f"memory of a training step, widths {case['widths']}, {case['size']}×{case['size']}"
        lines.append([what, f"leanest: {leanest}", ratio_cell(ratio, LEANEST), f"{LEANEST:.2f}"])
    slow, _, _ = quality["times_faster"].values()
    ratio = {"median": median(slow), "low": min(slow), "high": max(slow)}
    what = "time to the report's IoU of 0.909, denoising, fast recipe of four epochs"
    lines.append([what, "the report's recipe in PyTorch's defaults", ratio_cell(ratio, QUALITY), f"{QUALITY:g}"])
    return lines


def data_table(record: Mapping) -> str:
    rows = []
    for report, one in record["reports"].items():
        waiting = one["share_waiting"]
        share = f"{waiting['median']:.1%}"
        share = f"**{share}**" if waiting["median"] < WAITING else share
        share += f" ({waiting['low']:.1%}–{waiting['high']:.1%})"
        rows.append([f"{report}, `{one['row']}`", one["generated_per_second"], one["delivered_per_second"], share])
    waiting = f"share of a step waiting (goal: below {WAITING:.0%})"
    return markdown_table(["report, row", "pairs made a second", "delivered a second", waiting], rows)


def tables(record: Mapping, quality: Mapping) -> str:
    """All of it, as Markdown."""
    others = markdown_table(["what", "beside", "theirs / ours", "goal"], other_lines(record, quality))
    return "\n\n".join([training_table(record["training_step"]), others, data_table(record["input_pipeline"])])


def rendered(readme: str, record: Mapping, quality: Mapping) -> str:
    """The README's text with the tables that are on record.

    Raises:
        ValueError: it has no place for them.
    """
    return replace_one(SECTION, lambda _: f"\n{tables(record, quality)}\n\n", readme, "the tables in the README")
