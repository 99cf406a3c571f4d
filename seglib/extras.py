"""Packages that only a part of seglib needs, and how missing ones are installed."""

from __future__ import annotations

from importlib.util import find_spec

__all__ = ["need"]

# The extras of pyproject.toml, by the names that their packages are imported by.
EXTRAS = {
    "reports": (
        *("PIL", "albumentations", "filelock", "joblib", "matplotlib", "platformdirs", "pycocotools", "pydantic"),
        *("requests", "segmentation_models_pytorch", "skimage", "timm", "yaml"),
    ),
    "course": ("math_core", "nbclient", "nbconvert"),
    "onnx": ("onnx", "onnxscript"),
    "brush": ("anywidget",),
    "ray": ("ray",),
}
# Where they are called otherwise.
DISTRIBUTIONS = {"PIL": "pillow", "math_core": "math-core", "skimage": "scikit-image", "yaml": "pyyaml"}


def need(extra: str) -> None:
    """Raises ModuleNotFoundError, with the command that installs them, where packages of an extra are missing."""
    missing = [name for name in EXTRAS[extra] if find_spec(name) is None]
    if missing:
        packages = " ".join(DISTRIBUTIONS.get(name, name) for name in missing)
        raise ModuleNotFoundError(
            f"this part of seglib needs {', '.join(missing)}: pip install {packages} (all of it: the extra [{extra}])",
            name=missing[0],
        )
