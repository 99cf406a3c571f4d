"""Drawn scenes: the same for everyone, made once, and annotated as COCO's files are."""

import json
import tempfile
from collections import Counter

import cv2
import numpy as np
import platformdirs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as rle
from scipy.ndimage import binary_fill_holes, gaussian_filter, label

from seglib.data import scenes, textures
from seglib.data.coco import photographs, read_coco
from seglib.data.scenes import CATEGORIES, MIN_AREA, describe, draw_scene, generated, write_scenes

COUNT, LONGEST = 60, 96


def rng(seed=0):
    return np.random.default_rng(seed)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def encoded(annotation, height, width):
    """An annotation's run lengths, as pycocotools has them."""
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, list):
        return rle.merge(rle.frPyObjects(segmentation, height, width))
    return rle.frPyObjects(segmentation, height, width) if isinstance(segmentation["counts"], list) else segmentation


def has_hole(mask):
    return bool((binary_fill_holes(mask) & ~mask).any())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("scenes") / "sixty"
    write_scenes(place, COUNT, LONGEST, seed=0)
    return place


@pytest.fixture(scope="module")
def written(folder):
    return json.loads((folder / "annotations" / "instances.json").read_text())


@pytest.fixture(scope="module")
def decoded(written):
    """Image id → its annotations, each with its mask."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in written["images"]}
    found = {i: [] for i in sizes}
    for annotation in written["annotations"]:
        mask = rle.decode(encoded(annotation, *sizes[annotation["image_id"]])).astype(bool)
        found[annotation["image_id"]].append((annotation, mask))
    return found


# --- the same for everyone ---


def test_the_same_seed_gives_the_same_bytes_and_another_others(folder, tmp_path):
    np.random.seed(3)  # noqa: NPY002 — the global state must not matter
    write_scenes(tmp_path / "again", 4, LONGEST, seed=0)
    write_scenes(str(tmp_path / "more"), 4, LONGEST, seed=0)
    write_scenes(tmp_path / "other", 4, LONGEST, seed=1)
    again = contents(tmp_path / "again")
    assert again == contents(tmp_path / "more")
    pictures = [name for name in again if name.endswith(".jpg")]
    assert len({again[name] for name in pictures}) == 4
    # A scene depends on the seed and its own number, not on how many there are.
    assert [(folder / name).read_bytes() for name in pictures] == [again[name] for name in pictures]
    other = contents(tmp_path / "other")
    assert not {again[name] for name in pictures} & {other[name] for name in pictures}


# --- what is annotated ---


def test_the_file_is_in_coco_s_format(folder, written):
    assert {"images", "annotations", "categories", "licenses", "info"} <= written.keys()
    assert [entry["name"] for entry in written["categories"]] == list(CATEGORIES)
    numbers = {key: {entry["id"] for entry in written[key]} for key in ("images", "categories", "annotations")}
    assert all(len(found) == len(written[key]) for key, found in numbers.items())
    assert len(numbers["images"]) == COUNT
    assert {path.name for path in (folder / "images").iterdir()} == {image["file_name"] for image in written["images"]}
    for annotation in written["annotations"]:
        assert {"id", "image_id", "category_id", "segmentation", "area", "bbox", "iscrowd"} == annotation.keys()
        assert annotation["image_id"] in numbers["images"]
        assert annotation["category_id"] in numbers["categories"]


def test_pictures_have_the_sizes_that_the_file_says_and_several_shapes(folder, written):
    shapes = Counter()
    for image in written["images"]:
        size = image["height"], image["width"]
        assert cv2.imread(str(folder / "images" / image["file_name"])).shape == (*size, 3)
        assert 0.85 * LONGEST - 1 <= max(size) <= LONGEST
        ratio = size[0] / size[1]
        shapes[min(scenes.SHAPES, key=lambda shape: abs(shape[0] / shape[1] - ratio))] += 1
    assert len(shapes) >= 4
    assert shapes[3, 4] > COUNT / 4
    assert len({(image["height"], image["width"]) for image in written["images"]}) > 15


def test_masks_lie_in_their_pictures_and_are_large_enough_and_share_no_pixel(decoded, written):
    """An object before another one touches it: many neighbours share an edge."""
    sizes, touching = {image["id"]: (image["height"], image["width"]) for image in written["images"]}, 0
    for image, objects in decoded.items():
        assert np.sum([mask for _, mask in objects], axis=0).max() <= 1
        for i, (annotation, mask) in enumerate(objects):
            assert mask.shape == sizes[image]
            assert annotation["area"] == mask.sum() >= MIN_AREA * mask.size
            if isinstance(annotation["segmentation"], list):
                for polygon in annotation["segmentation"]:
                    points = np.reshape(polygon, (-1, 2))
                    assert len(points) >= 3
                    assert points.min() >= 0
                    assert (points <= mask.shape[::-1]).all()
            else:
                assert annotation["segmentation"]["size"] == list(mask.shape)
            grown = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
            touching += any((grown & other).any() for _, other in objects[i + 1 :])
    assert touching > COUNT / 3


def test_every_category_and_kind_of_annotation_and_many_sizes_occur(decoded, written):
    kinds, shares = Counter(), []
    for objects in decoded.values():
        for annotation, mask in objects:
            polygons = isinstance(annotation["segmentation"], list)
            kinds["polygons" if polygons else "run lengths"] += 1
            kinds["crowd"] += annotation["iscrowd"]
            kinds["hole"] += not annotation["iscrowd"] and has_hole(mask)
            kinds["two pieces"] += not annotation["iscrowd"] and label(mask)[1] > 1
            assert not (polygons and (annotation["iscrowd"] or has_hole(mask)))
            shares.append(mask.mean())
    assert kinds["polygons"] > kinds["run lengths"] > 5
    assert min(kinds[kind] for kind in ("crowd", "hole", "two pieces")) >= 2
    assert kinds["crowd"] < COUNT / 4
    assert len(shares) > 2.5 * COUNT
    assert np.quantile(shares, 0.1) < 0.015
    assert np.quantile(shares, 0.9) > 0.05
    found = Counter(annotation["category_id"] for annotation in written["annotations"])
    assert set(found) == set(range(1, len(CATEGORIES) + 1))
    assert min(found.values()) > 5
    assert scenes.OUTLINES.keys() == set(CATEGORIES)


def test_objects_can_be_seen(folder):
    """Along its outline a picture changes more than elsewhere, for most objects."""
    contrast = []
    for one in read_coco(folder / "images", folder / "annotations" / "instances.json"):
        grey = cv2.cvtColor(one.image(), cv2.COLOR_RGB2GRAY).astype(np.float32)
        slope = np.hypot(*np.gradient(grey))
        mask = one.mask().astype(np.uint8)
        edge = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        contrast.append(slope[edge].mean() / max(1e-3, slope[~edge].mean()))
    assert np.median(contrast) > 1.5
    assert np.mean(np.array(contrast) > 1) > 0.75


def test_only_what_is_large_enough_is_annotated(monkeypatch):
    """Without the limit the same scenes have the same objects, and those that show less of themselves."""
    small = 0
    for seed in range(12):
        kept = draw_scene(72, 96, rng(seed))[1]
        with monkeypatch.context() as patch:
            patch.setattr(scenes, "MIN_AREA", 0)
            everything = draw_scene(72, 96, rng(seed))[1]
        large = [entry for entry in everything if entry[1].sum() >= MIN_AREA * 72 * 96]
        assert [entry[0] for entry in kept] == [entry[0] for entry in large]
        assert all(np.array_equal(a[1], b[1]) for a, b in zip(kept, large))
        small += len(everything) - len(large)
    assert small > 0
    assert MIN_AREA * 72 * 96 > 10


# --- describe ---


@st.composite
def masks(draw):
    """bool (H, W) with at least one pixel: blobs and specks of all sizes, also at the edges."""
    height, width = draw(st.integers(1, 50)), draw(st.integers(1, 50))
    noise = np.random.default_rng(draw(st.integers(0, 2**31))).standard_normal((height, width))
    hills = gaussian_filter(noise, draw(st.sampled_from([0, 0.6, 2, 5])), mode="reflect")
    return hills >= np.quantile(hills, draw(st.floats(0, 0.99)))


@settings(max_examples=100, deadline=None)
@given(mask=masks(), crowd=st.booleans())
def test_a_description_is_that_of_the_mask(mask, crowd):
    found = json.loads(json.dumps(describe(mask, crowd)))
    assert np.array_equal(rle.decode(encoded(found, *mask.shape)), mask)
    ys, xs = np.nonzero(mask)
    assert found["area"] == mask.sum()
    assert found["bbox"] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
    assert found["iscrowd"] == int(crowd)
    if crowd or has_hole(mask):
        assert found["segmentation"]["size"] == list(mask.shape)
        assert isinstance(found["segmentation"]["counts"], str)


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(20, 60), st.integers(20, 60)),
    centres=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(4, 20)), min_size=1, max_size=4),
)
def test_simple_masks_are_polygons(size, centres):
    """Discs, also cut off by the picture's edge."""
    yy, xx = np.mgrid[: size[0], : size[1]]
    mask = np.zeros(size, bool)
    for y, x, radius in centres:
        mask |= (yy - y * (size[0] - 1)) ** 2 + (xx - x * (size[1] - 1)) ** 2 <= radius**2
    if has_hole(mask):
        return
    segmentation = describe(mask)["segmentation"]
    assert isinstance(segmentation, list)
    assert len(segmentation) == label(mask)[1]
    assert np.array_equal(rle.decode(rle.merge(rle.frPyObjects(segmentation, *size))), mask)


# --- made once ---


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *names: tmp_path.joinpath("cache", *names))
    return tmp_path / "cache"


def leftovers(cache):
    """Everything below the cache that is no finished set of scenes."""
    finished = [path.parent.parent for path in cache.rglob("instances.json")]
    return [
        path
        for path in cache.rglob("*")
        if not any(path == done or done in path.parents or path in done.parents for done in finished)
    ]


def test_scenes_are_those_of_write_scenes_and_made_once(cache, tmp_path, monkeypatch):
    images, instances = generated(3, 64, seed=5)
    assert cache in images.parents
    assert {one.image_id for one in read_coco(images, instances)} == {1, 2, 3}
    write_scenes(tmp_path / "direct", 3, 64, seed=5)
    assert contents(images.parent) == contents(tmp_path / "direct")
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    with monkeypatch.context() as patch:
        patch.setattr(scenes, "write_scenes", lambda *_: pytest.fail("drawn again"))
        assert generated(3, 64, seed=5) == (images, instances)
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == before
    assert not leftovers(cache)


def test_other_scenes_are_other_files(cache):
    places = {generated(*arguments)[0] for arguments in ((2, 64, 0), (3, 64, 0), (2, 80, 0), (2, 64, 1))}
    assert len(places) == 4
    assert {len(list(place.iterdir())) for place in places} == {2, 3}


@pytest.mark.parametrize("module", [scenes, textures], ids=lambda module: module.__name__)
def test_what_another_version_draws_is_other_files(cache, monkeypatch, tmp_path, module):
    first = generated(2, 64, seed=0)[0]
    (tmp_path / "changed.py").write_text("another version")
    monkeypatch.setattr(module, "__file__", str(tmp_path / "changed.py"))
    assert generated(2, 64, seed=0)[0] != first


@pytest.mark.parametrize("where", ["drawing", "renaming"])
@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), KeyboardInterrupt()])
def test_where_drawing_or_putting_in_place_fails_nothing_half_stays(cache, monkeypatch, where, error):
    calls = []

    def breaks(*arguments):
        if len(calls) == 2 or where == "renaming":
            raise error
        calls.append(arguments)
        return draw_scene(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(*((scenes, "draw_scene") if where == "drawing" else (type(cache), "rename")), breaks)
        with pytest.raises(type(error)):
            generated(4, 64, seed=0)
    assert not [path for path in cache.rglob("*") if path.is_file()]
    images, instances = generated(4, 64, seed=0)  # and the next attempt is whole
    assert len(list(images.iterdir())) == 4
    assert instances.is_file()
    assert not leftovers(cache)


def test_another_process_may_be_faster(cache, monkeypatch):
    images, _ = generated(2, 64, seed=0)
    expected, place = contents(images.parent), images.parent
    aside = place.rename(place.with_name("aside"))

    def slowly(folder, *arguments):
        write_scenes(folder, *arguments)
        aside.rename(place)

    monkeypatch.setattr(scenes, "write_scenes", slowly)
    assert generated(2, 64, seed=0)[0] == images
    assert contents(place) == expected
    assert not leftovers(cache)


# --- what surfaces are made of ---


def test_no_test_photograph_is_a_texture():
    tested = {one.path: one.image() for one in photographs()}
    names = {"minduka": "minduka_present_blue_pack"}
    used = {names.get(name, name) for name in textures.SURFACES}
    assert not used & {path.stem.lower() for path in tested}
    for name in textures.SURFACES:  # nor by another name
        surface = np.round(textures.photograph(name) * 255).astype(np.uint8)
        assert not any(surface.shape == photo.shape and np.array_equal(surface, photo) for photo in tested.values())


def test_scenes_use_no_other_photographs(monkeypatch):
    asked, original = set(), textures.photograph
    monkeypatch.setattr(textures, "photograph", lambda name: asked.add(name) or original(name))
    for seed in range(12):
        draw_scene(48, 64, rng(seed))
    assert asked == set(textures.SURFACES)


@pytest.mark.parametrize("name", textures.SURFACES)
def test_textures_are_colours_of_the_asked_size(name):
    crop = textures.texture(rng(), 33, 47, [name])
    assert crop.shape == (33, 47, 3)
    assert crop.dtype == np.float32
    assert 0 <= crop.min() < crop.max() <= 1
    assert np.array_equal(crop, textures.texture(rng(), 33, 47, [name]))
    assert not np.array_equal(crop, textures.texture(rng(1), 33, 47, [name]))


def test_where_the_cache_cannot_be_written_to_scenes_are_kept_in_the_temporary_folder(tmp_path, monkeypatch):
    (tmp_path / "home").touch()  # a file, so that not even an administrator can write below it
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *names: tmp_path.joinpath("home", *names))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.warns(UserWarning, match=r"home/seglib cannot be written to .* the variable XDG_CACHE_HOME names"):
        images, annotations = scenes.generated(2, 64, 0)
    assert annotations.is_file()
    assert next(path.name for path in tmp_path.iterdir() if path in images.parents).startswith("seglib-")
