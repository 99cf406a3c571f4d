"""Trained networks in use: `load_model`, and masks for image files, what `python -m seglib predict` does."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import weights
from .data.images import read_arrays, read_photograph
from .experiment import make_model
from .files import shipped, write_mask
from .reports import find_report
from .reports.keys import Row
from .rows import load_row


def load_model(report: str, row: str, fold: int | None = None) -> nn.Module:
    """The network of a row with the weights that come with the course, in evaluation mode.

    Args:
        report, row: such as "scribbles", "ours".
        fold: of a row with folds, the network of this one, from 0. None: the networks of all, as an `Ensemble`.

    Raises:
        ConfigError: no such report or row, or a classical baseline.
        WeightsError: no weights come with the course for the row, or none for that fold.
    """
    network = make_model(load_row(report, row))
    files = shipped_weights(report, row)
    if fold is not None:
        ending = f".fold{fold}.safetensors"
        chosen = [path for path in files if path.name.endswith(ending)]
        if not chosen:
            raise weights.WeightsError(
                f"{report}, row {row!r}: expected a fold with weights, got {fold}; there are "
                f"{', '.join(path.name for path in files)}"
            )
        files = chosen
    networks = _loaded(network, files)
    return (networks[0] if len(networks) == 1 else Ensemble(networks)).eval()


def shipped_weights(report: str, row: str) -> list[Path]:
    """The weights that come with the course for a row: one file, or one a fold.

    Raises:
        WeightsError: there are none.
    """
    folder = shipped("weights") / report
    files = [folder / f"{row}.safetensors"] if (folder / f"{row}.safetensors").is_file() else []
    files = files or sorted(folder.glob(f"{row}.fold*.safetensors"))
    if not files:
        raise weights.WeightsError(
            f"no weights for row {row!r} of {report!r} come with the course; "
            f"train them with `python -m seglib run {report} {row}` and name the file with --weights"
        )
    return files


def _loaded(network: nn.Module, files: Sequence[str | Path]) -> list[nn.Module]:
    """A copy of a network for each of the weights files, with its weights."""
    networks = []
    for path in files:
        networks.append(copy.deepcopy(network))
        weights.load(networks[-1], path)
    return networks


class Ensemble(nn.Module):
    """Several networks as one: the mean of their probabilities, as logits.

    (N, in_channels, H, W) → (N, 1, H, W), the logit of the mean; of classes (N, C, H, W), its logarithm.
    """

    def __init__(self, networks: Sequence[nn.Module]):
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, image: Tensor) -> Tensor:
        logits = torch.stack([network(image) for network in self.networks])
        if logits.shape[2] == 1:  # log of the mean of σ(z), and of 1 − σ(z) = σ(−z), whose share of 1/n cancels
            return F.logsigmoid(logits).logsumexp(0) - F.logsigmoid(-logits).logsumexp(0)
        return logits.log_softmax(2).logsumexp(0) - np.log(len(logits))


def predict_files(
    row: Row,
    images: Sequence[str | Path],
    out: str | Path,
    weight_files: Sequence[str | Path] | None = None,
    hints: str | Path | None = None,
    submission: str | Path | None = None,
) -> list[str]:
    """Writes a mask for each image, STEM.png of the image's own size, 0 and 255 or class labels, into the folder `out`.

    Several weights files are an ensemble: their probabilities are averaged. The arrays of an npz file become
    STEM_00000.png and so on. An input that cannot be read is named on stderr and left out; the others are done.

    Args:
        hints: for a report whose networks start from what a user drew: the folder with a picture for each image, under
            the same stem and of the same size, as the report's `read_hint` reads it.
        submission: for class labels: a file that gets them all in one, see the report's `write_submission`; not
            written where an input failed.

    Returns:
        The inputs that failed.

    Raises:
        WeightsError: before anything is written: weights that are missing or belong to another network.
        ValueError: likewise: hints where there is no use for them, or none where they are needed; a submission of
            masks that are no class labels.
    """
    report = find_report(row.report)
    if submission and row.data.OUTPUTS == 1:
        raise ValueError(f"a submission holds class labels; {row.report} has masks")
    if report.takes_hints != (hints is not None):
        wanted = "a folder of hints (--hints)" if report.takes_hints else "no hints"
        raise ValueError(f"{row.report} takes {wanted}, got {'none' if hints is None else hints}")
    if hints is not None and not Path(hints).is_dir():
        raise ValueError(f"expected a folder of hints, got {hints}")
    network = make_model(row)  # before the weights are looked for: a classical baseline has neither
    files = weight_files or shipped_weights(row.report, row.name)
    models = _loaded(network, files)
    seen = [row.data.seen_at(weights.metadata(path).get("size", str(row.data.resize))) for path in files]
    failed: list[str] = []
    written: dict[str, Path] = {}
    labelled: list[np.ndarray] = []
    for path in map(Path, images):
        try:
            for stem, image in read_images(path, row.data.channels, report.pictures):
                if stem in written:
                    raise ValueError(f"its mask would replace that of {written[stem]}")
                written[stem] = path
                hint = None if hints is None else read_hint(Path(hints), stem, report.read_hint)
                found = [report.probability([model], image, data, hint) for model, data in zip(models, seen)]
                mask = decide(np.mean(found, axis=0))
                write_mask(Path(out) / f"{stem}.png", mask)
                if submission:
                    labelled.append(mask)
        except (ValueError, RuntimeError, MemoryError, cv2.error) as error:
            failed.append(str(path))
            print(f"{path}: {str(error).removeprefix(f'{path}: ')}; skipped", file=sys.stderr)
    if submission and failed:
        print(f"{submission}: not written, for {len(failed)} of its pictures are missing", file=sys.stderr)
    elif submission:
        report.write_submission(submission, labelled)
    return failed


def decide(probability: np.ndarray) -> np.ndarray:
    """The mask, bool (H, W), of foreground probabilities (H, W); or of class probabilities (classes, H, W) the most
    likely labels, uint8 (H, W)."""
    return probability >= 0.5 if probability.ndim == 2 else probability.argmax(0).astype(np.uint8)


def read_hint(folder: Path, stem: str, read: Callable[[Path], np.ndarray]) -> np.ndarray:
    """The hint for an image from the file in a folder that has its stem, as `read` gives it: int8 (H, W).

    Raises:
        ValueError: there is none or more than one, or `read` cannot use it.
    """
    candidates = sorted(path for path in folder.iterdir() if path.stem == stem)
    if not candidates:
        raise ValueError(f"no hint {stem}.png in {folder}")
    if len(candidates) > 1:
        raise ValueError(f"expected one hint in {folder}, got {', '.join(path.name for path in candidates)}")
    return read(candidates[0])


def read_images(
    path: Path, channels: int, pictures: Callable[[Mapping[str, np.ndarray]], np.ndarray]
) -> Iterator[tuple[str, np.ndarray]]:
    """The images of a file as (stem, 8-bit array): one of a picture, (H, W) grey or (H, W, 3) RGB; many of an npz, of
    whose arrays `pictures` says which they are.

    Raises:
        ValueError: it cannot be read, or the arrays are no pictures.
    """
    if path.suffix != ".npz":
        yield path.stem, read_photograph(path, grey=channels == 1)
        return
    arrays = read_arrays(path)
    if not arrays:
        raise ValueError("expected an array of images, got none")
    stack = pictures(arrays)
    if stack.dtype != np.uint8 or stack.ndim != (3 if channels == 1 else 4) or 0 in stack.shape[1:]:
        raise ValueError(
            f"expected uint8 images (N, H, W{', C' if channels > 1 else ''}), got {stack.dtype} {stack.shape}"
        )
    yield from ((f"{path.stem}_{i:05d}", image) for i, image in enumerate(stack))
