"""Rows of the configuration files in `configs/`, read, merged and validated.

A file holds one report. Every row is what `defaults` say, then what the scale (`quick` or `full`) says, then what the
row says for all scales, then what it says for this one.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError

from .files import shipped
from .reports import find_report, reports
from .reports.keys import NETWORKS, SCALES, ConfigError, Row, Scale, Strict


class Sweep(Strict):
    """Every combination of a few choices for one row.

    Attributes:
        row: its name.
        changes: to the row, in all of them, such as {"training.epochs": 3}.
        axes: what is chosen between: of each axis the labels, and the changes that each stands for. The change `row`
            takes another row.
    """

    row: str
    changes: dict[str, Any] = Field({})
    axes: Annotated[dict[str, Annotated[dict[str, dict[str, Any]], Field(min_length=1)]], Field(min_length=1)]


def load_sweep(report: str, name: str) -> Sweep:
    """A sweep of a report, as its file has it.

    Raises:
        ConfigError: an unknown report or sweep, or one that is not as `Sweep` says.
    """
    sweeps = _mapping(_read(report).get("sweeps"), f"configs/{report}.yaml: sweeps")
    if name not in sweeps:
        there = f"it has {', '.join(sweeps)}" if sweeps else "it has none"
        raise ConfigError(f"configs/{report}.yaml: no sweep {name!r}{nearest(name, sweeps)}; {there}")
    try:
        return Sweep.model_validate(sweeps[name])
    except ValidationError as error:
        raise ConfigError(_explain(error, Sweep, f"configs/{report}.yaml, sweep {name!r}")) from None


def differences(one: Row, other: Row) -> dict[str, tuple[Any, Any]]:
    """The settings in which the recipes of two rows of a report differ: {"training.epochs": (9, 30)}."""

    def flat(values: Mapping[str, Any], start: str = "") -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in values.items():
            found |= flat(value, f"{start}{key}.") if isinstance(value, Mapping) else {start + key: value}
        return found

    first, second = flat(one.recipe()), flat(other.recipe())
    keys = [*first, *(key for key in second if key not in first)]
    return {key: (first.get(key), second.get(key)) for key in keys if first.get(key) != second.get(key)}


def check_report(name: str) -> None:
    """Raises ConfigError where there is no report of that name."""
    if name not in reports():
        raise ConfigError(f"no report {name!r}{nearest(name, reports())}; there are {', '.join(reports())}")


def row_names(report: str) -> list[str]:
    """The names of a report's rows, in the order of its file."""
    return list(_read(report)["rows"])


def load_row(report: str, name: str, scale: Scale = "quick", overrides: Mapping[str, Any] | None = None) -> Row:
    """A row of a report at a scale, with `overrides` such as {"training.epochs": 3} on top.

    Raises:
        ConfigError: an unknown report, row or key, or a value of the wrong type.
    """
    content = _read(report)
    source = f"configs/{report}.yaml"
    if scale not in SCALES:
        raise ConfigError(f"scale: expected {' or '.join(SCALES)}, got {scale!r}{nearest(scale, SCALES)}")
    if name not in content["rows"]:
        raise ConfigError(
            f"{source}: no row {name!r}{nearest(name, content['rows'])}; it has {', '.join(content['rows'])}"
        )
    place = f"{source}, row {name!r}"
    row = dict(_mapping(content["rows"][name], place))
    own_scales = {key: _mapping(row.pop(key, None), f"{place}: {key}") for key in SCALES}
    defaults = _mapping(content.get("defaults"), f"{source}: defaults")
    scales = _mapping(content.get("scales"), f"{source}: scales")
    for key in scales:
        if key not in SCALES:
            raise ConfigError(f"{source}: unknown key 'scales.{key}'{nearest(key, SCALES)}")
    scale_values = _mapping(scales.get(scale), f"{source}: scales.{scale}")
    if "baseline" in row:  # a baseline has no network, nor a way to train it
        defaults, scale_values = ({k: v for k, v in layer.items() if k == "data"} for layer in (defaults, scale_values))
    merged: dict = {}
    for layer in (defaults, scale_values, row, own_scales[scale], _nested(overrides or {})):
        _merge(merged, layer, f"{place}: ")
    merged |= {"report": report, "name": name, "scale": scale}
    kind = find_report(report).row_type
    try:
        return kind.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(_explain(error, kind, place)) from None


def load_rows(report: str, scale: Scale = "quick") -> list[Row]:
    """All rows of a report at a scale, in the order of its file."""
    return [load_row(report, name, scale) for name in row_names(report)]


def parse_override(text: str) -> tuple[str, Any]:
    """ "training.epochs=3" → ("training.epochs", 3); the value is read as YAML."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set: expected key=value such as training.epochs=3, got {text!r}")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {text}: the value is not valid YAML: {error}") from None


@cache
def _read(report: str) -> dict:
    check_report(report)
    path = shipped("configs") / f"{report}.yaml"
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file; it should have the rows of {report!r}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"configs/{report}.yaml is not valid YAML: {error}") from None
    known = ("defaults", "scales", "rows", "sweeps")
    if not isinstance(content, dict) or not isinstance(content.get("rows"), dict):
        raise ConfigError(f"configs/{report}.yaml: expected a mapping with the keys {', '.join(known)}")
    for key in content:
        if key not in known:
            raise ConfigError(f"configs/{report}.yaml: unknown key {key!r}{nearest(key, known)}")
    return content


def _mapping(value: Any, place: str) -> dict:
    """The mapping that should stand at a place of a file; nothing there is an empty one."""
    if value is not None and not isinstance(value, dict):
        raise ConfigError(f"{place}: expected a mapping, got {value!r}")
    return value or {}


def _merge(into: dict, layer: dict, place: str) -> None:
    """Puts `layer` on top of `into`, mapping by mapping."""
    for key, value in layer.items():
        if isinstance(value, dict):
            into[key] = dict(_mapping(into.get(key), f"{place}{key}"))
            _merge(into[key], value, f"{place}{key}.")
        else:
            into[key] = value


def _nested(flat: Mapping[str, Any]) -> dict:
    """{"a.b": 1} → {"a": {"b": 1}}"""
    nested: dict = {}
    for key, value in flat.items():
        *path, last = key.split(".")
        place = nested
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise ConfigError(f"--set {key}: {part} is set to {place!r} as well")
        place[last] = value
    return nested


def _explain(error: ValidationError, kind: type[Strict], source: str) -> str:
    """One line a mistake: file, row, key, what is wrong and, for an unknown key, the nearest known one."""
    lines = []
    for mistake in error.errors():
        path = mistake["loc"]
        key = ".".join(str(part) for part in path if part not in NETWORKS)  # which of them it is, nobody wrote
        if mistake["type"] == "extra_forbidden":
            known = _fields_at(kind, path[:-1]) + list(SCALES if len(path) == 1 and kind is not Sweep else ())
            lines.append(f"{source}: unknown key {key!r}{nearest(str(path[-1]), known)}; known: {', '.join(known)}")
        elif not path and mistake["type"] == "value_error":  # parts of the row that do not fit together
            lines.append(f"{source}: {mistake['msg'].removeprefix('Value error, ')}")
        else:
            lines.append(f"{source}: {key}: {mistake['msg']}, got {mistake['input']!r}")
    return "\n".join(lines)


def _fields_at(kind: type[Strict], path: tuple) -> list[str]:
    """The keys that are known at a place in a row of a kind."""
    model: Any = kind
    for part in path:
        if part in NETWORKS:
            model = NETWORKS[part]
            continue
        annotation = model.model_fields[part].annotation
        options = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
        model = next(option for option in options if option is not type(None))
    return list(model.model_fields)


def nearest(word: str, known) -> str:
    """ ", did you mean 'report'?" for a word that is nearly one of those known, else nothing."""
    matches = difflib.get_close_matches(str(word), [str(k) for k in known], n=1, cutoff=0.5)
    return f", did you mean {matches[0]!r}?" if matches else ""
