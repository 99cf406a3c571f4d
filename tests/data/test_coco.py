"""Objects in COCO's format: their masks beside pycocotools', what is left out, what is refused, and how they split."""

import contextlib
import io
import json
import os
import re
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pycocotools import mask as rle
from pycocotools.coco import COCO

from seglib.data import coco
from seglib.data.coco import DataError, Object, find_coco, largest, photographs, read_coco, split_by_image

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


def test_crowds_and_empty_segmentations_are_left_out_and_count_nowhere(tmp_path):
    content = dataset(
        [
            annotation(1),
            annotation(2, iscrowd=1, segmentation=SEGMENTATIONS["uncompressed"]),
            annotation(3, segmentation=[]),
            annotation(4, image=2, iscrowd=1, segmentation=SEGMENTATIONS["uncompressed"]),
        ],
        images=2,
    )
    (found,) = read_coco(*store(tmp_path, content))
    assert (found.annotation_id, found.annotated, found.overlapping) == (1, 1, 0)


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


WRONG = {
    "a category that is not listed": changed(category_id=7),
    **{f"no {key}": changed(drop=key) for key in ("id", "category_id", "iscrowd", "area", "bbox", "segmentation")},
    "no height": changed("images", "height"),
    "no file name": changed("images", "file_name"),
    "images that are numbers": changed() | {"images": [1]},
    "images that are a number": changed() | {"images": 1},
    "captions": changed() | {"annotations": [{"id": 1, "image_id": 1, "caption": "a cup"}]},
    "a list": [changed()],
    "a number": 5,
    "a short box": changed(bbox=[10, 5]),
    "an area in words": changed(area="large"),
    **{
        f"damaged JSON {i}": content for i, content in enumerate((b"", b'{"images": [{"id": 1, "file', b"\xff\xd8\xff"))
    },
}
NOTHING = [{}, {"images": [], "annotations": [], "categories": []}, dataset([])]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        *((content, "expected instances in COCO's format") for content in WRONG.values()),
        *((c, "no object") for c in NOTHING),
    ],
    ids=[*WRONG, *("nothing" for _ in NOTHING)],
)
def test_another_format_is_refused_by_the_file_s_name(tmp_path, content, message):
    images, instances = store(tmp_path, dataset([annotation(1)]))
    instances.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(DataError, match=f"{re.escape(str(instances))}: {message}"):
        read_coco(images, instances)


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
    expected = [(name, f"annotations/instances_{name}.json") for name in sorted(there)]
    assert find_coco(str(tmp_path)) == [tuple(tmp_path / "coco" / part for part in pair) for pair in expected]


@pytest.mark.parametrize("there", [".", "coco/test2017", "train2017"])
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
            assert mask.sum() == pytest.approx(one.area, rel=0.1, abs=0.2 * cv2.arcLength(outline(mask), True) + 30)
        best = largest(objects)
        assert {one.image_id for one in best} == at_hand
        for one in best[:450]:
            assert one.image().shape == (*one.size, 3)
        areas = {}
        for found in wanted:
            areas[found["image_id"]] = max(found["area"], areas.get(found["image_id"], 0))
        assert {one.image_id: one.area for one in best} == areas


def outline(mask):
    points = np.argwhere(mask)[:, ::-1].astype(np.int32)
    return cv2.convexHull(points) if len(points) else np.zeros((1, 1, 2), np.int32)
