"""Weights of networks as safetensors files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import nn

from .files import write_whole

__all__ = ["WeightsError", "load", "metadata", "save"]


class WeightsError(ValueError):
    """A weights file that cannot be used; the message says why."""


def save(model: nn.Module, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Writes a model's weights, whole or not at all, with a few words about them."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_whole(path, lambda file: file.write(to_bytes(tensors, dict(metadata or {}))), "weights")


def load(model: nn.Module, path: str | Path) -> None:
    """Puts the weights of a file into `model`; half-precision ones are widened.

    Raises:
        WeightsError: no such file, not a safetensors file, or the weights of another network.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise _not_weights(path, error) from None
    expected = model.state_dict()
    for name in expected.keys() | tensors.keys():
        if name not in tensors or name not in expected or tensors[name].shape != expected[name].shape:
            wanted, found = (tuple(t[name].shape) if name in t else "nothing" for t in (expected, tensors))
            raise WeightsError(
                f"{path} holds the weights of another network: {name} should be {wanted}, the file has {found}"
            )
    model.load_state_dict({name: tensor.to(expected[name].dtype) for name, tensor in tensors.items()})


def metadata(path: str | Path) -> dict[str, str]:
    """The words that `save` put into a file: report, row, scale and so on.

    Raises:
        WeightsError: no such file, or not a safetensors file.
    """
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise _not_weights(path, error) from None


def _not_weights(path: str | Path, error: Exception) -> WeightsError:
    return WeightsError(f"{path}: expected a safetensors file of weights: {error}")
