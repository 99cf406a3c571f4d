"""Networks for other programs: ONNX."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

import torch
from torch import nn

from .files import write_whole


def to_onnx(model: nn.Module, in_channels: int, path: str | Path) -> Path:
    """Writes a network as an ONNX file, whole or not at all: input `image` (N, in_channels, H, W), output `logits`.

    N, H and W are free: the file takes images of any size, as the network does. It is exported from the processor, in
    float32 and evaluation mode, and needs the packages onnx and onnxscript.
    """
    free = torch.export.Dim.DYNAMIC
    example = torch.zeros(2, in_channels, 75, 101)  # sizes of 0 and 1 would be taken for constants
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # the exporter reports its progress
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model.cpu().float().eval(),
            (example,),
            dynamo=True,
            dynamic_shapes=({0: free, 2: free, 3: free},),
            input_names=["image"],
            output_names=["logits"],
        )
    content = program.model_proto.SerializeToString()
    return write_whole(path, lambda file: file.write(content), "ONNX file")
