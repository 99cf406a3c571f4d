"""Numbers that differ a little from machine to machine, marked in a notebook's output and compared within a tolerance.

The mark is ≈ before the number. Its tolerance stands beside it, `≈ 0.904 (within 0.01)`, or is a tag of the cell for
all its marked numbers: `tolerance=0.01`, or `tolerance=5%` of each. It may be a tenth of the number, not more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

MARK = re.compile(r"≈ ?(?P<number>[-+−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?)?(?: \(within (?P<within>\d+(?:\.\d+)?)\))?")
TAG = re.compile(r"tolerance=(?P<value>\d+(?:\.\d+)?)(?P<percent>%?)")
SHARE = 0.1  # of a number that its tolerance may be


def tolerance_of(tags: Iterable[str]) -> str | None:
    """A cell's tolerance as its tag has it, such as "0.01" or "5%"; None where it has none.

    Raises:
        ValueError: a tag that begins like one and is none, or several.
    """
    found = [tag for tag in tags if tag.startswith("tolerance")]
    if wrong := [tag for tag in found if not TAG.fullmatch(tag)] or found[1:]:
        raise ValueError(f"expected one tag such as tolerance=0.01 or tolerance=5%, got {', '.join(wrong)}")
    return found[0].removeprefix("tolerance=") if found else None


def _value(place: re.Match) -> float:
    """The number at a mark."""
    return float(place["number"].replace(",", "").replace("−", "-"))


def marked(text: str, tolerance: str | None) -> Iterator[tuple[re.Match, float, float]]:
    """The marked numbers of an output: where each stands, its value and its tolerance, both in the number's unit.

    Raises:
        ValueError: a mark without a number, a number without a tolerance, or a tolerance above a tenth of its number.
    """
    for place in MARK.finditer(text):
        around = text[max(0, place.start() - 30) : place.end() + 10].strip()
        if place["number"] is None:
            raise ValueError(f"a mark without a number: {around!r}")
        value = _value(place)
        given = place["within"] or tolerance
        if given is None:
            raise ValueError(f"a marked number without a tolerance: {around!r}")
        within = float(given.rstrip("%")) * (abs(value) / 100 if given.endswith("%") else 1)
        if within > SHARE * abs(value) * (1 + 1e-9):  # 10 % of 0.69 is rounded up
            raise ValueError(f"a tolerance of {within:g}, above a tenth of its number: {around!r}")
        yield place, value, within


def settled(new: str, stored: str, tolerance: str | None) -> str:
    """The new output with each marked number replaced by the stored one where it lies within its tolerance, so that
    what is left to compare has to be equal.

    Raises:
        ValueError: as for `marked`, of the stored output.
    """
    known = list(marked(stored, tolerance))
    places = [place for place in MARK.finditer(new) if place["number"]]
    for place, (stored_place, value, within) in reversed(list(zip(places, known))):
        if abs(_value(place) - value) <= within * (1 + 1e-9):  # so that rounding does not decide at the border
            new = new[: place.start("number")] + stored_place["number"] + new[place.end("number") :]
    return new
