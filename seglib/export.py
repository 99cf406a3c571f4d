"""Networks for other programs: ONNX."""

from __future__ import annotations

import contextlib
import copy
import io
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .extras import need
from .files import write_whole

__all__ = ["to_onnx"]


def to_onnx(model: nn.Module, in_channels: int, path: str | Path) -> Path:
    """Writes a network as an ONNX file, whole or not at all: input `image` (N, in_channels, H, W), output `logits`.

    N, H and W are free: the file takes images of any size, as the network does. What is exported is a copy, on the
    processor, in float32 and evaluation mode: the model stays as it is.

    Raises:
        ModuleNotFoundError: without the packages onnx or onnxscript; the message says how to install them.
        RuntimeError: with PyTorch before 2.7, whose exporter fails on some of the course's networks.
        OSError: the file cannot be written.
    """
    need("onnx")
    if torch.__version__ < "2.7":
        raise RuntimeError(f"ONNX files are written from PyTorch 2.7 on, and this is {torch.__version__}")
    free = torch.export.Dim.DYNAMIC
    example = torch.zeros(2, in_channels, 75, 101)  # sizes of 0 and 1 would be taken for constants
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # the exporter reports its progress
        warnings.simplefilter("ignore")
        program: Any = torch.onnx.export(
            copy.deepcopy(model).cpu().float().eval(),
            (example,),
            dynamo=True,
            dynamic_shapes=({0: free, 2: free, 3: free},),
            input_names=["image"],
            output_names=["logits"],
        )
    content = program.model_proto.SerializeToString()
    return write_whole(path, lambda file: file.write(content), "ONNX file")
