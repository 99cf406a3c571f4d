"""A data set's items: what is wrong with them, in a sentence and before any work; and what tells one data set from
another."""

from __future__ import annotations

import copy
import hashlib
import math
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset

from .losses import DIVIDE, IGNORE, check_classes, check_mask
from .metrics import BinaryMetrics, ClassMetrics, Metrics

__all__ = [
    "check_batch",
    "check_items",
    "check_targets",
    "described",
    "digest",
    "generators_kept",
    "hashed",
    "mixed_sizes",
    "set_epoch",
    "sizes_of",
]

CHECKED = 4  # items that are looked at from all sides, before a network is trained or measured on a data set
LOOKED_AT = 100  # items whose masks may be those of 0 and 255
HASHED = 12  # items that stand for all in a digest
LABELS = (torch.int64, torch.int32, torch.int16, torch.uint8)  # of int8, 255 would be -1
ALIKE = "resize, crop and turn image and target alike, the target by nearest neighbour"
OF_CLASSES = "for classes, give metrics=partial(ClassMetrics, names)"
OF_ARRAYS = (
    "torch.from_numpy makes a tensor of a NumPy array, np.array an array of a picture; "
    "seglib.data.datasets.SegmentationDataset takes lists of arrays as they are"
)


@contextmanager
def generators_kept(*devices: torch.device) -> Iterator[None]:
    """Python's, NumPy's and PyTorch's random generators, those of `devices` too, are afterwards as they were."""
    before = random.getstate(), np.random.get_state()  # noqa: NPY002 (a data set may draw from it)
    try:
        with torch.random.fork_rng([device for device in devices if device.type == "cuda"]):
            yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002


def mixed_sizes(data: Dataset[Any]) -> bool:
    """Whether the images of a data set differ in size."""
    return len(set(sizes_of(data))) > 1


def check_items(
    data: Dataset[Any], metrics: Metrics | None = None, what: str = "the data", dtype: torch.dtype = torch.float32
) -> None:
    """Raises ValueError where a network cannot be trained or measured on a data set: it says what was expected, what
    came and how to get there.

    It looks at `CHECKED` items, spread over the data set, and at the targets of more where `check_targets` does. Random
    generators are left as they were.

    Args:
        data: its items should be (image, target). An image is a tensor (C, H, W) of finite numbers, on any scale. What
            comes one by one, an IterableDataset, is not looked at.
        metrics: what the targets are for. With `BinaryMetrics` they are floats (1, H, W) from 0 to 1, with
            `ClassMetrics` integers (H, W), numbers of its classes; 255 in either is ignored. Others may want others.
        what: the data set is called.
        dtype: of the images.
    """
    if isinstance(data, IterableDataset):  # whose items can be had only once
        return
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        raise ValueError(
            f"expected {what} to have a length and items by their numbers, got {said(data)}; give a data set with "
            "__len__ and __getitem__, which is batched here"
        )
    count = len(data)
    if count == 0:
        raise ValueError(f"expected at least one item in {what}, got an empty data set")
    sizes = sizes_of(data)
    if len(sizes) not in (0, count) or not all(np.shape(size) == (2,) for size in sizes):
        raise ValueError(
            f"expected in `sizes` the (H, W) of each of the {count} items of {what}, got {len(sizes)}: {_list(sizes)}"
        )
    with generators_kept():
        items = {i: data[i] for i in _spread(count, CHECKED)}
    for i, item in items.items():
        _check_item(item, metrics, f"item {i} of {what}", dtype)
    check_alike([image for image, _ in items.values()], mixed_sizes(data), f"the images of {what}")
    check_targets(data, items)
    for i, (_, target) in items.items():
        _check_values(target, metrics, f"item {i} of {what}")
    highest = max(float(target.max()) for _, target in items.values())
    if isinstance(metrics, BinaryMetrics) and 0 < highest <= 1.001 / IGNORE:
        raise ValueError(
            f"expected masks of 0 and 1 in {what}, got nothing above 1/255 in the items looked at; masks of 0 and 1 "
            "were divided by 255, so multiply them by it"
        )


def check_batch(items: Sequence[Any], padded: bool) -> None:
    """Raises ValueError, as `check_items`, where items cannot be one batch; `padded`: their sizes may differ."""
    for item in items:
        _check_item(item, None, "an item of a batch", None)
    check_alike([image for image, _ in items], padded, "the images of a batch")
    check_alike([target for _, target in items], padded, "the targets of a batch")


def check_alike(pictures: Sequence[Tensor], mixed: bool, what: str) -> None:
    """Raises ValueError where pictures (…, H, W) differ in channels, or unless `mixed` in size."""
    shapes = sorted({tuple(picture.shape) for picture in pictures})
    if len({shape[:-2] for shape in shapes}) > 1:
        raise ValueError(
            f"expected {what} to have one number of channels, got shapes {_list(shapes)}; make all grey or all coloured"
        )
    if len(shapes) > 1 and not mixed:
        raise ValueError(
            f"expected {what} to be of one size, got shapes {_list(shapes)}; resize or crop them, or let the data set "
            "say their sizes in `sizes`, a list of (H, W), as SegmentationDataset does: then batches are padded"
        )


def _check_item(item: Any, metrics: Metrics | None, where: str, dtype: torch.dtype | None) -> None:
    """Raises ValueError where an item is no (image, target) of shapes and types that fit; None: of any."""
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise ValueError(
            f"{where}: expected a pair (image, target), got {said(item)}; let __getitem__ return these two"
        )
    for name, value in zip(("image", "target"), item):
        if not isinstance(value, Tensor):
            raise ValueError(f"{where}: expected {name} as a tensor, got {said(value)}; {OF_ARRAYS}")
    image, target = item
    if image.ndim != 3 or not image.numel():
        how = {2: "; image[None] adds the channel's axis", 4: "; image[0] is the first of several"}.get(image.ndim, "")
        raise ValueError(f"{where}: expected an image (C, H, W) of at least one pixel, got {said(image)}{how}")
    if dtype is not None and image.dtype != dtype:
        how = "image.float()" if dtype == torch.float32 else f"image.to({dtype})"
        how += {torch.uint8: " / 255", torch.bool: ""}.get(
            image.dtype, "" if image.is_floating_point() else " / what white is"
        )
        raise ValueError(
            f"{where}: expected an image of {_type(dtype)}, as the network's weights are, got {_type(image.dtype)}; "
            f"give {how}"
        )
    bad = image.numel() - int(torch.isfinite(image).sum())
    if bad:
        raise ValueError(
            f"{where}: expected an image of finite numbers, got {bad} that are NaN or infinite; leave it out, or mend "
            "what it is made by"
        )
    size, first = tuple(image.shape[1:]), tuple(image.shape[:2])
    if image.shape[2] < image.shape[0] and first in (target.shape[:2], target.shape[-2:]):
        raise ValueError(
            f"{where}: expected an image (C, H, W), got {said(image)} for a target of {tuple(target.shape)}; "
            "image.permute(2, 0, 1) puts the channels first"
        )
    if isinstance(metrics, BinaryMetrics):
        _check_mask(target, size, where)
    elif isinstance(metrics, ClassMetrics):
        _check_labels(target, size, where)
    elif target.ndim > 1 and target.shape[-2:] != size:
        raise ValueError(f"{where}: expected a target of the image's size {size}, got {said(target)}")


def _check_mask(target: Tensor, size: tuple[int, int], where: str) -> None:
    """Raises ValueError where a binary mask has another shape or type."""
    shape, integers = tuple(target.shape), not target.is_floating_point()
    if shape == (1, *size):
        return
    how = ALIKE
    if shape == size:
        how = f"target[None].float(), or {OF_CLASSES}" if integers else "target[None] adds the channel's axis"
    elif shape[:2] == size:
        how = "target[None, ..., 0] is its first channel"
    elif shape[1:] == size:
        how = f"target[:1] is its first channel, target.argmax(0) its labels, where each is a class: {OF_CLASSES}"
    raise ValueError(f"{where}: expected a mask float32 {(1, *size)}, as its image is, got {said(target)}; {how}")


def _check_labels(target: Tensor, size: tuple[int, int], where: str) -> None:
    """Raises ValueError where labels of classes have another shape or type."""
    shape = tuple(target.shape)
    if shape == size and target.dtype in LABELS:
        return
    how = "target.long()" if shape == size else ALIKE
    if shape == (1, *size):
        how = "target[0].long()"
    elif shape[1:] == size:
        how = "target.argmax(0), where each channel is a class"
    raise ValueError(f"{where}: expected labels int64 {size}, as its image is, got {said(target)}; {how}")


def _check_values(target: Tensor, metrics: Metrics | None, where: str) -> None:
    """Raises ValueError where a mask's values are no probabilities, or a label is no class."""
    try:
        if isinstance(metrics, BinaryMetrics):
            if not target.is_floating_point():
                raise ValueError(f"expected a mask of float32, got {_type(target.dtype)}; give target.float()")
            check_mask(torch.where(target == IGNORE, 0, target))
        elif isinstance(metrics, ClassMetrics):
            check_classes(torch.where(target == IGNORE, 0, target), metrics.classes)
    except ValueError as error:
        how = f"; number the {metrics.classes} classes from 0" if isinstance(metrics, ClassMetrics) else ""
        raise ValueError(f"{where}: {error}{how}") from None


def check_targets(data: Dataset[Any], known: Mapping[int, Any] | None = None) -> None:
    """Raises ValueError where masks are of 0 and 255, which is ignored, without a 1: they were to be divided by 255.

    It looks at no more than `LOOKED_AT` items, spread over the data set, and stops at the first that holds anything
    else: usually the first of all. Random generators are left as they were.

    Args:
        known: items that are at hand, by their numbers.
    """
    if isinstance(data, IterableDataset):  # whose items can be had only once
        return
    holds = {0: False, IGNORE: False}
    count = len(data)  # type: ignore[arg-type]  # not all data sets have a length, but those that have an order do
    looked_at = range(0, count, math.ceil(count / LOOKED_AT) or 1)
    known = known or {}
    with generators_kept():
        for index in looked_at:
            target = torch.as_tensor((known[index] if index in known else data[index])[1])
            if target.ndim != 3 or ((target > 0) & (target < IGNORE)).any():  # of classes, or with an object
                return
            for value in holds:
                holds[value] = holds[value] or bool((target == value).any())
    if all(holds.values()):
        raise ValueError(
            f"expected target values 0 and 1, or {IGNORE} where it is ignored, got only 0 and {IGNORE} in the "
            f"{len(looked_at)} targets looked at; {DIVIDE}"
        )


def digest(data: Dataset[Any]) -> str:
    """What tells the content of a data set from another's: 32 hexadecimal digits, the same on every machine and in
    every epoch.

    A data set may have a `digest()` of its own. Of others it is that of the tensors, arrays and names that they hold,
    in lists or other data sets too (of names of files also the size), however they are augmented. Of one that holds
    none it is that of at most `HASHED` items, spread over the data set, as they are in its first epoch and under fixed
    seeds of Python's, NumPy's and PyTorch's generators, which are left as they were; where an item differs all the same
    when it is asked for again, shapes and types have to do. Nothing is known of an IterableDataset that holds nothing.
    """
    if hasattr(data, "digest"):
        return data.digest()
    if isinstance(data, Subset):
        return hashed([digest(data.dataset), list(map(int, data.indices))])
    items: list[Any] = list(data) if isinstance(data, (list, tuple)) else []
    held = list(_held([getattr(data, "__dict__", {}), items]))
    # A word alone says too little, such as which part of a set it is.
    if len(held) > 1 or not all(isinstance(one, str) for one in held) or isinstance(data, IterableDataset):
        return hashed(held)
    if hasattr(data, "set_epoch"):
        first: Any = copy.copy(data)  # the caller's own stays in its epoch
        first.set_epoch(0)
        data = first
    count = len(data)  # type: ignore[arg-type]
    with generators_kept():
        seen, again = ([_look(data, i) for i in _spread(count, HASHED)] for _ in range(2))
    # What can be told of the items in all detail, or in less.
    kinds = zip(zip(*seen), zip(*again))
    return next((hashed(one) for one, other in kinds if one == other), hashed([]))


def _held(value: Any, depth: int = 5) -> Iterator[Any]:
    """The tensors, arrays, names and data sets in a value, as `hashed` takes them."""
    if isinstance(value, (str, Path)):
        try:
            size = Path(value).stat().st_size
        except (OSError, ValueError):
            size = None
        yield f"{Path(value).name} {size}"  # without its folder, which may have been moved
    elif isinstance(value, Tensor) or (isinstance(value, np.ndarray) and value.dtype.kind != "O"):
        yield value
    elif isinstance(value, Dataset):
        yield digest(value)
    elif depth and isinstance(value, (list, tuple, np.ndarray, Mapping)):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _held(part, depth - 1)


def described(value: object) -> str:
    """An object as it describes itself, without where in memory it lies."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def set_epoch(data: Any, epoch: int) -> None:
    """Tells a data set or a loss, or the data sets within a Subset or ConcatDataset, which epoch it is, from 0."""
    if hasattr(data, "set_epoch"):
        data.set_epoch(epoch)
        return
    for part in _within(data):
        set_epoch(part, epoch)


def sizes_of(data: Dataset[Any]) -> list[tuple[int, int]]:
    """The (H, W) that a data set says its images have in `sizes`, or those within a Subset or ConcatDataset; none: it
    says nothing."""
    sizes = getattr(data, "sizes", None)
    if sizes is not None:
        return [tuple(np.atleast_1d(size).tolist()) for size in sizes] if np.iterable(sizes) else _no_sizes(sizes)
    inner = [sizes_of(part) for part in _within(data)]
    if isinstance(data, Subset) and inner[0]:
        return [inner[0][i] for i in data.indices]
    return list(chain.from_iterable(inner)) if isinstance(data, ConcatDataset) and all(inner) else []


def _no_sizes(sizes: object) -> NoReturn:
    raise ValueError(f"expected `sizes` of a data set to be a list of (H, W), got {said(sizes)}; give a list, or none")


def _within(data: Any) -> list[Any]:
    if isinstance(data, Subset):
        return [data.dataset]
    return list(data.datasets) if isinstance(data, ConcatDataset) else []


def _spread(count: int, most: int) -> list[int]:
    """At most so many of the numbers below `count`, the first and the last among them."""
    return list(dict.fromkeys(np.linspace(0, count - 1, most).round().astype(int).tolist()))


def _look(data: Dataset[Any], index: int) -> tuple[str, str]:
    """An item under fixed seeds: what it holds, and its shapes and types alone."""
    random.seed(index)
    np.random.seed(index)  # noqa: NPY002 (a data set may draw from it)
    torch.default_generator.manual_seed(index)
    tensors = [torch.as_tensor(value).cpu() for value in data[index]]
    return hashed(tensors), str([(tensor.dtype, tuple(tensor.shape)) for tensor in tensors])


def hashed(*parts: Iterable[Any]) -> str:
    """A digest of sequences of arrays, tensors and words: 32 hexadecimal digits, which change with their order, shapes,
    types and content."""
    total = hashlib.blake2b(digest_size=16)
    for part in parts:
        total.update(b"part")
        for value in part:
            if isinstance(value, Tensor):
                value = (
                    value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy(),
                    value.dtype,
                    tuple(value.shape),
                )
            elif isinstance(value, np.ndarray):
                value = np.ascontiguousarray(value).reshape(-1).view(np.uint8), value.dtype.str, value.shape
            else:
                value = np.frombuffer(str(value).encode(), np.uint8), "", ()
            content, *about = value
            total.update(f"{about} {len(content)}:".encode())
            total.update(content)
    return total.hexdigest()


def said(value: Any) -> str:
    """What something is, in words."""
    if isinstance(value, Tensor):
        return f"a tensor {_type(value.dtype)} {tuple(value.shape)}"
    if isinstance(value, np.ndarray):
        return f"a NumPy array {value.dtype} {value.shape}"
    if isinstance(value, dict):
        return f"a dict with {_list(map(repr, value))}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return "a PIL image" if type(value).__module__.startswith("PIL.") else f"a {type(value).__name__}"


def _list(values: Iterable[Any]) -> str:
    """A few of several values."""
    few = list(map(str, values))
    return ", ".join(few[:4]) + (" …" if len(few) > 4 else "")


def _type(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
