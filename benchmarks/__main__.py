"""Speed and memory beside what a user would pick instead: python -m benchmarks [PART …]

Everything is measured in turns on this machine. Writes results/benchmarks.json, draws benchmarks/growth.png, and puts
the tables into the README. Named parts are measured anew, the others stay as they are on record. The peers
are an extra: pip install -e .[benchmarks]
"""

from __future__ import annotations

import argparse
import importlib
import time

from seglib import results
from seglib.files import root, write_whole

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
        modules = {part: importlib.import_module(f".{part}", __package__) for part in PARTS}
    except ModuleNotFoundError as missing:
        parser.error(f"the package {missing.name!r} is not installed: pip install -e .[benchmarks]")
    folder = root()
    path = folder / "results" / NAME
    record = results.read_record(NAME) if path.is_file() else {"command": "python -m benchmarks"}
    commit = results.commit()  # as it is before the first part is written
    for part in options.parts or PARTS:
        print(f"— {part}")
        start = time.perf_counter()
        record[part] = modules[part].measure()
        record[part]["run"] = results.describe_run(time.perf_counter() - start, precision=None) | {"commit": commit}
        results.write(path, record)
    if "growth" in record:
        modules["growth"].draw(record["growth"], folder / "benchmarks" / "growth.png")
    print(f"written to {path}")
    if set(PARTS) <= set(record):
        readme, quality = folder / "README.md", results.read_record("time_to_quality.json")
        text = report.rendered(readme.read_text(encoding="utf-8"), record, quality)
        write_whole(readme, lambda file: file.write(text.encode()), "tables")
        print(report.tables(record, quality))


if __name__ == "__main__":
    main()
