"""Annotation files in COCO's format for instances: what is read of them is right, or a sentence says what is not."""

from __future__ import annotations

import gc
import json
import math
import re
import reprlib
import unicodedata
import warnings
from collections.abc import Callable
from pathlib import Path, PureWindowsPath

import numpy as np

from ..files import user_path
from .images import DataError, DataWarning

EXPORT = "export the labels in COCO's format for instances (COCO's own captions and image_info have no outlines)"
MOST_PIXELS = 2**29  # of a photograph: run lengths that differ by more do not fit into COCO's compressed form
NUMBERS = frozenset((int, float))  # JSON's, and no bool, which Python counts among them
LARGEST = 1e300  # of an area or a box, whose sums are finite too


def _whole(value: object) -> bool:
    return type(value) is int


def _text(value: object) -> bool:
    return type(value) is str


def _side(value: object) -> bool:
    return type(value) is int and value > 0


# What is read of an annotation file, and so must be in it, as (test, what is expected, remedy).
Keys = dict[str, tuple[Callable[[object], bool], str, str]]
BARE = "write the id of its {}, without quotation marks or a decimal point"
ID = (_whole, "a whole number", "give each a number of its own")
KEYS: dict[str, Keys] = {
    "licenses": {"id": ID},
    "images": {
        "id": ID,
        "file_name": (_text, "text", "write where the photograph is below the folder of images"),
        "width": (_side, "a whole number above 0", "write the photograph's width in pixels"),
        "height": (_side, "a whole number above 0", "write the photograph's height in pixels"),
    },
    "categories": {"id": ID, "name": (_text, "text", "write what the category is called")},
    "annotations": {
        "id": ID,
        "image_id": (_whole, "a whole number", BARE.format("image")),
        "category_id": (_whole, "a whole number", BARE.format("category")),
        "iscrowd": (
            lambda value: type(value) is int and 0 <= value <= 1,
            "0 or 1",
            'write "iscrowd": 0 for a single object, 1 for a crowd',
        ),
        "area": (
            lambda value: type(value) in NUMBERS and 0 <= value <= LARGEST,
            "a number of at least 0",
            "write the object's number of pixels",
        ),
        "bbox": (
            lambda value: type(value) is list and len(value) == 4 and _numbers(value, -LARGEST, LARGEST),
            "four numbers",
            "write its box in pixels, [left, top, width, height]",
        ),
        "segmentation": (
            lambda value: type(value) in (list, dict) and len(value) > 0,
            "polygons or run lengths",
            "bounding boxes alone have no outline, so export the objects' polygons or masks",
        ),
    },
}


def read_instances(path: str | Path, *, strict: bool = True) -> dict:
    """An annotation file in COCO's format for instances, in UTF-8, -16 or -32; everything that is read of it is right.

    Args:
        strict: whether an annotation that cannot be used is an error. If not, such are counted, the first are named,
            and all are left out with a warning.

    Returns:
        `info`; `licenses`, `images`, `annotations` and `categories`, the last three not empty, each sorted by id, with
        entries as they are in the file; and `left_out`, the number of annotations that are not there.

    Raises:
        DataError: no such file, or another format; an entry that lacks something or has an id of another; a photograph
            outside the folder; an annotation without an outline in its photograph.
    """
    path = user_path(path)
    data = _parse(path)
    # Licences and info are no part of what a loader needs, and labelling tools leave them out.
    data = {"info": data.get("info") or {}} | {part: data.get(part) for part in KEYS}
    data["licenses"] = data["licenses"] or []
    for part, kind, expected in (("info", dict, "an object"), ("licenses", list, "a list")):
        if type(data[part]) is not kind:
            raise DataError(f"{path}: expected {part} to be {expected}, got {shortened(data[part])}; leave it out")

    def check_image(image: dict) -> None:
        if _leads_out(image["file_name"]):
            raise DataError(
                f"expected file_name to be inside the folder of images, got {shortened(image['file_name'])}; write it "
                "relative to that folder"
            )
        if image["width"] * image["height"] > MOST_PIXELS:
            size = f"{shortened(image['width'])}×{shortened(image['height'])}"
            raise DataError(f"expected at most {MOST_PIXELS} pixels, got {size}; cut the photograph into parts")

    def check_annotation(annotation: dict) -> None:
        for part, key, known in (("images", "image_id", sizes), ("categories", "category_id", categories)):
            if annotation[key] not in known:
                raise DataError(
                    f"expected {key} to be an id of {part}, got {shortened(annotation[key])}; add that entry or remove "
                    "the annotation"
                )
        check_outline(annotation["segmentation"], *sizes[annotation["image_id"]])

    for part in ("images", "annotations", "categories"):
        if type(data[part]) is not list or not data[part]:
            got = "none" if data[part] is None else shortened(data[part])
            raise DataError(f"{path}: expected a list of {part} that is not empty, got {got}; {EXPORT}")
    data["licenses"], _ = _usable(path, "licenses", data["licenses"])
    data["images"], _ = _usable(path, "images", data["images"], check_image)
    data["categories"], _ = _usable(path, "categories", data["categories"])
    sizes = {image["id"]: (image["height"], image["width"]) for image in data["images"]}
    categories = {category["id"] for category in data["categories"]}
    data["annotations"], left_out = _usable(path, "annotations", data["annotations"], check_annotation, strict)
    return data | {"left_out": left_out}


def find_photograph(folder: Path, name: str) -> Path | None:
    """The file of that name, None if there is none; macOS writes ä as a and two dots, others as one sign."""
    forms = dict.fromkeys([name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))])
    try:
        return next((path for path in (folder / form for form in forms) if path.is_file()), None)
    except OSError:  # longer than a name can be
        return None


def _parse(path: Path) -> dict:
    """The object in a JSON file."""
    if not path.is_file():
        raise DataError(f"no annotation file {path}")
    data, collects = None, gc.isenabled()
    gc.disable()  # it would look for garbage among millions of new lists, for a third of the time
    try:
        content = path.read_bytes()
        if not content:
            raise ValueError("the file is empty")
        text = content.decode(json.detect_encoding(content))
        # A function in Python takes time, so only where a number may be too large. One letter a search is faster.
        large = any(re.search(letter + r"\+?[0-9]{3,}[\s,\]}]", text) for letter in "eE")
        data = json.loads(text, parse_constant=_finite, parse_float=_finite if large else float)
        fault = f"expected an object with images, annotations and categories, got {shortened(data)}; {EXPORT}"
    except UnicodeDecodeError as error:  # whose repr is the whole file
        place = error.start + len(content) - len(error.object)  # which lacks the mark at the beginning, if there is one
        fault = (
            f"expected JSON, but byte {content[place]:#04x} at position {place} is not {error.encoding}; save it as "
            "UTF-8"
        )
    except (OSError, ValueError, RecursionError) as error:
        fault = f"expected JSON, but it cannot be read: {error!s:.160}; export it again"
    finally:
        if collects:
            gc.enable()
    if type(data) is not dict:
        raise DataError(f"{path}: {fault}")
    if "shapes" in data and "imagePath" in data:
        raise DataError(
            f"{path}: expected COCO's format for instances, got labelme's; convert the folder to COCO's, for instance "
            "with the package labelme2coco"
        )
    return data


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text:.20} is no finite number")
    return number


def _leads_out(name: str) -> bool:
    # Windows's rules know "/" and "\", drives and shares; a set made on one system is often reduced on another.
    path = PureWindowsPath(name)
    return bool(path.anchor) or ".." in path.parts


def _usable(
    path: Path, part: str, entries: list, check: Callable[[dict], None] = lambda entry: None, strict: bool = True
) -> tuple[list[dict], int]:
    """The entries of a part that are right, sorted by id, and how many are not.

    Raises:
        DataError: one is not, if `strict`; or none is.
    """
    usable, faults, places = [], [], {}
    for place, entry in enumerate(entries):
        try:
            _check_keys(entry, KEYS[part])
            check(entry)
            if (first := places.setdefault(entry["id"], place)) != place:
                raise DataError(f"expected an id of its own, got that of {part}[{first}]; give it another or remove it")
            usable.append(entry)
        except DataError as error:
            name = f" (id {shortened(entry['id'])})" if type(entry) is dict and "id" in entry else ""
            if len(faults) < 3:
                faults.append(f"{part}[{place}]{name}: {error}")
    wrong = len(entries) - len(usable)
    counted = f"{wrong} of {len(entries)} {part}"
    if wrong and (strict or not usable):
        rest = "; strict=False leaves such out" if part == "annotations" and usable else ""
        raise DataError(f"{path}: {faults[0]} ({counted} cannot be used{rest})")
    if wrong:
        rest = f"; and {wrong - len(faults)} more" if wrong > len(faults) else ""
        warnings.warn(f"{path}: {counted} are left out: {'; '.join(faults)}{rest}", DataWarning, stacklevel=4)
    return sorted(usable, key=lambda entry: entry["id"]), wrong


def _check_keys(entry: object, keys: Keys) -> None:
    if type(entry) is not dict:
        raise DataError(f"expected an object with {', '.join(keys)}, got {shortened(entry)}")
    for key, (test, expected, remedy) in keys.items():
        if not test(entry.get(key)):
            got = shortened(entry[key]) if key in entry else "none"
            raise DataError(f"expected {key} to be {expected}, got {got}; {remedy}")


def check_outline(segmentation: object, height: int, width: int) -> None:
    """Raises DataError where pycocotools would not make a mask of height × width of it: it checks nothing, fills what
    run lengths leave open with what happens to be in memory, and takes as much of it as coordinates are large."""
    if isinstance(segmentation, dict):
        _check_runs(segmentation, height, width)
        return
    if type(segmentation) is not list or not segmentation:
        raise DataError(f"expected segmentation to be polygons or run lengths, got {shortened(segmentation)}")
    side = min(height, width)
    for place, polygon in enumerate(segmentation):
        points = type(polygon) is list and len(polygon) >= 6 and len(polygon) % 2 == 0
        within = points and _numbers(polygon, -side, 2 * side)
        if within and (max(polygon) > 1 or side <= 2):  # nearly always, and quicker than what follows
            continue
        name = f"segmentation[{place}]"
        if type(polygon) is not list or not NUMBERS.issuperset(map(type, polygon)):
            raise DataError(
                f"expected {name} to be a list of numbers, got {shortened(polygon)}; write [[x1, y1, x2, y2, …], …]"
            )
        if not points:
            raise DataError(
                f"expected {name} to be x and y of each point, got {len(polygon)} numbers; a polygon needs at least "
                "three points, [x1, y1, x2, y2, x3, y3]"
            )
        if within:
            raise DataError(
                f"expected {name} in pixels, got no number above 1; multiply fractions of the photograph by its "
                f"{width}×{height} pixels"
            )
        for axis, length in enumerate((width, height)):
            for value in polygon[axis::2]:
                if not -length <= value <= 2 * length:
                    raise DataError(
                        f"expected {'xy'[axis]} in {name} to be near the photograph's {length} pixels, from {-length} "
                        f"to {2 * length}, got {shortened(value)}; write pixels of this photograph"
                    )


def _numbers(values: list, low: float, high: float) -> bool:
    """Whether all are numbers from `low` to `high`, and none is NaN, which `min` may pass by and a sum shows."""
    within = NUMBERS.issuperset(map(type, values)) and low <= min(values) and max(values) <= high
    return within and not math.isnan(sum(values))


def _check_runs(segmentation: dict, height: int, width: int) -> None:
    again = "encode the mask again, for instance with pycocotools.mask.encode"
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size != [height, width] or set(map(type, size)) != {int}:
        raise DataError(
            f"expected segmentation's size to be the photograph's height and width, [{height}, {width}], got "
            f"{shortened(size)}; {again}"
        )
    runs = counts
    if type(counts) in (str, bytes):
        runs = _decode(counts)
        if runs is None:
            raise DataError(
                f"expected segmentation's counts in COCO's compressed form, got {shortened(counts)}; {again}"
            )
    elif type(counts) is not list or set(map(type, counts)) != {int}:
        raise DataError(f"expected segmentation's counts to be whole numbers or text, got {shortened(counts)}; {again}")
    if min(runs) < 0 or sum(runs) != height * width:
        raise DataError(
            f"expected segmentation's counts to be run lengths of together {height}×{width} = {height * width} pixels, "
            f"got {shortened(sum(runs))}{' with a negative one' if min(runs) < 0 else ''}; {again}"
        )


def _decode(counts: str | bytes) -> list[int] | None:
    """Run lengths in COCO's compressed form (rleFrString in its maskApi.c), None if they are damaged.

    Each character less 48 has five bits of a number, the lowest first, and a sixth that says whether more follow; the
    highest of the last five is the sign. From the fourth number on each is the difference to the last but one.
    """
    if not counts.isascii():
        return None
    code = counts.encode("ascii") if isinstance(counts, str) else counts
    digits = np.frombuffer(code, np.uint8).astype(np.int64) - 48
    last = digits < 32
    if not digits.size or digits.min() < 0 or digits.max() > 63 or not last[-1]:
        return None
    starts = np.flatnonzero(np.r_[True, last[:-1]])
    lengths = np.diff(starts, append=digits.size)
    if lengths.max() > 6:  # C's int holds no more
        return None
    shifts = 5 * (np.arange(digits.size) - np.repeat(starts, lengths))
    bits = (digits & 31) - np.where(last, (digits & 16) * 2, 0)
    runs = np.add.reduceat(bits << shifts, starts)
    runs[1::2], runs[2::2] = np.cumsum(runs[1::2]), np.cumsum(runs[2::2])
    return runs.tolist()


def shortened(value: object) -> str:
    """A value as Python writes it, cut where it is long."""
    words = SHORT.repr(value)
    return words if len(words) <= 60 else f"{words[:59]}…"


SHORT = reprlib.Repr()
SHORT.maxlevel, SHORT.maxstring, SHORT.maxother = 2, 56, 56
