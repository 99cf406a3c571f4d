"""The one reader of pictures: what a person sees, or an error that names the file and what is wrong with it."""

import io
import os
import sys
import unicodedata
import warnings
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from seglib.data.images import (
    DataError,
    DataWarning,
    check_annotated,
    only_one,
    pictures_in,
    read_annotated,
    read_arrays,
    read_labels,
    read_mask,
    read_photograph,
    read_rough_mask,
    read_size,
)

HEIGHT, WIDTH = 6, 9
RGB = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
GREY = RGB[..., 1]
EXACT = {"png": {}, "tif": {}, "webp": {"lossless": True}, "bmp": {}, "ppm": {}}
PACKED = [("tif", {"compression": kind}) for kind in ("tiff_lzw", "tiff_adobe_deflate", "packbits")]


@pytest.fixture(autouse=True)
def nothing_is_said():
    """A warning that a test does not expect is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def store(path, picture, **options):
    """A picture as a file, by Pillow; an array of uint8 or uint16."""
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(path, **options)
    return path


# --- right pictures ---


@pytest.mark.parametrize(("suffix", "options"), [*EXACT.items(), *PACKED])
def test_pixels_are_those_that_were_stored(tmp_path, suffix, options):
    assert np.array_equal(read_photograph(store(tmp_path / f"a.{suffix}", RGB, **options)), RGB)


@pytest.mark.parametrize("subsampling", [0, 2])
def test_jpegs_are_decoded_as_by_opencv(tmp_path, subsampling):
    smooth = cv2.resize(RGB, (101, 67), interpolation=cv2.INTER_CUBIC)
    path = store(tmp_path / "a.jpg", smooth, subsampling=subsampling)
    assert np.array_equal(read_photograph(path), cv2.imread(str(path), cv2.IMREAD_COLOR_RGB))
    assert np.array_equal(read_photograph(path, grey=True), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK"])
def test_every_kind_of_colours_equals_its_rgb(tmp_path, mode):
    picture = Image.fromarray(RGB).convert(mode)
    path = store(tmp_path / f"a.{'tif' if mode == 'CMYK' else 'png'}", picture)
    assert np.array_equal(read_photograph(path), np.asarray(picture.convert("RGB")))


def test_grey_is_the_colours_luminance_and_the_array_may_be_written_to(tmp_path):
    path = store(tmp_path / "a.png", RGB)
    found = read_photograph(path, grey=True)
    assert np.abs(found - RGB @ np.array([0.299, 0.587, 0.114])).max() <= 0.51
    for picture in (found, read_photograph(path)):
        picture[:] = 0


# --- orientation ---

# Where the stored picture's first row and first column are when it is seen, as TIFF 6.0 (1992) defines the tag.
SIDES = {1: "top left", 2: "top right", 3: "bottom right", 4: "bottom left"}
SIDES |= {5: "left top", 6: "right top", 7: "right bottom", 8: "left bottom"}


def upright(stored, tag):
    """Each stored pixel put where it is seen."""
    row_side, column_side = SIDES[tag].split()
    height, width = stored.shape[:2]
    seen = np.zeros((height, width, *stored.shape[2:]) if tag < 5 else (width, height, *stored.shape[2:]), stored.dtype)
    for row in range(height):
        for column in range(width):
            down = row if row_side in ("top", "left") else height - 1 - row
            across = column if column_side in ("top", "left") else width - 1 - column
            seen[(down, across) if tag < 5 else (across, down)] = stored[row, column]
    return seen


def tagged(path, picture, tag):
    if path.suffix == ".tif":
        return store(path, picture, tiffinfo={0x0112: tag})
    exif = Image.Exif()
    exif[0x0112] = tag
    return store(path, picture, exif=exif, **({"quality": 100} if path.suffix == ".jpg" else {"lossless": True}))


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("tag", SIDES)
def test_a_photograph_is_seen_upright_and_a_data_set_s_as_it_is_stored(tmp_path, suffix, tag):
    path, plain = tagged(tmp_path / f"a.{suffix}", RGB, tag), tmp_path / f"plain.{suffix}"
    stored = read_photograph(tagged(plain, RGB, 1))
    assert suffix == "jpg" or np.array_equal(stored, RGB)
    assert np.array_equal(read_photograph(path), upright(stored, tag))
    assert np.array_equal(read_photograph(path, as_stored=True), stored)
    assert read_size(path) == (HEIGHT, WIDTH)
    turned = (HEIGHT, WIDTH) if tag < 5 else (WIDTH, HEIGHT)
    for size in {(HEIGHT, WIDTH), turned}:
        assert np.array_equal(read_annotated(path, size), stored if size == (HEIGHT, WIDTH) else upright(stored, tag))
        check_annotated(path, size)
    for read in (read_annotated, check_annotated):
        with pytest.raises(DataError, match=rf"a\.{suffix}: expected height and width \(5, 5\) as its annotations say"):
            read(path, (5, 5))


@pytest.mark.parametrize("tag", SIDES)
def test_masks_and_labels_are_turned_like_photographs(tmp_path, tag):
    labels = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH)
    path = tagged(tmp_path / "a.png", labels, tag)
    assert np.array_equal(read_labels(path), upright(labels, tag))
    assert np.array_equal(read_labels(path, as_stored=True), labels)
    path = tagged(tmp_path / "b.tif", (labels % 7 == 0).astype(np.uint8) * 255, tag)
    assert np.array_equal(read_mask(path), upright(labels % 7 == 0, tag))
    assert np.array_equal(read_mask(path, as_stored=True), labels % 7 == 0)


@pytest.mark.parametrize("tag", [1, 2, 4, 6, 7])
def test_colours_of_16_bits_are_turned_as_well(tmp_path, tag):
    deep = RGB.astype(np.uint16) * 257
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, deep, photometric="rgb", extratags=[(0x0112, "H", 1, tag, True)])
    assert np.array_equal(read_photograph(path), upright(RGB, tag))
    assert np.array_equal(read_photograph(path, as_stored=True), RGB)


# --- bit depths ---


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("colours", [False, True])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_the_upper_8_bits_of_those_in_use_are_kept(tmp_path, bits, colours, suffix):
    picture = RGB if colours else GREY
    picture = np.where(picture == picture.max(), 255, picture)  # all bits are in use
    deep = picture.astype(np.uint16) << (bits - 8) | np.uint16((1 << (bits - 8)) - 1)
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), deep[..., ::-1] if colours else deep)
    if bits == 16:
        found = read_photograph(path, grey=not colours)
    else:
        with pytest.warns(DataWarning, match=rf"a\.{suffix}: a file of 16 bits .* read as one of {bits}$"):
            found = read_photograph(path, grey=not colours)
    assert np.array_equal(found, picture)


def test_the_file_s_own_maximum_counts_where_it_says_one(tmp_path):
    deep = np.round(GREY * (1000 / 255)).astype(np.uint16)
    path = store(tmp_path / "a.tif", deep, tiffinfo={0x0119: 1000})
    assert np.array_equal(read_photograph(path, grey=True), GREY)
    (tmp_path / "a.pgm").write_bytes(b"P5 9 6 1000\n" + deep.astype(">u2").tobytes())
    assert np.abs(read_photograph(tmp_path / "a.pgm", grey=True).astype(int) - GREY).max() <= 1


@pytest.mark.parametrize(("top", "said"), [(1, None), (255, "taken as from 0 to 255")])
def test_floats(tmp_path, top, said):
    path = store(tmp_path / "a.tif", (GREY * (np.float32(top) / 255)).astype(np.float32))
    if said:
        with pytest.warns(DataWarning, match=said):
            found = read_photograph(path)
    else:
        found = read_photograph(path)
    assert np.array_equal(found, np.stack([GREY] * 3, -1))


@pytest.mark.parametrize("values", [-1.0, 256.0, np.nan, np.inf])
def test_floats_that_are_no_picture_are_refused(tmp_path, values):
    picture = GREY.astype(np.float32)
    picture[1, 2] = values
    with pytest.raises(DataError, match=r"a\.tif: expected floats from 0 to 1, or from 0 to 255, got "):
        read_photograph(store(tmp_path / "a.tif", picture))


def test_a_tiff_of_another_kind_is_named(tmp_path):
    cv2.imwrite(str(tmp_path / "a.tif"), RGB.astype(np.float32))
    with pytest.raises(DataError, match=r"a\.tif: not a readable image \(a TIFF .* save it as PNG\)"):
        read_photograph(tmp_path / "a.tif")
    for values in (GREY.astype(np.uint32) * 2**20, GREY.view(np.int8), -GREY.astype(np.int16)):
        tifffile.imwrite(tmp_path / "b.tif", values)
        with pytest.raises(DataError, match=r"b\.tif: (expected samples of at most 16 bits|.*signed whole numbers)"):
            read_photograph(tmp_path / "b.tif")


def test_rare_tiffs_are_read_right_or_named(tmp_path):
    """Channels one after the other, and white as 0."""
    planes, path = np.moveaxis(RGB, -1, 0), tmp_path / "a.tif"
    tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate")
    assert np.array_equal(read_photograph(path), RGB)
    tifffile.imwrite(path, planes.astype(np.uint16) * 257, photometric="rgb", planarconfig="separate")
    with pytest.raises(DataError, match=r"a\.tif: .*one colour after the other; save it with"):
        read_photograph(path)
    for inverted in (255 - GREY, 65535 - GREY.astype(np.uint16) * 257):
        tifffile.imwrite(path, inverted, photometric="miniswhite")
        assert np.array_equal(read_photograph(path, grey=True), GREY)


# --- transparency ---


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("kind", ["RGBA", "LA", "P", "16 bits"])
def test_colours_under_full_transparency_do_not_count(tmp_path, grey, kind):
    opacity = np.array([0, 1, 255], np.uint8)[np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 3]
    found = []
    for hidden in (0, 77):
        path = tmp_path / f"{hidden}.png"
        colours = np.where(opacity[..., None] == 0, hidden, RGB).astype(np.uint8)
        if kind == "16 bits":
            deep = np.dstack([colours[..., ::-1], opacity]).astype(np.uint16) * 257
            cv2.imwrite(str(path), deep)
        elif kind == "P":
            palette = Image.fromarray(np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH), "P")
            palette.putpalette(colours.reshape(-1, 3).tobytes())
            store(path, palette, transparency=opacity.tobytes())
        else:
            store(path, Image.fromarray(np.dstack([colours, opacity]), "RGBA").convert(kind))
        found.append(read_photograph(path, grey=grey))
    assert np.array_equal(*found)
    assert (found[0][opacity == 0] == 255).all()
    expected = np.asarray(Image.fromarray(RGB).convert("L" if grey or kind == "LA" else "RGB"))
    expected = expected if grey or kind != "LA" else np.stack([expected] * 3, -1)
    difference = np.abs(found[0].astype(int) - expected)[opacity > 0]
    assert difference.max() <= (1 if grey else 0)


# --- several pictures ---


@pytest.mark.parametrize("suffix", ["tif", "gif", "webp"])
def test_of_several_pictures_the_first_is_used_and_a_line_says_so(tmp_path, suffix):
    frames = [Image.fromarray(np.full((HEIGHT, WIDTH, 3), value, np.uint8)) for value in (0, 255, 0)]
    path = store(tmp_path / f"a.{suffix}", frames[0], save_all=True, append_images=frames[1:])
    with pytest.warns(DataWarning) as said:
        assert not read_photograph(path).any()
    assert [str(one.message) for one in said] == [f"{path}: holds 3 pictures; the first is used"]


# --- damage ---

LARGE = cv2.resize(RGB, (90, 60), interpolation=cv2.INTER_NEAREST) ^ np.random.default_rng(1).integers(
    0, 16, (60, 90, 3), np.uint8
)
ALL_FORMATS = [("jpg", {}), ("jpg", {"progressive": True}), *EXACT.items(), *PACKED, ("gif", {}), ("webp", {})]
READERS = [read_photograph, read_labels, read_mask, lambda path: read_annotated(path, (60, 90))]
READERS += [lambda path: check_annotated(path, (60, 90))]


@pytest.mark.parametrize(("suffix", "options"), ALL_FORMATS)
def test_a_file_that_is_cut_is_an_error_for_every_reader(tmp_path, suffix, options):
    whole = store(tmp_path / f"whole.{suffix}", LARGE, **options)
    read_photograph(whole)
    content, path = whole.read_bytes(), tmp_path / f"cut.{suffix}"
    for length in {0, 1, 10, 100, len(content) // 4, len(content) // 2, len(content) * 9 // 10, *range(-9, 0)}:
        path.write_bytes(content[:length])
        for read in READERS:
            with pytest.raises(DataError, match=rf"cut\.{suffix}: not a readable image"):
                read(path)


@settings(max_examples=60, deadline=None)
@given(where=st.floats(0.05, 0.95), bit=st.integers(0, 7))
def test_a_png_with_another_bit_is_an_error(tmp_path_factory, where, bit):
    path = store(tmp_path_factory.mktemp("png") / "a.png", LARGE)
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(DataError, match="not a readable image"):
        read_photograph(path)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_jpeg_whose_decoder_remarks_on_damage_is_an_error(tmp_path, options):
    """Pillow and OpenCV take what is left of it: an end was put behind a cut, or something in the middle is gone."""
    content = store(tmp_path / "a.jpg", np.kron(LARGE, np.ones((4, 4, 1), np.uint8)), **options).read_bytes()
    half = len(content) // 2
    for broken in (content[:half] + b"\xff\xd9", content[:half] + bytes(400) + content[half + 400 :]):
        (tmp_path / "a.jpg").write_bytes(broken)
        assert Image.open(tmp_path / "a.jpg").convert("RGB").size == (360, 240)
        for read in READERS[:3]:
            with pytest.raises(DataError, match=r"a\.jpg: not a readable image \("):
                read(tmp_path / "a.jpg")
        with pytest.raises(DataError, match=r"a\.jpg: not a readable image \("):
            check_annotated(tmp_path / "a.jpg", (240, 360))


def test_bytes_of_padding_before_a_jpeg_s_end_are_no_damage(tmp_path):
    path = store(tmp_path / "a.jpg", LARGE)
    whole = read_photograph(path)
    path.write_bytes(path.read_bytes()[:-2] + b"\x55\x66\xff\xd9")
    assert np.array_equal(read_photograph(path), whole)


def test_a_picture_too_large_for_any_memory_is_refused_by_its_head(tmp_path):
    """A PNG that says it has 100,000 × 100,000 pixels."""
    content = bytearray(store(tmp_path / "a.png", GREY).read_bytes())
    content[16:24] = (100_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png: has more than [\d,]+ pixels; shrink it"):
        read_photograph(tmp_path / "a.png")


@pytest.mark.parametrize("read", [read_photograph, read_labels, read_mask, read_rough_mask, read_arrays])
def test_what_is_no_file_says_what_it_is(tmp_path, read):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "folder.png").mkdir()
    for name, said in {
        "missing.png": "no such file",
        "empty.png": "not a .*the file is empty",
        "text.png": "not a ",
        "folder.png": "is a folder; name the pictures in it",
    }.items():
        with pytest.raises(DataError, match=f"{name}: {said}"):
            read(tmp_path / name)
    assert read_size(tmp_path / "text.png") is None
    assert read_size(tmp_path / "missing.png") is None


# --- names ---


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are Unicode")
def test_a_name_that_is_no_utf_8(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    store(path, RGB)
    assert np.array_equal(read_photograph(path), RGB)


def test_home_is_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    store(tmp_path / "a.png", RGB)
    assert np.array_equal(read_photograph("~/a.png"), RGB)
    assert read_size("~/a.png") == (HEIGHT, WIDTH)


def test_the_pictures_of_a_folder(tmp_path):
    accent = unicodedata.normalize("NFD", "élan")
    for name in ("b.JPG", "a.png", f"{accent}.jpeg", "a.json", ".hidden.png", "notes.txt", "a.TIFF"):
        (tmp_path / name).touch()
    found = pictures_in(tmp_path)
    assert {name: sorted(path.name for path in paths) for name, paths in found.items()} == {
        "a": ["a.TIFF", "a.png"],
        "b": ["b.JPG"],
        "élan": [f"{accent}.jpeg"],
    }
    assert only_one(found["b"]).name == "b.JPG"
    with pytest.raises(DataError, match=r"expected one mask of a name, got .*a\.TIFF and .*a\.png"):
        only_one(found["a"], "mask")
    with pytest.raises(DataError, match="no mask of its name"):
        only_one([], "mask")
    assert pictures_in(tmp_path / "nowhere") == {}


# --- masks ---

OBJECT = np.zeros((HEIGHT, WIDTH), bool)
OBJECT[1:4, 2:7] = True
VOC = [0, 0, 0, 128, 0, 0, 0, 128, 0]


def indexed(indices, palette):
    picture = Image.fromarray(indices.astype(np.uint8), "P")
    picture.putpalette(palette)
    return picture


def voc(indices):
    return indexed(indices, VOC + [0] * (3 * 252) + [224, 224, 192])


def colours(inside, outside):
    return np.where(OBJECT[..., None], inside, outside).astype(np.uint8)


def layer(inside, outside=(0, 0, 0)):
    return Image.fromarray(np.dstack([colours(inside, outside), OBJECT * np.uint8(255)]), "RGBA")


BORDERED = np.where(OBJECT, 1, 0)
BORDERED[4, 2:7] = 255
SOFT = cv2.GaussianBlur(OBJECT.astype(np.float32), (3, 3), 0.5)
MASKS = {
    "0 and 255": OBJECT * np.uint8(255),
    "0 and 1": OBJECT.astype(np.uint8),
    "0 and 7": OBJECT * np.uint8(7),
    "1 bit": Image.fromarray(OBJECT),
    "soft": np.round(SOFT * 255).astype(np.uint8),
    "0 and 1, border 255": BORDERED.astype(np.uint8),
    "16 bits, 0 and 1": OBJECT.astype(np.uint16),
    "16 bits, 0 and 65535": OBJECT * np.uint16(65535),
    "16 bits, 0, 1 and border, widened": BORDERED.astype(np.uint16) * np.uint16(257),
    "floats": OBJECT.astype(np.float32),
    "as RGB": np.dstack([OBJECT * np.uint8(255)] * 3),
    "as RGBA": np.dstack([OBJECT * np.uint8(255)] * 3 + [np.full(OBJECT.shape, 255, np.uint8)]),
    "VOC": voc(OBJECT),
    "VOC with a border": voc(BORDERED),
    "VOC, another class": voc(OBJECT * 2),
    "palette of white and black": indexed(~OBJECT, [255, 255, 255, 0, 0, 0]),
    "palette, red before black": indexed(~OBJECT, [255, 0, 0, 0, 0, 0]),
    "red on black": colours((255, 0, 0), (0, 0, 0)),
    "red on white": colours((255, 0, 0), (255, 255, 255)),
    "white on nothing": layer((255, 255, 255), (255, 255, 255)),
    "red on nothing": layer((255, 0, 0)),
    "black on nothing": layer((0, 0, 0)),
    "grey on nothing": layer((90, 90, 90)).convert("LA"),
    "half transparent": Image.fromarray(np.dstack([colours((255, 0, 0), (0, 0, 0)), OBJECT * np.uint8(100)]), "RGBA"),
    "soft floats": SOFT,
}
MASKS["soft"][OBJECT & (MASKS["soft"] <= 127)] = 128
MASKS["soft"][~OBJECT & (MASKS["soft"] > 127)] = 127


@pytest.mark.parametrize("kind", MASKS)
def test_a_mask_is_understood(tmp_path, kind):
    path = store(tmp_path / ("a.tif" if "floats" in kind else "a.png"), MASKS[kind])
    assert np.array_equal(read_mask(path), OBJECT)
    assert np.array_equal(read_rough_mask(path), OBJECT.astype(np.int8))
    assert read_rough_mask(path).dtype == np.int8


@pytest.mark.parametrize("colour", [(255, 255, 255), (255, 0, 0)])
def test_a_mask_that_was_saved_as_jpeg(tmp_path, colour):
    large = cv2.resize(colours(colour, (0, 0, 0)), None, fx=16, fy=16, interpolation=cv2.INTER_NEAREST)
    path = store(tmp_path / "a.jpg", large, quality=80, subsampling=0)
    found = read_mask(path)
    assert np.mean(found != OBJECT.repeat(16, 0).repeat(16, 1)) < 0.02


TWO = colours((255, 0, 0), (0, 0, 0))
TWO[0] = (0, 255, 0)
UNCLEAR = {
    "several colours": TWO,
    "several colours on nothing": np.dstack([TWO, np.where(TWO.any(-1), 255, 0).astype(np.uint8)]),
    "a photograph": RGB,
    "several classes": voc(np.where(OBJECT, 2, np.arange(WIDTH) == 0)),
    "grey values 0, 1, 2": OBJECT.astype(np.uint8) + (np.arange(WIDTH) == 3),
    "grey values 200, 201, all above": np.where(OBJECT, 201, 200).astype(np.uint8),
    "grey values 0, 128, 255": np.where(OBJECT, 255, 128 * (np.arange(WIDTH) == 0)).astype(np.uint8),
}


@pytest.mark.parametrize("kind", UNCLEAR)
def test_a_mask_whose_meaning_is_not_plain_is_refused(tmp_path, kind):
    path = store(tmp_path / "a.png", UNCLEAR[kind])
    with pytest.raises(DataError, match=r"a\.png: expected a mask of one object: .*, got \w+") as error:
        read_mask(path)
    assert kind.split(",")[0].split(" on ")[0] in str(error.value) or kind in ("a photograph", "several classes")


def test_an_empty_mask_is_a_mask_and_no_hint(tmp_path):
    for i, empty in enumerate((OBJECT * np.uint8(0), Image.new("RGBA", (WIDTH, HEIGHT), (255, 255, 255, 0)))):
        path = store(tmp_path / f"{i}.png", empty)
        assert not read_mask(path).any()
        with pytest.raises(DataError, match=rf"{i}\.png: expected a mask .*, got no foreground at all"):
            read_rough_mask(path)


@pytest.mark.parametrize("inside", [255, 1])
def test_a_hint_that_is_full_or_black_on_white_is_refused(tmp_path, inside):
    full, inverted = np.full((40, 50), inside, np.uint8), np.full((40, 50), inside, np.uint8)
    inverted[10:20, 10:30] = 0
    for picture in (full, inverted):
        path = store(tmp_path / "a.png", picture)
        with pytest.raises(
            DataError, match=r"a\.png: .*, got foreground all along the edge; is the object black on white"
        ):
            read_rough_mask(path)


def test_numbers_of_classes_in_a_jpeg_are_refused_and_a_black_one_is_empty(tmp_path):
    large = np.kron(OBJECT, np.ones((8, 8), np.uint8)).astype(np.uint8)
    with pytest.raises(DataError, match=r"a\.jpg: .*a JPEG with nothing above \d"):
        read_mask(store(tmp_path / "a.jpg", large * 9))
    assert not read_mask(store(tmp_path / "a.jpg", large * 0)).any()


@pytest.mark.parametrize(
    ("picture", "labels"),
    [
        (voc(BORDERED), BORDERED),
        (Image.fromarray(OBJECT), OBJECT),
        (BORDERED.astype(np.uint8), BORDERED),
        (BORDERED.astype(np.uint16), BORDERED),
        (np.dstack([BORDERED.astype(np.uint8)] * 3), BORDERED),
    ],
)
def test_labels_are_the_numbers_in_the_file(tmp_path, picture, labels):
    assert np.array_equal(read_labels(store(tmp_path / "a.png", picture)), labels)


def test_what_holds_no_labels_is_refused(tmp_path):
    for picture, said in ((TWO, "got one with colours"), (layer((255, 255, 255)), "got one with transparent pixels")):
        with pytest.raises(DataError, match=rf"a\.png: expected a picture of labels, {said}"):
            read_labels(store(tmp_path / "a.png", picture))
    with pytest.raises(DataError, match=r"a\.tif: expected whole numbers as labels, got fractions"):
        read_labels(store(tmp_path / "a.tif", GREY / np.float32(7)))


def test_arrays(tmp_path):
    np.savez(tmp_path / "a.npz", x=GREY, y=OBJECT)
    found = read_arrays(tmp_path / "a.npz")
    assert list(found) == ["x", "y"]
    assert np.array_equal(found["x"], GREY)
    buffer = io.BytesIO()
    np.savez(buffer, x=np.array([print], object))
    (tmp_path / "code.npz").write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match=r"code\.npz: not a whole npz file \(it holds Python objects"):
        read_arrays(tmp_path / "code.npz")
