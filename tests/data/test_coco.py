"""Objects in COCO's format: their masks beside pycocotools', what is left out, what is refused, and how they split."""

import contextlib
import io
import json
import os
import re
import tempfile
import unicodedata
import warnings
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO

from seglib.data import coco
from seglib.data.coco import (
    DataError,
    Object,
    find_coco,
    largest,
    photographs,
    read_coco,
    read_instances,
    split_by_image,
)
from seglib.data.reduce import image_sizes, reduce_coco

REAL = os.environ.get("SEGLIB_DATA")
SIZE = (40, 60)  # of the pictures below
SQUARE = [10, 5, 30, 5, 30, 25, 10, 25]


def annotation(number, image=1, **changes):
    """A square of 20×20 pixels."""
    about = {"bbox": [10, 5, 20, 20], "area": 400.0, "iscrowd": 0, "segmentation": [SQUARE]}
    return {"id": number, "image_id": image, "category_id": 2} | about | changes


def dataset(annotations, images=1):
    return {
        "images": [
            {"id": i, "file_name": f"{i:03d}.png", "height": SIZE[0], "width": SIZE[1]} for i in range(1, images + 1)
        ],
        "annotations": annotations,
        "categories": [{"id": 2, "name": "cup"}, {"id": 5, "name": "dog"}],
    }


def store(folder, content, pictures=None):
    """Writes pictures (all that are named, or only those) and annotations; gives what `read_coco` takes."""
    images, instances = Path(folder) / "images", Path(folder) / "instances.json"
    images.mkdir(exist_ok=True)
    for entry in content["images"] if pictures is None else pictures:
        name = entry if isinstance(entry, str) else entry["file_name"]
        cv2.imwrite(str(images / name), np.full((*SIZE, 3), 90, np.uint8))
    instances.write_text(json.dumps(content))
    return images, instances


def by_column(mask):
    """Run lengths of a mask, column after column, the first of background."""
    values = mask.T.ravel()
    edges = np.flatnonzero(np.diff(values.astype(int))) + 1
    return ([] if not values[0] else [0]) + np.diff([0, *edges, values.size]).tolist()


def entry(image, number, area=1.0):
    return Object(Path(f"{image}.png"), image, number, "cup", SIZE, area, 0, 1, [SQUARE])


# --- masks ---

HOLE = np.zeros(SIZE, bool)
HOLE[5:25, 10:35] = True
HOLE[10:15, 20:30] = False
TOUCHING = np.zeros(SIZE, bool)  # starts in the first pixel
TOUCHING[:12, :7] = True

SEGMENTATIONS = {
    "polygon": [SQUARE],
    "slanted polygon": [[3.5, 2.25, 50.75, 11.5, 20.1, 38.9]],
    "several polygons": [SQUARE, [40, 30, 55.5, 30, 55.5, 39.5, 40, 39.5]],
    "overlapping polygons": [SQUARE, [20, 15, 45, 15, 45, 35, 20, 35]],
    "polygon that leaves the picture": [[45, 20, 80, 20, 80, 60, 45, 60]],
    "uncompressed": {"size": list(SIZE), "counts": by_column(HOLE)},
    "uncompressed from the corner": {"size": list(SIZE), "counts": by_column(TOUCHING)},
    "compressed": {
        "size": list(SIZE),
        "counts": rle.encode(np.asfortranarray(HOLE, np.uint8))["counts"].decode("ascii"),
    },
}


@pytest.mark.parametrize("kind", SEGMENTATIONS)
def test_masks_are_those_of_pycocotools(kind, tmp_path):
    images, instances = store(tmp_path, dataset([annotation(1, segmentation=SEGMENTATIONS[kind])]))
    (found,) = read_coco(images, instances)
    with contextlib.redirect_stdout(io.StringIO()):
        api = COCO(instances)
    mask = found.mask()
    assert mask.shape == SIZE
    assert mask.dtype == bool
    assert np.array_equal(mask, api.annToMask(api.anns[1]) == 1)
    assert 0 < mask.sum() < mask.size
    assert np.array_equal(found.mask(), mask)  # and asking again changes nothing


def test_masks_by_hand(tmp_path):
    kinds = ("uncompressed", "compressed", "uncompressed from the corner", "overlapping polygons")
    annotations = [annotation(i, segmentation=SEGMENTATIONS[kind]) for i, kind in enumerate(kinds)]
    union = np.zeros(SIZE, bool)
    union[5:25, 10:30] = union[15:35, 20:45] = True
    found = read_coco(*store(tmp_path, dataset(annotations)))
    for entry, expected in zip(found, (HOLE, HOLE, TOUCHING, union)):
        assert np.array_equal(entry.mask(), expected)


def test_objects_come_in_the_order_of_their_numbers_and_say_what_their_annotations_say(tmp_path):
    content = dataset([annotation(8, 2, area=7.5, category_id=5), annotation(9), annotation(3, 2), annotation(4)], 2)
    content["images"].reverse()
    images, instances = store(tmp_path, content)
    found = read_coco(str(images), str(instances))
    facts = [(one.image_id, one.annotation_id, one.category, one.area) for one in found]
    assert facts == [(1, 4, "cup", 400), (1, 9, "cup", 400), (2, 3, "cup", 400), (2, 8, "dog", 7.5)]
    assert {one.size for one in found} == {SIZE}
    assert found[3].path == images / "002.png"


def test_the_photograph_is_rgb(tmp_path):
    images, instances = store(tmp_path, dataset([annotation(1)]))
    picture = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    cv2.imwrite(str(images / "001.png"), picture[..., ::-1])  # OpenCV writes blue first
    found = read_coco(images, instances)[0].image()
    assert found.dtype == np.uint8
    assert np.array_equal(found, picture)


def test_crowds_are_left_out_and_count_nowhere(tmp_path):
    content = dataset(
        [
            annotation(1),
            annotation(2, iscrowd=1, segmentation=SEGMENTATIONS["uncompressed"]),
            annotation(4, image=2, iscrowd=1, segmentation=SEGMENTATIONS["uncompressed"]),
        ],
        images=2,
    )
    (found,) = read_coco(*store(tmp_path, content))
    assert (found.annotation_id, found.annotated, found.overlapping) == (1, 1, 0)


@pytest.mark.parametrize("tag", [1, 3, 6, 8])
@pytest.mark.parametrize("annotated", ["as stored", "upright"])
def test_outlines_lie_on_a_photograph_with_a_tag_as_they_were_drawn(tmp_path, tag, annotated):
    """By the pixels that are annotated, for `read_coco` and `reduce_coco` alike; a half turn has one size only."""
    stored = np.zeros((*SIZE, 3), np.uint8)
    stored[5:25, 10:30] = 255
    upright = np.rot90(stored, {1: 0, 3: 2, 6: -1, 8: 1}[tag])
    shown = upright if annotated == "upright" and tag in (6, 8) else stored
    ys, xs = np.nonzero(shown[..., 0])
    left, top, right, bottom = map(int, (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
    content = dataset([annotation(1, segmentation=[[left, top, right, top, right, bottom, left, bottom]])])
    content["images"][0] |= {"height": shown.shape[0], "width": shown.shape[1]}
    images, instances = store(tmp_path, content, [])
    exif = Image.Exif()
    exif[0x112] = tag
    Image.fromarray(stored).save(images / "001.png", exif=exif)
    (found,) = read_coco(images, instances)
    assert np.array_equal(found.image(), shown)
    assert np.array_equal(found.mask(), shown[..., 0] == 255)
    reduce_coco(images, instances, tmp_path / "out")
    assert (tmp_path / "out/images/001.png").read_bytes() == (images / "001.png").read_bytes()


def by_hand(code):
    """COCO's compressed run lengths as its maskApi.c reads them, a character at a time; None if it could not."""
    found, place = [], 0
    while place < len(code):
        value, length, more = 0, 0, True
        while more:
            digit = ord(code[place]) - 48 if place < len(code) else -1
            if not 0 <= digit < 64 or length == 6:
                return None
            value, more = value + ((digit & 31) << 5 * length), digit & 32
            place, length = place + 1, length + 1
        value -= (1 << 5 * length) if digit & 16 else 0
        found.append(value + (found[-2] if len(found) > 2 else 0))
    return found


MASKS = st.tuples(
    st.integers(1, 50), st.integers(51, 120), st.lists(st.integers(1, 3000), min_size=1, max_size=9), st.booleans()
)


def drawn(height, width, runs, first):
    """A mask with such runs, cut or filled up to its size."""
    values = np.repeat((np.arange(len(runs)) + first) % 2, runs)[: height * width]
    return np.pad(values, (0, height * width - values.size)).reshape(width, height).T.astype(bool)


@settings(max_examples=60, deadline=None)
@given(shape=MASKS)
def test_run_lengths_of_every_form_give_their_mask(shape):
    mask = drawn(*shape)
    encoded = rle.encode(np.asfortranarray(mask, np.uint8))
    text = encoded["counts"].decode("ascii")
    assert by_hand(text) == by_column(mask)
    for counts in (text, encoded["counts"], by_column(mask)):
        segmentation = {"size": list(mask.shape), "counts": counts}
        one = Object(Path("1.png"), 1, 1, "cup", mask.shape, 1.0, 0, 1, segmentation)
        assert np.array_equal(one.mask(), mask)


@settings(max_examples=200, deadline=None)
@given(shape=MASKS, data=st.data())
def test_damaged_run_lengths_give_the_mask_that_they_describe_or_are_refused(shape, data):
    """And never what happens to lie in memory: whether they describe one is decided by hand."""
    height, width = shape[:2]
    code = rle.encode(np.asfortranarray(drawn(*shape), np.uint8))["counts"].decode("ascii")
    at = data.draw(st.integers(0, len(code)))
    code = code[:at] + data.draw(st.text("0123?@NOPQ_`abno", max_size=3) | st.text(max_size=3))
    code += data.draw(st.sampled_from(["", code[at:], code[at + 1 :]]))
    runs = by_hand(code)
    right = bool(runs) and min(runs) >= 0 and sum(runs) == height * width
    for counts in (code, runs):
        one = Object(Path(), 1, 7, "", (height, width), 1.0, 0, 1, {"size": [height, width], "counts": counts})
        if right:
            values = np.repeat(np.arange(len(runs)) % 2, runs)
            assert np.array_equal(one.mask(), values.reshape(width, height).T == 1)
        else:
            with pytest.raises(DataError, match="annotation 7: expected segmentation's counts"):
                one.mask()


# --- what else is in the picture ---

BOXES = st.lists(
    st.tuples(st.integers(1, 2), st.integers(0, 12), st.integers(0, 9), st.integers(1, 6), st.integers(1, 6)),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(boxes=BOXES)
def test_overlapping_and_annotated_objects_are_counted(boxes):
    """Beside boxes of whole pixels that are painted: those which share an edge share no pixel."""
    painted = np.zeros((len(boxes), 16, 20), bool)
    for canvas, (_, left, top, width, height) in zip(painted, boxes):
        canvas[top : top + height, left : left + width] = True
    annotations = [annotation(i, box[0], bbox=list(box[1:])) for i, box in enumerate(boxes)]
    with tempfile.TemporaryDirectory() as folder:
        found = read_coco(*store(folder, dataset(annotations, images=2)))
    assert len(found) == len(boxes)
    for one in found:
        others = [i for i, box in enumerate(boxes) if box[0] == one.image_id and i != one.annotation_id]
        assert one.annotated == len(others) + 1
        assert one.overlapping == sum((painted[i] & painted[one.annotation_id]).any() for i in others)


def test_a_box_without_an_area_overlaps_nothing_beside_it(tmp_path):
    boxes = ([3, 3, 0, 9], [20, 3, 5, 5], [22, 4, 9, 9])
    found = read_coco(*store(tmp_path, dataset([annotation(i, bbox=box) for i, box in enumerate(boxes)])))
    assert [one.overlapping for one in found] == [0, 1, 1]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 5)), max_size=20))
def test_the_largest_of_each_image_is_the_first_of_equals(pairs):
    objects = [entry(image, number, float(area)) for number, (image, area) in enumerate(pairs)]
    expected = []
    for image in {image for image, _ in pairs}:
        mine = [one for one in objects if one.image_id == image]
        top = max(one.area for one in mine)
        expected.append(next(one.annotation_id for one in mine if one.area == top))
    assert sorted(one.annotation_id for one in largest(objects)) == sorted(expected)


# --- what is missing or damaged ---


def test_missing_images_are_counted_named_and_left_out(tmp_path):
    annotations = [annotation(i, image=i) for i in range(1, 10)] + [annotation(20, image=4)]
    content = dataset(annotations, images=12)  # 10 to 12 are missing too, but nobody asks for them
    images, instances = store(tmp_path, content, ["002.png", "007.png"])
    with pytest.warns(UserWarning, match="left out") as said:
        found = read_coco(images, instances)
    assert [one.image_id for one in found] == [2, 7]
    (message,) = [str(warning.message) for warning in said]
    assert message.startswith(f"7 images are not in {images}")
    assert re.findall(r"\d{3}\.png", message) == [f"00{i}.png" for i in (1, 3, 4, 5, 6)]


def test_where_nothing_is_missing_nothing_is_said_and_without_any_image_a_file_is_refused(tmp_path, capsys):
    images, instances = store(tmp_path, dataset([annotation(1)], images=3), ["001.png"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_coco(images, instances)
    assert capsys.readouterr() == ("", "")
    (images / "001.png").unlink()
    refused = pytest.raises(DataError, match=re.escape(f"{instances}: no object whose image is in {images}"))
    with pytest.warns(UserWarning, match="1 images"), refused:
        read_coco(images, instances)


@pytest.mark.parametrize("kind", ["no folder", "no file", "a file for a folder", "a folder for a file"])
def test_a_missing_folder_or_file_is_named_with_the_way_to_get_it(tmp_path, kind):
    images, instances = store(tmp_path, dataset([annotation(1)]))
    given = {
        "no folder": (tmp_path / "nowhere", instances),
        "no file": (images, tmp_path / "nothing.json"),
        "a file for a folder": (instances, instances),
        "a folder for a file": (images, images),
    }[kind]
    wrong = given[kind in ("no file", "a folder for a file")]
    with pytest.raises(DataError, match=rf"there is no {re.escape(str(wrong))}; .*download coco-val2017"):
        read_coco(*given)


def changed(part="annotations", drop=None, **changes):
    """The file's content with another first entry in one of its parts."""
    content = dataset([annotation(1), annotation(2)])
    content[part][0] = {key: value for key, value in content[part][0].items() if key != drop} | changes
    return content


def outline(*numbers):
    return changed(segmentation=[list(numbers)])


def runs(counts, size=SIZE):
    return changed(segmentation={"size": list(size), "counts": counts})


def many(values, key, message):
    """Files whose first annotation has one of these values."""
    return {f"{key} {value!r:.30}": (changed(**{key: value}), message) for value in values}


def twice(part, number=0):
    content = dataset([annotation(1), annotation(2)], images=2)
    content[part].append(content[part][number])
    return content


def without(part):
    return {key: value for key, value in changed().items() if key != part}


FIRST = r"annotations\[0\] \(id 1\): expected "
IMAGE = r"images\[0\] \(id 1\): expected "
CODE = SEGMENTATIONS["compressed"]["counts"]
RUNS = by_column(HOLE)
ROUND = [value for angle in np.linspace(0, 6, 9) for value in (30 + 9 * np.cos(angle), 20 + 9 * np.sin(angle))]
EMPTY = "a list of {} that is not empty, got {}; export the labels in COCO's format"

# Each file with what is said about it: the entry, the key, what was expected, what came, and what to do.
WRONG = {
    # entries that lack a key or have another type
    **{
        f"no {key}": (changed(drop=key), rf"{FIRST}{key} to be {expected}, got none; {remedy}")
        for key, expected, remedy in (
            ("image_id", "a whole number", "write the id of its image"),
            ("category_id", "a whole number", "write the id of its category"),
            ("iscrowd", "0 or 1", 'write "iscrowd": 0 for a single object'),
            ("area", "a number of at least 0", "write the object's number of pixels"),
            ("bbox", "four numbers", r"write its box in pixels, \[left, top, width, height\]"),
            ("segmentation", "polygons or run lengths", "bounding boxes alone have no outline"),
        )
    },
    "no id": (changed(drop="id"), r"annotations\[0\]: expected id to be a whole number, got none"),
    **many(["1", True, 1.0, None, [1]], "image_id", FIRST + "image_id to be a whole number, got "),
    **many(["2", False, 2.0, None], "category_id", FIRST + "category_id to be a whole number, got "),
    **many(["1", True, 1.0, None], "id", r"annotations\[0\] \(id .*\): expected id to be a whole number, got "),
    **many(["0", 2, -1, False, 0.0, None], "iscrowd", FIRST + "iscrowd to be 0 or 1, got "),
    **many(["large", True, -1, 10**400, None, [4]], "area", FIRST + "area to be a number of at least 0, got "),
    **many([[], [1, 2], [1, 2, 3, True], [1, 2, "3", 4], [10**400] * 4, 5], "bbox", FIRST + "bbox to be four numbers"),
    **{
        f"an annotation {x!r}": (changed() | {"annotations": [x]}, r"annotations\[0\]: .* image_id")
        for x in (1, [], "")
    },
    "images that are numbers": (
        changed() | {"images": [1]},
        r"images\[0\]: expected an object with id, file_name, .* 1",
    ),
    **{
        f"{side} {value!r}": (changed("images", **{side: value}), rf"{IMAGE}{side} to be a whole number above 0, got")
        for side in ("width", "height")
        for value in (0, -5, 40.0, "40", True, None)
    },
    "no height": (changed("images", "height"), IMAGE + "height .*got none; write the photograph's height in pixels"),
    "an enormous image": (changed("images", width=10**30, height=10**30), IMAGE + "at most 536870912 pixels, got 1000"),
    "no file name": (changed("images", "file_name"), IMAGE + "file_name to be text, got none; write where"),
    **{
        f"a file name {name!r}": (
            changed("images", file_name=name),
            IMAGE + "file_name to be inside the folder .*got '",
        )
        for name in ("../x.jpg", "a/../../x.jpg", "..\\x.jpg", "/etc/x.jpg", "C:\\x.jpg")
    },
    "a category without a name": (changed("categories", "name"), r"categories\[0\] \(id 2\): expected name to be text"),
    "a licence without an id": (changed() | {"licenses": [{}]}, r"licenses\[0\]: expected id to be a whole number"),
    "licences in words": (changed() | {"licenses": "free"}, "expected licenses to be a list, got 'free'; leave it out"),
    "info in words": (changed() | {"info": "text"}, "expected info to be an object, got 'text'; leave it out"),
    # references
    "the same annotation id": (twice("annotations"), r"annotations\[2\] \(id 1\): expected an id .* annotations\[0\];"),
    "the same image id": (
        twice("images", 1),
        r"images\[2\] \(id 2\): expected an id of its own, got that of images\[1\]",
    ),
    "the same category id": (twice("categories"), r"categories\[2\] \(id 2\): expected an id .* categories\[0\];"),
    "an image that is not listed": (changed(image_id=7), FIRST + "image_id to be an id of images, got 7; add"),
    "a category that is not listed": (changed(category_id=7), FIRST + "category_id to be an id of categories, got 7"),
    # polygons
    **many([[], {}, None, "polygon", 3], "segmentation", FIRST + "segmentation to be polygons or run lengths, got "),
    **many(
        [[[]], [SQUARE, []]], "segmentation", FIRST + r"segmentation\[.\] .*, got 0 numbers; .* at least three points"
    ),
    **{
        f"a polygon of {n} numbers": (outline(*range(n)), rf"{FIRST}.*got {n} numbers; a polygon needs at least three")
        for n in (1, 2, 4, 5, 7)
    },
    "a polygon without a list": (
        changed(segmentation=SQUARE),
        FIRST + r"segmentation\[0\] .* numbers, got 10; write \[\[",
    ),
    "a polygon of pairs": (
        changed(segmentation=[[[1, 1], [9, 1], [9, 9]]]),
        FIRST + r".*a list of numbers, got \[\[1, 1\]",
    ),
    **{
        f"a polygon with {value!r:.20}": (outline(*SQUARE[:-1], value), FIRST + r".*a list of numbers, got \[10, 5, 30")
        for value in (True, "25", None, [25])
    },
    "a polygon far to the right": (outline(*SQUARE[:-2], 121, 25), FIRST + "x in .* from -60 to 120, got 121; write"),
    "a polygon far to the left": (outline(*SQUARE[:-2], -61, 25), FIRST + "x in .* got -61;"),
    "a polygon far below": (
        outline(*SQUARE[:-1], 80.5),
        FIRST + "y in .* near .* 40 pixels, from -40 to 80, got 80.5;",
    ),
    **{f"a coordinate {x:.0e}": (outline(x, *SQUARE[1:]), FIRST + "x in .*, got ") for x in (1e9, -1e300)},
    # run lengths
    "run lengths of the sides' other order": (runs(RUNS, SIZE[::-1]), FIRST + r".* \[40, 60\], got \[60, 40\]; encode"),
    "run lengths of a size in floats": (runs(RUNS, (40.0, 60.0)), FIRST + r".* \[40, 60\], got \[40.0, 60.0\];"),
    "run lengths without a size": (changed(segmentation={"counts": RUNS}), FIRST + r".* \[40, 60\], got None;"),
    "run lengths without counts": (changed(segmentation={"size": list(SIZE)}), FIRST + ".*counts to be .*got None;"),
    **{
        name: (runs(counts), FIRST + message)
        for name, counts, message in (
            (
                "run lengths that end early",
                RUNS[:-1],
                ".*counts .* 40×60 = 2400 pixels, got [0-9]+; encode the mask again",
            ),
            ("run lengths that end late", [*RUNS, 1], ".*counts .* 40×60 = 2400 pixels, got 2401;"),
            ("a negative run length", [*RUNS, 5, -5], ".* 2400 pixels, got 2400 with a negative one;"),
            ("enormous run lengths", [10**30, 10**30], ".* 2400 pixels, got 2000"),
            *(
                (f"a run length {x!r}", [*RUNS, x], ".*counts to be whole numbers or text")
                for x in (1.0, True, "1", None)
            ),
            ("no run lengths", [], ".*counts to be whole numbers or text, got"),
            ("no text", "", ".*counts in COCO's compressed form, got ''"),
            ("text that ends early", CODE[:-1], ".*counts"),
            ("text that ends in a number", CODE + "P", ".*counts in COCO's compressed form, got '"),
            ("text that ends late", CODE + "1", ".*counts .* 2400 pixels, got "),
            *((f"text with {x!r}", x + CODE, ".*counts in COCO's compressed form") for x in ("é", " ", "\0", "p")),
            ("a number of seven characters", "PPPPPP0" + CODE, ".*counts in COCO's compressed form"),
        )
    },
    # files
    **{f"no {part}": (without(part), EMPTY.format(part, "none")) for part in ("images", "annotations", "categories")},
    **{
        f"an empty list of {part}": (changed() | {part: []}, EMPTY.format(part, r"\[\]"))
        for part in ("images", "annotations", "categories")
    },
    "images that are a number": (changed() | {"images": 1}, EMPTY.format("images", "1")),
    "images by number": (changed() | {"images": {"7": {}}}, EMPTY.format("images", r"\{'7': \{\}\}")),
    "captions": (
        changed() | {"annotations": [{"id": 1, "image_id": 1, "caption": "a"}]},
        FIRST + "category_id .* none",
    ),
    "labelme": ({"shapes": [], "imagePath": "a.jpg"}, "expected COCO's .*, got labelme's; convert .* labelme2coco"),
    "a list": ([changed()], r"expected an object with images, annotations and categories, got \[\{"),
    "a number": (5, "expected an object with images, annotations and categories, got 5; export"),
    **{
        f"not JSON: {content[:12]!r}": (content, f"expected JSON, but {message}")
        for content, message in (
            (b"", "it cannot be read: the file is empty; export it again"),
            (b"no JSON", "it cannot be read: Expecting value: line 1 column 1"),
            (b'{"images": [{"id": 1, "file', "it cannot be read: Unterminated string"),
            (b"\xff\xd8\xff\xe0", "byte 0xff at position 0 is not utf-8; save it as UTF-8"),
            ('{"a": "Fußgänger"}'.encode("latin-1"), "byte 0xdf at position 9 is not utf-8; save it as UTF-8"),
            (b"\xef\xbb\xbf" + '{"a": "ß"}'.encode("latin-1"), "byte 0xdf at position 10 is not utf-8"),
            (b"[" * 200_000, "it cannot be read: "),
            (b'{"images": ' + b"9" * 5000 + b"}", "it cannot be read: "),
            *(
                (
                    b'{"info": {"a": %s}}' % number,
                    f"it cannot be read: {re.escape(number.decode())} is no finite number",
                )
                for number in (b"NaN", b"-Infinity", b"1e999", b"-1E+400")
            ),
        )
    },
}


@pytest.mark.parametrize(("content", "message"), WRONG.values(), ids=WRONG)
def test_a_file_that_cannot_be_used_is_refused_in_one_sentence_by_all_who_read_it(tmp_path, content, message):
    images, instances = store(tmp_path, dataset([annotation(1)], images=2))
    instances.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(DataError, match=f"^{re.escape(str(instances))}: (expected )?{message}") as caught:
        read_coco(images, instances)
    said = str(caught.value)
    assert len(said.removeprefix(str(tmp_path))) < 400
    assert "\n" not in said
    assert len(repr(caught.value.__context__)) < 400  # a UnicodeDecodeError holds the whole file
    for read in (lambda: reduce_coco(images, instances, tmp_path / "out"), lambda: image_sizes(instances)):
        with pytest.raises(DataError) as caught:
            read()
        assert str(caught.value) == said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", [name for name in WRONG if WRONG[name][1].startswith((FIRST, r"annotations\[2\]"))])
def test_annotations_that_cannot_be_used_are_left_out_with_a_warning_if_that_is_asked_for(tmp_path, name):
    content, message = WRONG[name]
    if name == "captions":
        with pytest.raises(DataError, match=r"\(1 of 1 annotations cannot be used\)$"):
            read_coco(*store(tmp_path, content), strict=False)
        return
    images, instances = store(tmp_path, content)
    total = len(content["annotations"])
    with pytest.warns(UserWarning, match=f"1 of {total} annotations are left out: {message}") as said:
        found = read_coco(images, instances, strict=False)
    assert [one.annotation_id for one in found] == ([1, 2] if total == 3 else [2])
    assert len(said) == 1
    assert said[0].filename == __file__
    for one in found:
        assert one.mask().sum() == 400
    with pytest.warns(UserWarning, match="left out") as said:
        manifest = reduce_coco(images, instances, tmp_path / "out", strict=False)
    assert len(said) == 1
    assert said[0].filename == __file__
    assert manifest["arguments"]["strict"] is False
    counts = manifest["counts"]
    assert (counts["annotations"], counts["annotations_before"], counts["annotations_left_out"]) == (
        total - 1,
        total,
        1,
    )
    kept = read_instances(tmp_path / "out/annotations/instances.json")["annotations"]
    assert [entry["id"] for entry in kept] == [one.annotation_id for one in found]


def test_many_that_are_left_out_are_counted_and_the_first_named(tmp_path):
    wrong = [annotation(i, segmentation=[SQUARE[:4]]) for i in (31, 32, 33, 34, 35)]
    content = dataset([annotation(1), *wrong, annotation(2, iscrowd="0"), annotation(1)])
    with pytest.warns(UserWarning, match="7 of 8 annotations are left out") as said:
        read_coco(*store(tmp_path, content), strict=False)
    (message,) = [str(warning.message) for warning in said]
    assert re.findall(r"\(id (\d+)\)", message) == ["31", "32", "33"]
    assert message.endswith("; and 4 more")
    assert len(message) < 1000
    with pytest.raises(DataError, match=r"^[^\[]*annotations\[1\].*\(7 of 8 annotations cannot be used; strict=False"):
        read_coco(*store(tmp_path, content))


@pytest.mark.parametrize(
    "name", ["the same image id", "no height", "the same category id", "no annotations", "labelme"]
)
def test_faults_of_images_categories_and_the_file_are_never_left_out(tmp_path, name):
    content, message = WRONG[name]
    images, instances = store(tmp_path, dataset([annotation(1)]))
    instances.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        read_coco(images, instances, strict=False)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_unicode_of_every_kind_is_read(tmp_path, encoding):
    content = dataset([annotation(1)])
    content["categories"][0]["name"] = "Fußgänger"
    images, instances = store(tmp_path, content)
    instances.write_bytes(json.dumps(content, ensure_ascii=False).encode(encoding))
    assert read_coco(images, instances)[0].category == "Fußgänger"
    reduce_coco(images, instances, tmp_path / "out")
    assert image_sizes(instances)[0].tolist() == [SIZE[1]]


def test_numbers_in_words_are_no_numbers(tmp_path):
    """What looks like a number that is too large, in a text, is left as it is."""
    content = dataset([annotation(1)]) | {"info": {"words": "1e999, 3E999 ]", "number": 1e22, "other": 1.5e-300}}
    assert read_instances(store(tmp_path, content)[1])["info"] == content["info"]


def test_licences_and_info_may_be_left_out_or_empty(tmp_path):
    for more in ({}, {"licenses": None, "info": None}, {"licenses": [], "info": {}}):
        data = read_instances(store(tmp_path, dataset([annotation(1)]) | more)[1])
        assert (data["licenses"], data["info"], data["left_out"]) == ([], {}, 0)


@pytest.mark.parametrize(("written", "stored"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFC", "NFC")])
def test_a_name_may_differ_from_its_file_s_by_unicode_form(tmp_path, written, stored):
    content = dataset([annotation(1)])
    name, there = (unicodedata.normalize(form, "Zürich ä.png") for form in (written, stored))
    content["images"][0]["file_name"] = name
    images, instances = store(tmp_path, content, [there])
    assert read_coco(images, instances)[0].path.read_bytes() == (images / there).read_bytes()
    reduce_coco(images, instances, tmp_path / "out")
    assert read_coco(tmp_path / "out/images", tmp_path / "out/annotations/instances.json")[0].path.name == name


def test_the_home_folder_may_be_written_as_a_tilde(tmp_path, monkeypatch):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    store(tmp_path, dataset([annotation(1)]))
    (found,) = read_coco("~/images", "~/instances.json")
    assert found.path == tmp_path / "images/001.png"
    reduce_coco("~/images", Path("~/instances.json"), "~/out")
    assert (tmp_path / "out/images/001.png").is_file()
    assert image_sizes("~/instances.json")[0].tolist() == [SIZE[1]]
    (tmp_path / "coco").mkdir()
    (tmp_path / "images").rename(tmp_path / "coco/val2017")
    assert [images for images, _ in find_coco("~")] == [tmp_path / "coco/val2017"]


@pytest.mark.parametrize(
    "segmentation",
    [None, [], [[]], [SQUARE[:4]], [[*SQUARE[:-1], np.nan]], [[1, np.nan, *SQUARE[2:]]], [[*SQUARE[:-1], 1e9]], {}, "P"]
    + [{"size": list(SIZE), "counts": counts} for counts in (RUNS[:-1], CODE[:-2], b"\xff", None)],
)
def test_an_object_s_outline_is_checked_wherever_it_came_from(segmentation):
    one = Object(Path("1.png"), 1, 17, "cup", SIZE, 1.0, 0, 1, segmentation)
    with pytest.raises(DataError, match=r"^annotation 17: expected .*segmentation"):
        one.mask()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a readable image"),
        (b"no picture", "not a readable image"),
        (cv2.imencode(".png", np.zeros(SIZE[::-1], np.uint8))[1], r"expected .*\(40, 60\).* got \(60, 40\)"),
    ],
)
def test_an_image_that_is_unreadable_or_of_another_size_is_named(tmp_path, content, message):
    images, instances = store(tmp_path, dataset([annotation(1)]))
    (images / "001.png").write_bytes(content)
    (found,) = read_coco(images, instances)
    with pytest.raises(DataError, match=f"{re.escape(str(images / '001.png'))}: {message}"):
        found.image()


# --- COCO's folders ---


@pytest.mark.parametrize("there", [["train2017"], ["val2017"], ["val2017", "train2017"]])
def test_the_folders_of_coco_are_found(tmp_path, there):
    for name in there:
        (tmp_path / "coco" / name).mkdir(parents=True)
        (tmp_path / "coco" / name / "1.jpg").touch()
    expected = [(name, f"annotations/instances_{name}.json") for name in sorted(there)]
    assert find_coco(str(tmp_path)) == [tuple(tmp_path / "coco" / part for part in pair) for pair in expected]


@pytest.mark.parametrize(("empty", "full"), [("train2017", "val2017"), ("val2017", "train2017")])
def test_an_empty_folder_of_coco_is_left_out_and_named(tmp_path, empty, full):
    for name in (empty, full):
        (tmp_path / "coco" / name / "folder").mkdir(parents=True)
    (tmp_path / "coco" / full / "1.jpg").touch()
    (tmp_path / "coco" / empty / ".DS_Store").touch()
    with pytest.warns(UserWarning, match=f"{re.escape(str(tmp_path / 'coco' / empty))} has no images") as said:
        found = find_coco(tmp_path)
    assert [images.name for images, _ in found] == [full]
    assert len(said) == 1


@pytest.mark.parametrize("there", [".", "coco/test2017", "train2017", "coco/train2017", "coco/val2017"])
def test_no_folder_of_coco_is_told_with_the_way_to_get_one(tmp_path, there):
    (tmp_path / there).mkdir(parents=True, exist_ok=True)
    wanted = re.escape(str(tmp_path / "coco"))
    with pytest.raises(DataError, match=f"expected train2017 or val2017 in {wanted}; .*download coco-val2017"):
        find_coco(tmp_path)


# --- two parts ---


def gallery(images):
    """One to three objects in each image."""
    return [entry(i, 10 * i + k) for i in range(1, images + 1) for k in range(1 + i % 3)]


def ids(objects):
    return {one.image_id for one in objects}


@settings(max_examples=100, deadline=None)
@given(
    images=st.integers(0, 60), training=st.integers(1, 40), validation=st.integers(1, 20), seed=st.integers(0, 2**31)
)
@example(images=42, training=90, validation=10, seed=0)
def test_the_parts_share_no_image(images, training, validation, seed):
    """And with fewer images than are asked for, they are as large to each other as asked for."""
    objects = gallery(images)
    total = min(images, training + validation)
    share = total * validation / (training + validation)
    if not 0 < round(share) < total:
        with pytest.raises(DataError, match=f"{images} images cannot be split {training}:{validation}"):
            split_by_image(objects, training, validation, seed)
        return
    one, other = split_by_image(objects, training, validation, seed)
    assert not ids(one) & ids(other)
    assert min(len(ids(one)), len(ids(other))) >= 1
    assert len(ids(one)) + len(ids(other)) == total
    assert abs(len(ids(other)) - share) <= 0.5
    for part in (one, other):  # whole images, in the order in which they came
        assert part == [found for found in objects if found.image_id in ids(part)]


def test_the_seed_and_nothing_else_decides_the_split():
    objects = gallery(50)
    splits = {seed: [ids(part) for part in split_by_image(objects, 30, 10, seed)] for seed in range(10)}
    assert len({tuple(sorted(other)) for _, other in splits.values()}) == 10
    np.random.seed(3)  # noqa: NPY002 — the global state must not matter
    assert [ids(part) for part in split_by_image(objects, 30, 10, 4)] == splits[4]
    assert [ids(part) for part in split_by_image(objects[::-1], 30, 10, 4)] == splits[4]
    held_out = Counter(i for _, other in splits.values() for i in other)
    assert len(held_out) > 35  # every image gets its turn


# --- the course's own photographs ---


@pytest.fixture(scope="module")
def own():
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is missing
        return photographs()


def test_the_course_s_photographs(own):
    expected = {"astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "camera.png", "motorcycle_left.png"}
    assert {one.path.name for one in own} == expected | {"grace_hopper.jpg"}
    assert [one.annotation_id for one in own] == list(range(1, len(own) + 1))
    assert Counter(one.category for one in own) == {
        "person": 3,
        **dict.fromkeys(("motorcycle", "cat", "cup", "spoon", "rocket", "saucer", "camera"), 1),
    }


def test_every_outline_lies_in_its_photograph_with_its_box_and_hardly_overlaps_another(own):
    content = json.loads((coco.shipped("data") / "photographs" / "annotations.json").read_text())
    boxes = {found["id"]: found["bbox"] for found in content["annotations"]}
    assert len(boxes) == len(own)
    for one in own:
        photo, mask = one.image(), one.mask()
        assert photo.shape == (*one.size, 3)
        assert mask.shape == one.size
        assert one.area == mask.sum() > 0.01 * mask.size
        for polygon in one.segmentation:
            points = np.reshape(polygon, (-1, 2))
            assert len(points) >= 3
            assert points.min() >= 0
            assert (points <= (one.size[1], one.size[0])).all()
        ys, xs = np.nonzero(mask)
        assert boxes[one.annotation_id] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
        for other in own:
            if other.image_id == one.image_id and other is not one:
                assert (mask & other.mask()).sum() < 0.05 * min(one.area, other.area)


def test_the_photographs_are_found_from_any_folder(own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [one.path for one in photographs()] == [one.path for one in own]


# --- real data ---


@pytest.mark.skipif(not REAL, reason="SEGLIB_DATA is not set: no real data at hand")
def test_real_coco():
    for images, instances in find_coco(REAL):
        objects = read_coco(images, instances)
        annotations = json.loads(instances.read_text())["annotations"]
        at_hand = {one.image_id for one in objects}
        wanted = [found for found in annotations if not found["iscrowd"] and found["image_id"] in at_hand]
        assert len(objects) == len(wanted) >= 1000
        assert len({one.annotation_id for one in objects}) == len(objects)
        assert len({one.category for one in objects}) > 60
        for one in objects[:4000]:
            mask = one.mask()
            assert mask.shape == one.size
            # An area is that of the outline; an outline thinner than a pixel may hold none.
            assert mask.sum() == pytest.approx(one.area, rel=0.1, abs=0.2 * cv2.arcLength(hull(mask), True) + 30)
        best = largest(objects)
        assert {one.image_id for one in best} == at_hand
        for one in best[:450]:
            assert one.image().shape == (*one.size, 3)
        areas = {}
        for found in wanted:
            areas[found["image_id"]] = max(found["area"], areas.get(found["image_id"], 0))
        assert {one.image_id: one.area for one in best} == areas


def hull(mask):
    points = np.argwhere(mask)[:, ::-1].astype(np.int32)
    return cv2.convexHull(points) if len(points) else np.zeros((1, 1, 2), np.int32)
