"""How long NeuralSegmentello's networks take for one photograph of 640×480 pixels: PyTorch, the same in bfloat16, and
onnxruntime.

    python -m benchmarks.refinement_latency

All take turns in one process; what is timed is `refine`: from photograph and hint to probabilities, preparation
included. Writes results/refinement_latency.json.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import skimage.data
import torch
from torch import nn

from seglib import experiment, results
from seglib.export import to_onnx
from seglib.files import root
from seglib.reports.neural_segmentello.refinement import refine
from seglib.rows import load_row

ROWS = (
    "tiny16-32_bce-dice",
    "tiny16-128_bce-dice",
    "res32-256_bce-dice-bound",
    "attn32-256_bce-dice-bound",
    "own-size",
)
ROUNDS = 15


class Onnx(nn.Module):
    """A network that onnxruntime runs."""

    def __init__(self, path: Path):
        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.placeholder = nn.Parameter(torch.zeros(1))  # `predict` asks a network where it is

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.session.run(None, {"image": image.numpy()})[0])


def main() -> None:
    image = np.ascontiguousarray(skimage.data.coffee()[:400, :600])
    image = np.pad(image, ((0, 80), (0, 40), (0, 0)), mode="reflect")
    hint = np.zeros(image.shape[:2], np.int8)
    hint[120:260, 250:380] = 1
    networks, equal, parameters = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ROWS:
            torch.manual_seed(0)
            row = load_row("neural_segmentello", name, "full")  # at the photograph's own size
            model = experiment.make_model(row).eval()
            exported = Onnx(to_onnx(model, row.model.in_channels, Path(folder) / f"{name}.onnx"))
            model = model.to(memory_format=torch.channels_last)
            networks[name] = (row.data, {"torch": model, "torch, bf16": model, "onnxruntime": exported})
            parameters[name] = experiment.count_parameters(model)
            answers = [refine([one], image, hint, row.data) for one in (model, exported)]
            equal[name] = float(np.abs(answers[0] - answers[1]).max())
        times = {name: {kind: [] for kind in kinds} for name, (_, kinds) in networks.items()}
        for _ in range(ROUNDS):
            for name, (config, kinds) in networks.items():
                for kind, model in kinds.items():
                    start = time.perf_counter()
                    with torch.autocast("cpu", torch.bfloat16, enabled="bf16" in kind):
                        refine([model], image, hint, config)
                    times[name][kind].append(1000 * (time.perf_counter() - start))
    rows = {
        name: {
            "parameters": parameters[name],
            "milliseconds": {kind: round(statistics.median(values), 1) for kind, values in kinds.items()},
            "quartiles": {
                kind: np.round(np.percentile(values, (25, 75)), 1).tolist() for kind, values in kinds.items()
            },
            "largest_difference": equal[name],
        }
        for name, kinds in times.items()
    }
    for name, row in rows.items():
        print(f"{name:28}{row['parameters']:10,}  {row['milliseconds']}  differ by {row['largest_difference']:.1e}")
    record = {
        "command": "python -m benchmarks.refinement_latency",
        "rows": rows,
        "rounds": ROUNDS,
        "run": results.describe_run(
            seconds=sum(map(sum, (v for k in times.values() for v in k.values()))) / 1000, precision="float32"
        ),
    }
    results.write(root() / "results" / "refinement_latency.json", record)


if __name__ == "__main__":
    main()
