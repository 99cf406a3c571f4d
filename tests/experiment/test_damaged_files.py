"""Files with errors in them, by the thousand: each ends in a right answer or in a sentence that names the file.

No test of one kind of damage: bytes are cut off, flipped, zeroed, put in, taken out or swapped, and heads are changed,
in files of every kind that the project reads. `SEGLIB_DAMAGED=10000` tries so many in place of a few hundred.
"""

import io
import json
import os
import random
import warnings
from functools import partial

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from seglib import weights
from seglib.__main__ import main
from seglib.data.coco import read_coco
from seglib.data.images import (
    DataError,
    read_annotated,
    read_arrays,
    read_labels,
    read_mask,
    read_photograph,
    read_rough_mask,
    read_size,
)
from seglib.experiment import make_model
from seglib.reports.mars_terrain.mars import read_homework
from seglib.rows import load_row
from seglib.training import DamagedCheckpoint, load_checkpoint

COUNT = int(os.environ.get("SEGLIB_DAMAGED", "400"))
SIZE = (48, 60)
ROW = load_row("denoising", "report", overrides={"model.widths": [4, 8]})
PICTURE = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8), SIZE[::-1])
PICTURE = PICTURE ^ np.random.default_rng(1).integers(0, 16, PICTURE.shape, np.uint8)
IMAGES = {
    "jpg": [{}, {"progressive": True}, {"quality": 30, "subsampling": 2}],
    "png": [{}, {"bits": 16}],
    "tif": [{}, {"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"}, {"compression": "jpeg"}],
    "webp": [{}, {"lossless": True}],
    "gif": [{}],
    "bmp": [{}],
}


def encoded(suffix, options):
    if "bits" in options:
        return cv2.imencode(f".{suffix}", PICTURE.astype(np.uint16) * 100)[1].tobytes()
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    extra = {"exif": exif} if suffix in ("jpg", "png", "webp") else {}
    Image.fromarray(PICTURE).save(file, {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper()), **options, **extra)
    return file.getvalue()


def archive(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def coco():
    outline = {"segmentation": [[5, 5, 30, 5, 30, 20, 5, 20.5]], "area": 375.5, "bbox": [5, 5, 25, 15.5], "iscrowd": 0}
    runs = {"size": list(SIZE), "counts": [100, 30, 2750]}
    crowd = {"segmentation": runs, "area": 30, "bbox": [2, 4, 1, 30], "iscrowd": 1}
    annotations = [
        {"id": i, "image_id": i % 2 + 1, "category_id": 1, **(outline if i % 3 else crowd)} for i in range(1, 7)
    ]
    images = [{"id": i, "file_name": "a.jpg", "height": SIZE[0], "width": SIZE[1]} for i in (1, 2)]
    categories = [{"id": 1, "name": "a thing"}]
    return json.dumps({"images": images, "annotations": annotations, "categories": categories}).encode()


def network_file():
    torch.manual_seed(0)
    return weights.to_bytes(make_model(ROW).state_dict(), {"size": "None"})


def checkpoint():
    file = io.BytesIO()
    torch.save({"model": make_model(ROW).state_dict(), "settings": "{}", "history": [{"epoch": 1, "loss": 0.5}]}, file)
    return file.getvalue()


def whole_files():
    files = [(suffix, encoded(suffix, options)) for suffix, all_of_them in IMAGES.items() for options in all_of_them]
    rows = np.random.default_rng(0).integers(0, 5, (6, 2, 16, 32)).astype(np.uint8)
    files += [("npz", archive(images=np.stack([PICTURE[..., 0]] * 2)))]
    files += [("npz", archive(training_set=rows, ids=np.array(list("aabbcc"))))]
    return [*files, ("json", coco()), ("safetensors", network_file()), ("pt", checkpoint())]


def damaged(content, rng):
    """A file's bytes with one to three things wrong."""
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        at = rng.randrange(len(content)) if rng.random() < 0.6 else rng.randrange(min(len(content), 64))
        kind = rng.choice(["cut", "flip", "flip", "zero", "insert", "remove", "ones", "number", "swap"])
        some = slice(at, at + rng.choice([1, 2, 4, 16, 200]))
        if kind == "cut":
            del content[at:]
        elif kind == "flip":
            content[at] ^= 1 << rng.randrange(8)
        elif kind in ("zero", "ones"):
            content[some] = bytes([255 * (kind == "ones")]) * len(content[some])
        elif kind == "insert":
            content[at:at] = rng.randbytes(rng.choice([1, 4, 100]))
        elif kind == "remove":
            del content[some]
        elif kind == "number":
            content[some] = rng.choice([b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"-1", b"1e9", b"NaN", b"{}", b"null"])
        elif kind == "swap":
            content[some], content[: len(content[some])] = content[: len(content[some])], content[some]
        if not content:
            break
    return bytes(content)


def decoder_notices(content):
    """Whether Pillow, asked for the first picture, says that something is wrong."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            Image.open(io.BytesIO(content)).load()
        except Exception:
            return True
    return False


def readers(suffix, path, folder):
    """The functions that read a kind of file, and the error that they may end in."""
    pictures = [read_photograph, read_labels, read_mask, read_rough_mask, read_size, partial(read_annotated, size=SIZE)]
    return {
        "json": ([partial(masks_of, folder, strict=strict) for strict in (True, False)], DataError),
        "safetensors": ([partial(weights.load, make_model(ROW)), weights.metadata], weights.WeightsError),
        "pt": ([load_checkpoint], DamagedCheckpoint),
        "npz": ([read_arrays, read_homework], DataError),
    }.get(suffix, (pictures, DataError))


def masks_of(folder, annotations, strict):
    return [entry.mask() for entry in read_coco(folder, annotations, strict=strict)]


def try_one(suffix, content, folder, good_weights):
    """Reads a damaged file in every way, and predicts with it; returns what went wrong, or None."""
    place, out = folder / "in", folder / "out"
    path = place / f"x.{suffix}"
    path.write_bytes(content)
    notices = suffix in IMAGES and decoder_notices(content)
    reads, error = readers(suffix, path, place)
    for read in reads:
        try:
            read(path)
        except error as said:
            if str(path) not in str(said) or len(str(said)) > 1000:
                return f"an error without the file's name, or without end: {said!r:.300}"
        except Exception as other:
            return f"{type(other).__name__}: {other!s:.300}"
    if suffix in ("json", "pt"):
        return None
    given = [place / "a.jpg", "--weights", path] if suffix == "safetensors" else [path, "--weights", good_weights]
    try:
        status = main(["predict", "denoising", "report", *map(str, given), "--out", str(out)])
    except BaseException as other:
        return f"predict: {type(other).__name__}: {other!s:.300}"
    written = sorted(out.iterdir()) if out.is_dir() else []
    if status == 1 and suffix != "npz" and written:
        return "a mask from a file that was refused"
    if notices and written:
        return "a mask from a file whose decoder noticed that it is damaged"
    for mask in written:
        mask.unlink()
    left = {one.name for one in [*place.iterdir(), *folder.iterdir()]} - {"out"}
    if left != {"a.jpg", path.name, "in", "good.safetensors"}:
        return "something was written elsewhere"
    path.unlink()
    return None


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a whole picture, weights, and room for masks."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(encoded("jpg", {}))
    (tmp_path / "good.safetensors").write_bytes(network_file())
    small = load_row("denoising", "report", overrides={"model.widths": [4, 8]})
    monkeypatch.setattr("seglib.__main__.load_row", lambda report, row: small)
    return tmp_path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("number", range(len(whole_files())))
def test_no_damage_crashes_hangs_or_goes_unsaid(folder, capsys, number):
    suffix, content = whole_files()[number]
    good = str(folder / "good.safetensors")
    assert try_one(suffix, content, folder, good) is None or suffix == "npz"  # one of the two is no pictures
    for seed in range(COUNT // len(whole_files())):
        found = try_one(suffix, damaged(content, random.Random(f"{number} {seed}")), folder, good)
        assert found is None, f"seed {seed}: {found}"
    capsys.readouterr()
