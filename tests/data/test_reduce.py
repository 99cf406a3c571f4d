"""COCO cut down: what is kept, that it is valid and always the same, and what is refused without leaving a trace."""

import errno
import hashlib
import json
import os
import random
import re
import shutil
import stat
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO

from seglib.data import reduce
from seglib.data.images import DataError
from seglib.data.reduce import LARGE_AREA, MEDIUM_AREA, image_sizes, reduce_coco

REAL = os.environ.get("SEGLIB_DATA")
WIDTH, HEIGHT = 24, 14
NAMES = ["person", "cat", "dog", "toothbrush"]


def picture(i, suffix="jpeg", size=(WIDTH, HEIGHT)):
    """The bytes of a picture like no other's."""
    file = BytesIO()
    noise = np.random.default_rng(i).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, suffix)
    return file.getvalue()


def segmentation(kind, i):
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8, order="F")
    mask[i % 7 : i % 7 + 5, i % 11 : i % 11 + 8] = 1
    mask[0, -1 - i % 3] = 1
    if kind == "polygon":
        x, y = i % 11 + 0.5, i % 7 + 0.25
        return [[x, y, x + 9, y, x + 7.5, y + 6, x, y + 4], [20, 10, 23, 10, 21.5, 13]]
    encoded = rle.encode(mask)
    if kind == "compressed":
        return {"size": [HEIGHT, WIDTH], "counts": encoded["counts"].decode()}
    changes = np.flatnonzero(np.diff(np.concatenate([[0], mask.ravel(order="F"), [2]])))
    return {"size": [HEIGHT, WIDTH], "counts": np.diff([0, *changes]).tolist()}


def annotation(i, image, category, area, crowd=0, kind="polygon"):
    about = {"id": i, "image_id": image, "category_id": category, "area": area, "iscrowd": crowd}
    return about | {"segmentation": segmentation(kind, i), "bbox": [1.5, 2, 3, 4.25]}


def image(i, licence, **other):
    return {"license": licence, "file_name": f"{i:012}.jpg", "height": HEIGHT, "width": WIDTH, "id": i} | other


def licence(i):
    return {"id": i, "name": f"licence {i}", "url": f"http://example.org/{i}"}


@pytest.fixture
def coco(tmp_path):
    """Six images; 5 has no annotation, 44 only a crowd. Categories by id: 1 person, 3 cat, 18 dog, 90 toothbrush."""
    data = {
        "info": {"description": "Six pictures.", "year": 2017, "url": "http://example.org"},
        "licenses": [licence(i) for i in (9, 1, 4, 2)],
        "images": [image(900, 1), image(7, 2), image(12, 9), image(5, 4), image(31, 2), image(44, 1)],
        "annotations": [
            annotation(5001, 900, 1, 100.5),
            annotation(17, 7, 3, 1024, kind="compressed"),
            annotation(900100000031, 7, 1, 20000, crowd=1, kind="uncompressed"),
            annotation(40, 12, 3, 9216),
            annotation(41, 12, 18, 5000.25, kind="uncompressed"),
            annotation(43, 12, 3, 3, crowd=1, kind="compressed"),
            annotation(2, 31, 18, 1023.9),
            annotation(3, 31, 1, 9215.9),
            annotation(60, 44, 3, 2000, crowd=1, kind="uncompressed"),
        ],
        "categories": [
            {"supercategory": "animal" if name in "catdog" else "thing", "id": i, "name": name}
            for i, name in zip((1, 3, 18, 90), NAMES)
        ],
    }
    folder = tmp_path / "coco" / "train2017"
    folder.mkdir(parents=True)
    for entry in data["images"]:
        (folder / entry["file_name"]).write_bytes(picture(entry["id"]))
    save(tmp_path, data)
    return data


def save(tmp_path, data):
    path = tmp_path / "coco/annotations/instances_train2017.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def cut(tmp_path, out="small", **arguments):
    images, instances = tmp_path / "coco/train2017", tmp_path / "coco/annotations/instances_train2017.json"
    return reduce_coco(images, instances, tmp_path / out, **arguments)


def load(folder):
    (path,) = folder.glob("annotations/*.json")
    return json.loads(path.read_text(encoding="ascii"))


def ids(entries):
    return [entry["id"] for entry in entries]


def contents(folder):
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {name: path.read_bytes() if path.is_file() else None for name, path in paths.items()}


# --- what is kept ---


def test_the_folder_holds_images_and_masks_as_they_were_and_nothing_else(tmp_path, coco):
    (tmp_path / "coco/train2017").rename(tmp_path / "pictures")  # a linked folder gives its own name
    (tmp_path / "coco/train2017").symlink_to(tmp_path / "pictures")
    cut(tmp_path)
    written, source = contents(tmp_path / "small"), contents(tmp_path / "pictures")
    images, instances = [f"{i:012}.jpg" for i in (7, 12, 31, 900)], "annotations/instances_train2017.json"
    others = ["train2017", "annotations", instances, "manifest.json"]
    assert written.keys() == {*others, *(f"train2017/{name}" for name in images)}
    assert all(written[f"train2017/{name}"] == source[name] for name in images)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["coco", "pictures", "small"]
    before, after = COCO(tmp_path / "coco" / instances), COCO(tmp_path / "small" / instances)
    assert len(after.anns) == 8
    for i, entry in after.anns.items():
        assert 0 < after.annToMask(entry).sum() < WIDTH * HEIGHT
        assert np.array_equal(after.annToMask(entry), before.annToMask(before.anns[i]))
    assert ids(after.loadAnns(after.getAnnIds(imgIds=[12], catIds=[3], iscrowd=True))) == [43]


@pytest.mark.parametrize(
    ("arguments", "images", "annotations", "categories", "said"),
    [
        ({}, [7, 12, 31, 900], [2, 3, 17, 40, 41, 43, 5001, 900100000031], [1, 3, 18, 90], ""),
        ({"categories": ["dog", "cat"]}, [7, 12, 31], [2, 17, 40, 41, 43], [3, 18], "; categories cat, dog"),
        # A crowd comes with its image, whatever its area, but makes none eligible.
        ({"categories": ["person"]}, [31, 900], [3, 5001], [1], "; categories person"),
        ({"min_area": LARGE_AREA}, [12], [40, 43], [1, 3, 18, 90], "; min_area 9216"),
        # Every object is either small, medium or large.
        ({"max_area": MEDIUM_AREA}, [31, 900], [2, 5001], [1, 3, 18, 90], "; max_area 1024"),
        (
            {"min_area": MEDIUM_AREA, "max_area": LARGE_AREA},
            *([7, 12, 31], [3, 17, 41, 43, 900100000031], [1, 3, 18, 90]),
            "; min_area 1024; max_area 9216",
        ),
        # Both must hold for the same object.
        ({"categories": ["dog"], "max_area": MEDIUM_AREA}, [31], [2], [18], "; categories dog; max_area 1024"),
    ],
)
def test_what_is_kept_by_hand(tmp_path, coco, arguments, images, annotations, categories, said):
    cut(tmp_path, **arguments)
    data = load(tmp_path / "small")
    assert [ids(data[part]) for part in ("images", "annotations", "categories")] == [images, annotations, categories]
    for part in ("licenses", "images", "annotations", "categories"):
        assert all(entry in coco[part] for entry in data[part])
    assert ids(data["licenses"]) == sorted({image["license"] for image in data["images"]})
    sentence = f"Reduced to {len(images)} of 6 images and {len(annotations)} of 9 annotations (seed 0{said})."
    assert data["info"] == coco["info"] | {"description": f"Six pictures. {sentence}"}


def test_one_name_of_several_categories_means_all_of_them(tmp_path, coco):
    coco["categories"][0]["name"] = "dog"
    save(tmp_path, coco)
    cut(tmp_path, categories=["dog"])
    assert ids(load(tmp_path / "small")["categories"]) == [1, 18]


def test_a_larger_draw_contains_the_smaller_and_every_image_is_drawn_by_some_seed(tmp_path, coco):
    first = set()
    for seed in range(12):
        for count in (1, 2, 3, 4):
            cut(tmp_path, f"{seed}-{count}", count=count, seed=seed)
        draws = [set(ids(load(tmp_path / f"{seed}-{count}")["images"])) for count in (1, 2, 3, 4)]
        assert [len(draw) for draw in draws] == [1, 2, 3, 4]
        assert draws[0] < draws[1] < draws[2] < draws[3]
        first |= draws[0]
    assert first == {7, 12, 31, 900}


def test_the_draw_is_the_one_on_record(tmp_path, coco):
    """A seed that is published must draw the same images with every version of every library."""
    cut(tmp_path, "a", count=2, seed=0)
    cut(tmp_path, "b", count=2, seed=3)
    assert ids(load(tmp_path / "a")["images"]) == [7, 900]
    assert ids(load(tmp_path / "b")["images"]) == [7, 31]


# --- always the same ---


def test_the_manifest_holds_arguments_counts_and_every_file(tmp_path, coco):
    asked = {"count": 2, "categories": ["dog", "cat", "dog"], "min_area": 10, "max_area": np.float32(9000), "seed": 4}
    manifest = cut(tmp_path, **asked)
    text = (tmp_path / "small/manifest.json").read_text(encoding="ascii")
    assert json.loads(text) == manifest
    names = {"images_folder": "train2017", "annotation_file": "instances_train2017.json"}
    assert manifest["arguments"] == asked | names | {"categories": ["cat", "dog"]}
    data = load(tmp_path / "small")
    assert manifest["counts"] == {
        **{"images": 2, "images_eligible": 3, "images_before": 6, "categories": 2},
        **{"annotations": len(data["annotations"]), "annotations_before": 9},
        "crowds": sum(a["iscrowd"] for a in data["annotations"]),
    }
    written = {name: content for name, content in contents(tmp_path / "small").items() if content is not None}
    del written["manifest.json"]
    assert manifest["files"] == {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in written.items()
    }
    assert list(manifest["files"]) == sorted(manifest["files"])
    assert str(tmp_path) not in text


def test_the_same_arguments_give_the_same_bytes_wherever_the_data_lie(tmp_path, coco, monkeypatch):
    cut(tmp_path, "one", count=2, categories=["cat", "dog"], min_area=5, seed=5)
    shutil.copytree(tmp_path / "coco", tmp_path / "elsewhere/copy")
    monkeypatch.chdir(tmp_path / "elsewhere/copy/train2017")
    np.random.seed(1)  # noqa: NPY002 — the global state must not matter
    random.seed(1)
    alike = {"count": np.int64(2), "categories": ("dog", "cat", "cat"), "min_area": 5.0, "seed": np.uint8(5)}
    reduce_coco(".", "../annotations/instances_train2017.json", "../../two", **alike)
    assert contents(tmp_path / "one") == contents(tmp_path / "elsewhere/two")
    cut(tmp_path, "other", count=2, categories=["cat", "dog"], min_area=5, seed=6)
    assert contents(tmp_path / "one") != contents(tmp_path / "other")


@pytest.mark.parametrize("umask", [0o077, 0o000])
def test_modes_depend_neither_on_the_umask_nor_on_the_source(tmp_path, coco, umask):
    for path in (tmp_path / "coco/train2017").iterdir():
        path.chmod(0o400)
    before = os.umask(umask)
    try:
        cut(tmp_path, "new/small")
    finally:
        os.umask(before)
    small = tmp_path / "new/small"
    for path in (small, *small.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644), path


# --- invariants ---


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures") / "val"
    folder.mkdir()
    for i in range(30):
        (folder / f"{i:012}.jpg").write_bytes(picture(i))
    return folder


few_ids = st.integers(0, 29)


@st.composite
def annotation_files(draw):
    images = [image(i, draw(st.sampled_from([1, 2, 5]))) for i in draw(st.sets(few_ids, min_size=1, max_size=7))]
    annotations = [
        annotation(
            i,
            draw(st.sampled_from(ids(images))),
            draw(st.sampled_from([4, 8, 9])),
            draw(st.floats(0, 3000)),
            draw(st.sampled_from([0, 0, 1])),
            draw(st.sampled_from(["polygon", "compressed", "uncompressed"])),
        )
        for i in draw(st.sets(st.integers(0, 10**12), max_size=12))
    ]
    return {
        "licenses": [licence(i) for i in draw(st.permutations([1, 2, 3, 5]))],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for i, name in zip((4, 8, 9), NAMES)],
    }


@settings(max_examples=70, deadline=None)
@given(
    data=annotation_files(),
    count=st.none() | st.integers(1, 4),
    categories=st.none() | st.sets(st.sampled_from(NAMES[:3]), min_size=1).map(sorted),
    limits=st.sampled_from([(None, None), (500, None), (None, 1500.5), (200, 2000)]),
    seed=st.integers(-3, 2**70),
    shuffle=st.randoms(use_true_random=False),
)
def test_a_reduced_set_is_valid_and_always_the_same(
    pictures, tmp_path_factory, data, count, categories, limits, seed, shuffle
):
    work = tmp_path_factory.mktemp("invariants")
    arguments = {"count": count, "categories": categories, "min_area": limits[0], "max_area": limits[1], "seed": seed}
    names = {entry["id"]: entry["name"] for entry in data["categories"]}

    def fits(entry):
        low, high = limits[0] or 0, limits[1] or float("inf")
        kind = categories is None or names[entry["category_id"]] in categories
        return kind and (entry["iscrowd"] == 1 or low <= entry["area"] < high)

    eligible = {a["image_id"] for a in data["annotations"] if fits(a) and not a["iscrowd"]}
    (work / "a.json").write_text(json.dumps(data))
    if not eligible or (count or 0) > len(eligible):
        nothing = "no image is eligible" if data["annotations"] else "expected a list of annotations that is not empty"
        with pytest.raises(DataError, match=nothing if not eligible else f"at most {len(eligible)}"):
            reduce_coco(pictures, work / "a.json", work / "out", **arguments)
        assert set(contents(work)) == {"a.json"}
        return

    manifest = reduce_coco(pictures, work / "a.json", work / "out", **arguments)
    reduced = load(work / "out")
    chosen = set(ids(reduced["images"]))
    assert chosen <= eligible
    assert len(chosen) == (len(eligible) if count is None else count) == manifest["counts"]["images"]
    assert {a["image_id"] for a in reduced["annotations"] if not a["iscrowd"]} == chosen
    expected = [a for a in data["annotations"] if a["image_id"] in chosen and fits(a)]
    assert reduced["annotations"] == sorted(expected, key=lambda entry: entry["id"])
    assert set(ids(reduced["licenses"])) == {entry["license"] for entry in reduced["images"]}
    assert {a["category_id"] for a in reduced["annotations"]} <= set(ids(reduced["categories"]))
    assert [entry["name"] for entry in reduced["categories"]] == [n for n in NAMES[:3] if n in (categories or NAMES)]
    assert all(ids(reduced[part]) == sorted(ids(reduced[part])) for part in reduced if part != "info")
    assert sorted(path.name for path in (work / "out/val").iterdir()) == [e["file_name"] for e in reduced["images"]]

    for part in data:
        shuffle.shuffle(data[part])
    (work / "again").mkdir()
    (work / "again/a.json").write_text(json.dumps(dict(reversed(data.items())), indent=1))
    reduce_coco(pictures, work / "again/a.json", work / "again/out", **arguments)
    assert contents(work / "out") == contents(work / "again/out")
    shutil.rmtree(work)


# --- what else is data ---


def test_info_and_licences_may_be_absent(tmp_path, coco):
    for part in ("info", "licenses"):
        del coco[part]
    del coco["images"][0]["license"]
    coco["images"][1]["license"] = None
    save(tmp_path, coco)
    cut(tmp_path)
    data = load(tmp_path / "small")
    assert data["licenses"] == []
    assert data["info"] == {"description": "Reduced to 4 of 6 images and 8 of 9 annotations (seed 0)."}
    assert COCO(tmp_path / "small/annotations/instances_train2017.json").getImgIds() == [7, 12, 31, 900]


def test_images_in_folders_and_of_other_formats_keep_their_names(tmp_path, coco):
    coco["images"][0]["file_name"] = "Zürich/straße 1.png"
    coco["categories"][0]["name"] = "Fußgänger"
    save(tmp_path, coco)
    path = tmp_path / "coco/train2017/Zürich/straße 1.png"
    path.parent.mkdir()
    path.write_bytes(picture(1, "png"))
    cut(tmp_path, categories=["Fußgänger"])
    assert (tmp_path / "small/train2017/Zürich/straße 1.png").read_bytes() == path.read_bytes()
    assert load(tmp_path / "small")["categories"][0]["name"] == "Fußgänger"


def test_only_the_images_that_are_drawn_must_be_whole(tmp_path, coco):
    for i in (5, 44):
        (tmp_path / f"coco/train2017/{i:012}.jpg").write_bytes(b"")
    assert cut(tmp_path)["counts"]["images"] == 4


def test_image_sizes(tmp_path, coco):
    coco["annotations"] = coco["annotations"][:1]  # polygons, which fit into larger images too
    for entry in coco["images"]:
        entry["width"], entry["height"] = 1000 + entry["id"], 2000 + entry["id"]
    widths, heights = image_sizes(save(tmp_path, coco))
    assert widths.dtype == heights.dtype == np.int64
    assert widths.tolist() == [1005, 1007, 1012, 1031, 1044, 1900]
    assert heights.tolist() == [2005, 2007, 2012, 2031, 2044, 2900]
    with pytest.raises(DataError, match=r"no annotation file .*absent\.json"):
        image_sizes(tmp_path / "absent.json")


# --- where it goes ---


def test_an_empty_folder_and_folders_that_are_not_there_are_filled(tmp_path, coco):
    (tmp_path / "empty").mkdir()
    cut(tmp_path, "empty")
    cut(tmp_path, "a/b/c")
    assert contents(tmp_path / "empty") == contents(tmp_path / "a/b/c")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "coco", "empty"]


@pytest.mark.parametrize("kind", ["folder", "file", "result"])
def test_what_is_there_is_left_alone(tmp_path, coco, kind):
    if kind == "folder":
        (tmp_path / "small").mkdir()
        (tmp_path / "small/mine.txt").write_text("mine")
    elif kind == "file":
        (tmp_path / "small").write_text("mine")
    else:
        cut(tmp_path)
    before = contents(tmp_path)
    (tmp_path / "coco/annotations/instances_train2017.json").write_text("not even read")
    with pytest.raises(FileExistsError, match=r"expected a new or an empty folder, got .*small"):
        cut(tmp_path)
    before["coco/annotations/instances_train2017.json"] = b"not even read"
    assert contents(tmp_path) == before


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_full_disk_or_an_interruption_leaves_nothing(tmp_path, coco, monkeypatch, error):
    write_file, written = reduce._write_file, []

    def fail_at_third(path, content):
        if len(written) == 2:
            raise error
        written.append(path)
        write_file(path, content)

    before = contents(tmp_path)
    monkeypatch.setattr(reduce, "_write_file", fail_at_third)
    with pytest.raises(type(error)) as caught:
        cut(tmp_path)
    assert len(written) == 2
    assert contents(tmp_path) == before
    if isinstance(error, OSError):
        assert caught.value.errno == errno.ENOSPC
        assert re.search("cannot write the reduced data set: No space left on device: .*small", str(caught.value))


def test_a_folder_that_cannot_be_made_is_named(tmp_path, coco):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write the reduced data set: .*file/small"):
        cut(tmp_path, "file/small")


# --- what is refused ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "count: expected a whole number of images >= 1, or None, got 0"),
        ({"count": 2.5}, "got 2.5"),
        ({"seed": "lucky"}, "seed: expected a whole number, got 'lucky'"),
        ({"seed": None}, "seed: expected a whole number, got None"),
        ({"categories": "cat"}, "categories: expected a list of names, at least one, or None, got 'cat'"),
        ({"categories": []}, r"categories: expected .* got \[\]"),
        ({"min_area": 9, "max_area": 9}, "expected 0 <= min_area < max_area, both finite, got 9 and 9"),
        ({"min_area": -1}, "got -1 and None"),
        ({"min_area": float("nan")}, "got nan"),
        ({"max_area": float("nan")}, "got None and nan"),
        ({"max_area": float("inf")}, "got None and inf"),
        ({"categories": ["catt"]}, r"unknown category 'catt': did you mean 'cat'\?"),
        ({"categories": ["cat", "Tooth brush"]}, r"unknown category 'Tooth brush': did you mean 'toothbrush'\?"),
        ({"categories": ["xyz"]}, "unknown category 'xyz': expected one of cat, dog, person, toothbrush"),
        ({"count": 5}, "count: expected at most 4, the number of eligible images, got 5"),
        ({"count": 3, "categories": ["dog"]}, "expected at most 2, .* got 3"),
        ({"categories": ["toothbrush"]}, "no image is eligible: .* got 0 of the chosen categories$"),
        ({"min_area": 9217}, r"no image is eligible: .*9217 <= area.* got 6 of .*, of 100.5 to 9216 pixels"),
    ],
)
def test_arguments_that_cannot_be_met_are_refused(tmp_path, coco, arguments, message):
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        cut(tmp_path, "new/small", **arguments)
    about_data = re.search("unknown|eligible", message)
    assert about_data is None or isinstance(caught.value, DataError)
    assert contents(tmp_path) == before


# --- what breaks a data set: functions of its content and its folder that give the content that is to be saved ---


def rewrite(name, change_bytes):
    def break_it(data, folder):
        (folder / name).write_bytes(change_bytes((folder / name).read_bytes()))

    return break_it


def text(content):
    return rewrite("annotations/instances_train2017.json", lambda _: content)


def change(*path_and_value):
    """Sets an entry of the annotation file."""
    *path, key, value = path_and_value

    def break_it(data, folder):
        place = data
        for step in path:
            place = place[step]
        place[key] = value
        return data

    return break_it


def drop(*path):
    def break_it(data, folder):
        place = data
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]
        return data

    return break_it


def remove(name, instead=lambda path: None):
    """Removes a file or folder, and puts something else in its place."""

    def break_it(data, folder):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        instead(path)

    return break_it


def lose_images(data, folder):
    (folder / "train2017/000000000005.jpg").unlink()
    data["images"] += [image(i, 1) for i in range(1000, 1007)]
    return data


def lose_annotations(data, folder):
    data["annotations"] += [annotation(i, i + 1, 1, 50) for i in range(70, 77)]
    return data


def image_bytes(change_bytes):
    return rewrite("train2017/000000000012.jpg", change_bytes)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (remove("train2017"), "no folder of images .*train2017$"),
        (remove("annotations/instances_train2017.json"), r"no annotation file .*instances_train2017\.json$"),
        (text(b""), r"instances_train2017\.json: expected JSON, but it cannot be read: the file is empty"),
        (change("annotations", 0, "image_id", "900"), r"annotations\[0\] \(id 5001\): expected image_id .*got '900'"),
        (drop("licenses", 1, "id"), r"licenses\[1\]: expected id to be a whole number, got none"),
        (
            change("licenses", 0, "id", 4),
            r"licenses\[2\] \(id 4\): expected an id of its own, got that of licenses\[0\]",
        ),
        (lose_annotations, r"annotations\[9\] \(id 70\): expected image_id .*got 71; .*\(7 of 16 annotations cannot"),
        (lose_images, r"all 13 images .*got 5; not there: '000000000005.jpg', .*'000000001003.jpg' and 3 more$"),
        (remove("train2017/000000000012.jpg", Path.mkdir), "all 6 images .* got 5; not there: '000000000012.jpg'"),
        (change("images", 3, "file_name", ""), "expected all 6 images .* got 5; not there: ''"),
        (change("images", 3, "file_name", "a\0b.jpg"), "got 5; not there: "),
        (image_bytes(lambda content: b""), r"4 whole images .* got 1 .*: '000000000012.jpg' \(not a readable image"),
        (image_bytes(lambda content: b"no picture" * 50), r"got 1 .*: '000000000012.jpg' \(not a readable image"),
        (
            image_bytes(lambda content: content[:-200]),
            r"got 1 .*: '000000000012.jpg' \(not a readable image .*(Premature|premature)",
        ),
        # What the end of a PNG tells, and decoding does not.
        (
            image_bytes(lambda content: picture(3, "png")[:-12]),
            r"'000000000012.jpg' \(not a readable image .*cut short",
        ),
        (
            image_bytes(lambda content: picture(1, size=(14, 24))),
            r"\.jpg' \(expected .* \(14, 24\) .*, got \(24, 14\)\)",
        ),
    ],
)
def test_data_that_cannot_be_used_are_named_and_leave_nothing(tmp_path, coco, break_it, message):
    broken = break_it(coco, tmp_path / "coco")
    if broken is not None:
        save(tmp_path, broken)
    before = contents(tmp_path)
    with pytest.raises(DataError, match=message):
        cut(tmp_path, "new/small")
    assert contents(tmp_path) == before


# --- real data ---


@pytest.mark.skipif(not REAL, reason="SEGLIB_DATA is not set: no real data at hand")
def test_real_coco(tmp_path):
    images = Path(REAL) / "coco/train2017"
    instances = Path(REAL) / "coco/annotations/instances_train2017.json"
    manifest = reduce_coco(images, instances, tmp_path / "small", count=20, seed=1)
    before, after = COCO(instances), COCO(tmp_path / "small/annotations/instances_train2017.json")
    assert len(after.imgs) == manifest["counts"]["images"] == 20
    assert len(after.cats) == 80
    for i, entry in after.imgs.items():
        assert entry == before.imgs[i]
        path = tmp_path / "small/train2017" / entry["file_name"]
        assert path.read_bytes() == (images / entry["file_name"]).read_bytes()
        assert set(after.getAnnIds(imgIds=[i])) == set(before.getAnnIds(imgIds=[i]))
    for i, entry in after.anns.items():
        assert np.array_equal(after.annToMask(entry), before.annToMask(before.anns[i]))
    widths, heights = image_sizes(instances)
    assert len(widths) == len(heights) == len(before.imgs)
    assert 400 < np.median(heights) < np.median(widths) <= 640
