"""Image segmentation: U-Nets, losses, metrics and a training loop, and the course that is built on them.

What is named here is loaded when it is first used: `import seglib` itself takes no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .experiment import build_model as build_model
    from .losses import bce_loss as bce_loss
    from .losses import boundary_loss as boundary_loss
    from .losses import cross_entropy_loss as cross_entropy_loss
    from .losses import dice_loss as dice_loss
    from .losses import focal_loss as focal_loss
    from .losses import iou_loss as iou_loss
    from .losses import signed_distance as signed_distance
    from .losses import sobel_boundary_loss as sobel_boundary_loss
    from .losses import weighted_sum as weighted_sum
    from .metrics import BinaryMetrics as BinaryMetrics
    from .metrics import ClassMetrics as ClassMetrics
    from .metrics import boundary_iou as boundary_iou
    from .metrics import class_ious as class_ious
    from .metrics import confusion_matrix as confusion_matrix
    from .metrics import dice as dice
    from .metrics import hausdorff as hausdorff
    from .metrics import iou as iou
    from .metrics import mean_iou as mean_iou
    from .metrics import pixel_accuracy as pixel_accuracy
    from .models.unet import UNet as UNet
    from .prediction import load_model as load_model
    from .training import evaluate as evaluate
    from .training import fit as fit
    from .training import predict as predict

__version__ = "0.1.0"

_PLACES = {
    "models.unet": ("UNet",),
    "training": ("fit", "evaluate", "predict"),
    "losses": (
        *("weighted_sum", "bce_loss", "cross_entropy_loss", "focal_loss", "dice_loss", "iou_loss"),
        *("sobel_boundary_loss", "boundary_loss", "signed_distance"),
    ),
    "metrics": (
        *("iou", "dice", "pixel_accuracy", "boundary_iou", "hausdorff", "mean_iou", "confusion_matrix", "class_ious"),
        *("BinaryMetrics", "ClassMetrics"),
    ),
    "experiment": ("build_model",),
    "prediction": ("load_model",),
}
_MODULES = {name: module for module, names in _PLACES.items() for name in names}
__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'seglib' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
