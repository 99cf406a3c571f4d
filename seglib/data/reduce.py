"""COCO cut down to a smaller data set that is valid COCO itself: chosen images with their annotations."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterable, Sequence
from numbers import Integral
from pathlib import Path

import numpy as np

from ..files import user_path
from .images import DataError, check_annotated
from .instances import find_photograph, read_instances

# COCO's limits between small and medium, and medium and large objects: pixels of an annotation's `area`. For medium
# objects alone: min_area=MEDIUM_AREA, max_area=LARGE_AREA.
MEDIUM_AREA = 32**2
LARGE_AREA = 96**2


def reduce_coco(
    images_folder: str | Path,
    annotation_file: str | Path,
    out: str | Path,
    *,
    count: int | None = None,
    categories: Sequence[str] | None = None,
    min_area: float | None = None,
    max_area: float | None = None,
    seed: int = 0,
    strict: bool = True,
) -> dict:
    """Writes a part of a COCO data set as a COCO data set: `out/NAME/…` with the images, NAME being their folder's,
    `out/annotations/` with the annotation file under its own name, and `out/manifest.json`.

    An object is an annotation that is no crowd. The objects kept are those that satisfy `categories`, `min_area` and
    `max_area`; an image is eligible if it has one (an image without objects never is). Annotations that do not satisfy
    them are left out, also of images that are kept: what is loaded is what was asked for. A crowd stays with its image
    if its category satisfies, whatever its area, which is not one object's; it makes no image eligible.

    Ids, and all entries that are kept, stay as they are; everything is sorted by id, and licences that no image uses
    are left out, as are parts of the file that are not COCO's. Image files are copied byte for byte. The same arguments
    give the same bytes on every machine, whatever the order of the entries, and what is drawn with a larger `count`
    contains what is drawn with a smaller one.

    Args:
        images_folder: where the images are, by the `file_name` of each.
        annotation_file: JSON in COCO's format for instances.
        out: a folder that is new or empty. It appears whole or not at all.
        count: how many of the eligible images to draw, at least 1; None takes all.
        categories: names; the file's list of categories is cut to them. None keeps all.
        min_area: of an object, inclusive, in pixels of `area`.
        max_area: of an object, exclusive, so that the ranges of small, medium and large objects share none.
        seed: of the draw.
        strict: whether an annotation that cannot be used is an error. If not, such are left out with a warning, and the
            manifest counts them.

    Returns:
        The manifest: the arguments, without folders above the last; counts; size and SHA-256 of every other file.

    Raises:
        ValueError: an argument out of range.
        DataError: a data set that is incomplete, damaged or no COCO; a category that it does not have; fewer eligible
            images than `count`, or none. All files that the annotation file lists must exist, and those that are drawn
            must be images of the size it says.
        FileExistsError: `out` is there and not empty.
        OSError: `out` cannot be written.
    """
    if count is not None and not (isinstance(count, Integral) and count >= 1):
        raise ValueError(f"count: expected a whole number of images >= 1, or None, got {count!r}")
    if not isinstance(seed, Integral):
        raise ValueError(f"seed: expected a whole number, got {seed!r}")
    if isinstance(categories, str) or (categories is not None and not categories):
        raise ValueError(f"categories: expected a list of names, at least one, or None, got {categories!r}")
    low, high = 0 if min_area is None else min_area, math.inf if max_area is None else max_area
    if not 0 <= low < high or max_area == math.inf:
        raise ValueError(f"expected 0 <= min_area < max_area, both finite, got {min_area} and {max_area}")

    # Not resolved: a link named train2017 is train2017, whatever it points to.
    images_folder, annotation_file = Path(os.path.abspath(user_path(images_folder))), user_path(annotation_file)
    out = user_path(out).resolve()
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise FileExistsError(f"out: expected a new or an empty folder, got {out}; name another or remove it")
    if not images_folder.is_dir():
        raise DataError(f"no folder of images {images_folder}")

    data = read_instances(annotation_file, strict=strict)
    paths = _found(images_folder, data["images"])
    kinds = _chosen_categories(data["categories"], categories)
    of_kind = {kind["id"] for kind in kinds}
    wanted = [
        a for a in data["annotations"] if a["category_id"] in of_kind and (a["iscrowd"] or low <= a["area"] < high)
    ]
    eligible = {a["image_id"] for a in wanted if not a["iscrowd"]}
    if not eligible:
        raise DataError(_nothing_eligible(data["annotations"], of_kind, low, high))
    if count is not None and count > len(eligible):
        raise DataError(f"count: expected at most {len(eligible)}, the number of eligible images, got {count}")
    drawn = set(sorted(eligible, key=lambda image: _rank(seed, image))[:count])

    images = [image for image in data["images"] if image["id"] in drawn]
    annotations = [annotation for annotation in wanted if annotation["image_id"] in drawn]
    _check_images(images_folder, images, paths)

    licences = {image["license"] for image in images if isinstance(image.get("license"), int)}
    arguments = {
        "images_folder": images_folder.name,
        "annotation_file": annotation_file.name,
        "count": None if count is None else int(count),
        "categories": None if categories is None else sorted(set(categories)),
        "min_area": None if min_area is None else float(min_area),
        "max_area": None if max_area is None else float(max_area),
        "seed": int(seed),
    }
    counts = {
        "images": len(images),
        "images_eligible": len(eligible),
        "images_before": len(data["images"]),
        "annotations": len(annotations),
        "annotations_before": len(data["annotations"]) + data["left_out"],
        "crowds": sum(bool(annotation["iscrowd"]) for annotation in annotations),
        "categories": len(kinds),
    }
    if not strict:
        arguments["strict"], counts["annotations_left_out"] = False, data["left_out"]
    reduced = {
        "info": _describe(data["info"], counts, arguments),
        "licenses": [licence for licence in data["licenses"] if licence["id"] in licences],
        "images": images,
        "annotations": annotations,
        "categories": kinds,
    }
    contents = {f"annotations/{annotation_file.name}": _json(reduced)}
    copies = {f"{images_folder.name}/{image['file_name']}": paths[image["id"]] for image in images}
    return _write(out, {"arguments": arguments, "counts": counts}, contents, copies)


def image_sizes(annotation_file: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Widths and heights of all images of an annotation file, in pixels, in the order of their ids; int64 (N,) each.

    Raises:
        DataError: a file that is missing, damaged or no COCO.
    """
    images = read_instances(annotation_file)["images"]
    return tuple(np.array([image[side] for image in images], dtype=np.int64) for side in ("width", "height"))


def _found(folder: Path, images: Sequence[dict]) -> dict[int, Path]:
    """Where each image is, by its id."""
    paths = {image["id"]: find_photograph(folder, image["file_name"]) for image in images}
    missing = [image["file_name"] for image in images if paths[image["id"]] is None]
    if missing:
        raise DataError(
            f"expected all {len(images)} images of the annotation file in {folder}, got {len(images) - len(missing)}; "
            f"not there: {_few(f'{name!r:.60}' for name in missing)}"
        )
    return paths


def _check_images(folder: Path, images: Sequence[dict], paths: dict[int, Path]) -> None:
    damaged = []
    for image in images:
        path = paths[image["id"]]
        try:
            check_annotated(path, (image["height"], image["width"]))
        except DataError as error:
            damaged.append(f"{image['file_name']!r:.60} ({str(error).removeprefix(f'{path}: ')})")
    if damaged:
        raise DataError(
            f"expected {len(images)} whole images in {folder}, got {len(damaged)} that cannot be used: "
            f"{_few(damaged, 2)}"
        )


def _chosen_categories(known: Sequence[dict], names: Sequence[str] | None) -> list[dict]:
    if names is None:
        return list(known)
    spelt = {entry["name"].lower(): entry["name"] for entry in known}
    for name in names:
        if name not in {entry["name"] for entry in known}:
            nearest = difflib.get_close_matches(str(name).lower(), spelt, n=1, cutoff=0.5)
            hint = (
                f"did you mean {spelt[nearest[0]]!r}?" if nearest else f"expected one of {_few(sorted(spelt.values()))}"
            )
            raise DataError(f"unknown category {name!r}: {hint}")
    return [entry for entry in known if entry["name"] in names]


def _nothing_eligible(annotations: Sequence[dict], of_kind: set[int], low: float, high: float) -> str:
    areas = [a["area"] for a in annotations if a["category_id"] in of_kind and not a["iscrowd"]]
    found = f"got {len(areas)} of the chosen categories" + (
        f", of {min(areas)} to {max(areas)} pixels" if areas else ""
    )
    return f"no image is eligible: expected an object with {low} <= area < {high} that is no crowd, {found}"


def _rank(seed: int, image_id: int) -> bytes:
    # A random generator's draws may change with its library's version; a hash's order never does.
    return hashlib.sha256(f"{seed} {image_id}".encode()).digest()


def _describe(info: dict, counts: dict, arguments: dict) -> dict:
    """`info` with a sentence about the reduction at the end of its description."""
    chosen = [f"seed {arguments['seed']}"]
    if arguments["categories"] is not None:
        chosen.append(f"categories {', '.join(arguments['categories'])}")
    for name in ("min_area", "max_area"):
        if arguments[name] is not None:
            chosen.append(f"{name} {arguments[name]:.12g}")
    sentence = (
        f"Reduced to {counts['images']} of {counts['images_before']} images and {counts['annotations']} of "
        f"{counts['annotations_before']} annotations ({'; '.join(chosen)})."
    )
    before = str(info.get("description") or "").rstrip(". ")
    return info | {"description": f"{before}. {sentence}" if before else sentence}


def _json(content: dict) -> bytes:
    # ASCII: pycocotools opens files in the system's own encoding, which is not UTF-8 everywhere.
    return json.dumps(content, allow_nan=False).encode("ascii")


def _write(out: Path, manifest: dict, contents: dict[str, bytes], copies: dict[str, Path]) -> dict:
    """Writes `contents` and `copies`, by their names below `out`, and the manifest with all of them; all or nothing."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
            folder = Path(temporary) / out.name
            files = {}
            for name in sorted(contents.keys() | copies.keys()):
                content = contents[name] if name in contents else copies[name].read_bytes()
                _write_file(folder / name, content)
                files[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            manifest = manifest | {"files": files}
            _write_file(
                folder / "manifest.json", json.dumps(manifest, indent=1, allow_nan=False).encode("ascii") + b"\n"
            )
            for path in (folder, *folder.rglob("*")):
                path.chmod(0o755 if path.is_dir() else 0o644)  # whatever the umask
            if out.is_dir():
                out.rmdir()  # empty; Windows renames nothing onto a folder
            folder.rename(out)
    except OSError as error:
        raise OSError(error.errno, f"cannot write the reduced data set: {error.strerror or error}", str(out)) from error
    return manifest


def _write_file(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _few(things: Iterable, most: int = 5) -> str:
    """The first of them, and how many more there are."""
    words = [str(thing) for thing in things]
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")
