"""Packages that only a part of seglib needs, and how a missing one is installed."""

from __future__ import annotations

from importlib.util import find_spec

__all__ = ["need"]

DISTRIBUTIONS = {"PIL": "pillow", "skimage": "scikit-image", "yaml": "pyyaml"}  # where they have other names


def need(extra: str, *modules: str) -> None:
    """Raises ModuleNotFoundError, with the command that installs them, where some of the `modules` that the extra of
    this name brings are missing."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        packages = " ".join(DISTRIBUTIONS.get(name, name) for name in missing)
        raise ModuleNotFoundError(
            f"this part of seglib needs {', '.join(missing)}: pip install {packages} (all of it: the extra [{extra}])",
            name=missing[0],
        )
