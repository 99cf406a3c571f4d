"""A room for each report: `reports/NAME/report.py` has its `REPORT`. Reports are found by looking into this folder."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ..extras import need

if TYPE_CHECKING:  # which loads networks and augmentation: seconds that a list of names does not need
    from .base import Report

need("reports")


def reports() -> list[str]:
    """The names of all reports."""
    return sorted(path.parent.name for path in Path(__file__).parent.glob("*/report.py"))


@cache
def find_report(name: str) -> Report:
    """The report of that name, one of `reports()`."""
    return import_module(f"{__name__}.{name}.report").REPORT
