"""Speed and memory beside what a user would pick instead: python -m benchmarks [PART …]

Everything is measured in turns on this machine. Writes results/benchmarks.json, draws benchmarks/growth.png, and puts
the tables into the README. Named parts are measured anew, the others stay as they are on record. The peers
are an extra: pip install -e .[benchmarks]
"""

from __future__ import annotations

import argparse
import json
import time

from seglib import results
from seglib.files import shipped, write_whole

from . import report

NAME = "benchmarks.json"
PARTS = ("training_step", "operators", "metric_speed", "input_pipeline", "memory", "growth")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"expected parts of {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    try:
        from . import growth, input_pipeline, memory, metric_speed, operators, training_step
    except ModuleNotFoundError as missing:
        parser.error(f"the package {missing.name!r} is not installed: pip install -e .[benchmarks]")
    modules = dict(zip(PARTS, (training_step, operators, metric_speed, input_pipeline, memory, growth)))
    path = shipped("results") / NAME
    record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"command": "python -m benchmarks"}
    for part in options.parts or PARTS:
        print(f"— {part}")
        start = time.perf_counter()
        record[part] = modules[part].measure()
        record[part]["run"] = results.describe_run(time.perf_counter() - start, precision=None)
        results.write(path, record)
    if "growth" in record:
        growth.draw(record["growth"], path.parent.parent / "benchmarks" / "growth.png")
    print(f"written to {path}")
    if set(PARTS) <= set(record):
        readme, quality = path.parent.parent / "README.md", results.read_record("time_to_quality.json")
        text = report.rendered(readme.read_text(encoding="utf-8"), record, quality)
        write_whole(readme, lambda file: file.write(text.encode()), "tables")
        print(report.tables(record, quality))


if __name__ == "__main__":
    main()
