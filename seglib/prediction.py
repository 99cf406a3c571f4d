"""Trained networks in use: `load_model`, and masks for image files, what `python -m seglib predict` does."""

from __future__ import annotations

import copy
import errno
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import weights
from .data.images import DataError, only_one, pictures_in, plain_name, read_arrays, read_photograph
from .experiment import make_model
from .files import shipped, user_path, write_mask
from .reports import find_report
from .reports.keys import Data, Row
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


def _is_npz(path: Path) -> bool:
    return path.suffix.lower() == ".npz"


def _seen_at(row: Row, path: Path) -> Data:
    """The row's data at the size that the network of a weights file is used at."""
    size = weights.metadata(path).get("size", str(row.data.resize))
    try:
        return row.data.seen_at(size)
    except ValueError:
        raise weights.WeightsError(
            f"{path}: expected a size such as {row.data.resize} in its head, got {size!r}"
        ) from None


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

    A photograph is turned as its orientation tag says, and its mask has the size that it has then; so must its hint.

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
            masks that are no class labels; a mask or submission that would replace an input, a hint or weights.
        KeyboardInterrupt: says what is done and what is not.
    """
    paths, out = [user_path(path) for path in images], user_path(out)
    hints, submission = (None if path is None else user_path(path) for path in (hints, submission))
    report = find_report(row.report)
    if submission and row.data.OUTPUTS == 1:
        raise ValueError(f"a submission holds class labels; {row.report} has masks")
    if report.takes_hints != (hints is not None):
        wanted = "a folder of hints (--hints)" if report.takes_hints else "no hints"
        raise ValueError(f"{row.report} takes {wanted}, got {'none' if hints is None else hints}")
    if hints is not None and not hints.is_dir():
        raise ValueError(f"expected a folder of hints, got {hints}")
    network = make_model(row)  # before the weights are looked for: a classical baseline has neither
    files = [user_path(path) for path in weight_files or shipped_weights(row.report, row.name)]
    models = _loaded(network, files)
    seen = [_seen_at(row, path) for path in files]
    drawn = {} if hints is None else pictures_in(hints)
    kept = _kept(paths, out, files, drawn, hints, submission)
    failed: list[str] = []
    written: dict[str, Path] = {}
    labelled: list[np.ndarray] = []
    for number, path in enumerate(paths):
        try:
            for stem, image in read_images(path, row.data.channels, report.pictures):
                name = plain_name(stem)
                if name in written:
                    raise ValueError(f"its mask would replace that of {written[name]}")
                written[name] = path
                target = out / f"{stem}.png"
                kept.check([target])
                if kept.beside and target.exists():
                    raise ValueError(f"{target} is there already, beside the images; write to another folder")
                hint = None if hints is None else report.read_hint(hint_for(stem, drawn, hints))
                if hint is not None and hint.shape == image.shape[1::-1] != image.shape[:2]:
                    raise ValueError(
                        f"expected a hint of the image's size {image.shape[:2]}, got {hint.shape}; the image is seen "
                        "upright, as its orientation tag says, and so must its hint be"
                    )
                found = [report.probability([model], image, data, hint) for model, data in zip(models, seen)]
                mask = decide(np.mean(found, axis=0))
                write_mask(target, mask)
                if submission:
                    labelled.append(mask)
        except (ValueError, RuntimeError, MemoryError, OSError, cv2.error) as error:
            if isinstance(error, OSError) and error.errno not in (errno.ENAMETOOLONG, errno.EISDIR):
                raise  # such as a full disk, which is so for all
            failed.append(str(path))
            print(f"{path}: {str(error).removeprefix(f'{path}: ')}; skipped", file=sys.stderr)
        except KeyboardInterrupt:
            left = [str(one) for one in paths[number:]]
            raise KeyboardInterrupt(
                f"interrupted; {number - len(failed)} of {len(paths)} inputs are done, their masks in {out}; not done: "
                f"{', '.join(failed + left)}" + (f"; {submission} is not written" if submission else "")
            ) from None
    if submission and failed:
        print(f"{submission}: not written, for {len(failed)} of its pictures are missing", file=sys.stderr)
    elif submission:
        report.write_submission(submission, labelled)
    return failed


def decide(probability: np.ndarray) -> np.ndarray:
    """The mask, bool (H, W), of foreground probabilities (H, W); or of class probabilities (classes, H, W) the most
    likely labels, uint8 (H, W)."""
    return probability >= 0.5 if probability.ndim == 2 else probability.argmax(0).astype(np.uint8)


def _kept(
    paths: Sequence[Path],
    out: Path,
    files: Sequence[Path],
    drawn: Mapping[str, list[Path]],
    hints: Path | None,
    submission: Path | None,
) -> Kept:
    """What predicting must not write over. Raises ValueError where it would, as far as that can be told beforehand."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"expected a folder for the masks, got the file {out}; give another with --out")
    kept = Kept([*paths, *files, *(path for same in drawn.values() for path in same)])
    kept.beside = out.is_dir() and any(path.parent.is_dir() and out.samefile(path.parent) for path in paths)
    targets = [out / f"{path.stem}.png" for path in paths if not _is_npz(path)]
    kept.check(targets)
    if submission is not None:
        kept.check([submission])
        if submission.is_dir() or submission.absolute() in [target.absolute() for target in targets]:
            raise ValueError(f"expected a file of its own for the submission, got {submission}, a folder or a mask")
    if hints is not None and out.is_dir() and out.samefile(hints):
        raise ValueError(f"masks in {out} would be taken for hints the next time; give another folder with --out")
    return kept


class Kept:
    """Files that nothing may be written over, by whatever name or link they are reached.

    Attributes:
        beside: masks go where images are, and where other files of the user's may have their names.
    """

    def __init__(self, paths: Iterable[Path]):
        self.beside = False
        self.files = {identity: path for path in paths if (identity := self._identity(path))}

    @staticmethod
    def _identity(path: Path) -> tuple[int, int] | None:
        try:
            found = path.stat()
        except (OSError, ValueError):  # there is none
            return None
        return found.st_dev, found.st_ino

    def check(self, targets: Iterable[Path]) -> None:
        """Raises ValueError, naming both, where one of the targets is one of the files."""
        for target in targets:
            identity = self._identity(target)
            if identity is not None and (file := self.files.get(identity)):
                raise ValueError(
                    f"{target} would replace {file}, which is an input, a hint or weights; write to another place"
                )


def hint_for(stem: str, drawn: Mapping[str, list[Path]], folder: Path) -> Path:
    """The file among those of a folder (see `pictures_in`) that is the hint for an image with this stem.

    Raises:
        DataError: there is none or more than one.
    """
    found = drawn.get(plain_name(stem), [])
    if not found:
        raise DataError(f"no hint {stem}.png in {folder}")
    return only_one(found, "hint")


def read_images(
    path: Path, channels: int, pictures: Callable[[Mapping[str, np.ndarray]], np.ndarray]
) -> Iterator[tuple[str, np.ndarray]]:
    """The images of a file as (stem, 8-bit array): one of a picture, (H, W) grey or (H, W, 3) RGB; many of an npz, of
    whose arrays `pictures` says which they are.

    Raises:
        ValueError: it cannot be read, or the arrays are no pictures, or none.
    """
    if not _is_npz(path):
        yield path.stem, read_photograph(path, grey=channels == 1)
        return
    arrays = read_arrays(path)
    if not arrays:
        raise ValueError("expected an array of images, got none")
    stack = pictures(arrays)
    colours = channels > 1
    shaped = stack.ndim == 4 and stack.shape[3] == 3 if colours else stack.ndim == 3 and stack.shape[2] > 4
    if stack.dtype != np.uint8 or not shaped or 0 in stack.shape[1:]:
        raise ValueError(
            f"expected uint8 images (N, H, W{', 3' if colours else ''}), got {stack.dtype} {stack.shape}; store them "
            f"so, with values from 0 to 255, under the name images"
        )
    if not len(stack):
        raise ValueError(f"holds no picture: its array of images is {stack.shape}")
    yield from ((f"{path.stem}_{i:05d}", image) for i, image in enumerate(stack))
