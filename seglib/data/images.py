"""The one place where pictures, masks and labels are read from files: as a person sees them, or an error that says why
not. A file that is cut short or damaged, as far as its decoder can tell, is always an error.

A camera that was held upright stores its picture lying down, with a tag that says how to turn it. Pictures and hints
that a user brings are turned as the tag says, for that is how they were seen when they were drawn on. Pictures and
masks of a data set are read as they are stored (`as_stored`), both alike, for a mask has no tag.
"""

from __future__ import annotations

import errno
import io
import unicodedata
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from ..files import user_path

# Those of Pillow's formats that hold pixels and nothing that would have to be run (PostScript) or fetched.
FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP", "PPM", "JPEG2000", "AVIF")
SUFFIXES = frozenset(f".{suffix}" for suffix in "jpg jpeg png tif tiff webp gif bmp pgm ppm pbm pnm jp2 avif".split())
ORIENTATION = 0x0112  # the number of the tag, in EXIF and in TIFF
MAX_SAMPLE_VALUE = 0x0119  # likewise, in TIFF
TIFF_SIZE = (0x0100, 0x0101)  # width and height
BITS, WHITE_IS_ZERO, PLANAR, SAMPLE_FORMAT = 0x0102, 0x0106, 0x011C, 0x0153  # likewise
# What brings the stored picture upright, by the tag's value, and by which value it is undone.
TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda picture: picture[:, ::-1],
    3: lambda picture: picture[::-1, ::-1],
    4: lambda picture: picture[::-1],
    5: lambda picture: picture.swapaxes(0, 1),
    6: lambda picture: np.rot90(picture, -1),
    7: lambda picture: picture[::-1, ::-1].swapaxes(0, 1),
    8: lambda picture: np.rot90(picture, 1),
}
BACK = {6: 8, 8: 6}  # all others undo themselves
JPEG = ("JPEG", "MPO")  # by Pillow's names; the latter, of phones, is a JPEG with others behind it
DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras and microscopes record, often in a file of 16
BACKGROUNDS = (0, 255)  # black and white, which strokes are drawn on
TOLERANCE = 60  # of colours that stand for one: JPEG and soft brushes spread them
FULL = 0.99  # share of pixels that is as good as all
LABELS = 20  # more classes than anyone tells apart by numbers in a mask; above them are grey values
BORDER, VOC_BORDER = 255, (224, 224, 192)  # Pascal VOC's index and colour of the border between objects
MASK = (
    "expected a mask of one object: 0 and 255, or 0 and 1, or strokes of one colour on black, white or nothing "
    "(transparent)"
)


class DataError(ValueError):
    """Data that cannot be used; the message says what was looked for, where, and how to get it."""


class DataWarning(UserWarning):
    """Something about a file that was decided for the user."""


def read_photograph(path: str | Path, *, grey: bool = False, as_stored: bool = False) -> np.ndarray:
    """A picture as 8-bit RGB (H, W, 3), or `grey` (H, W).

    Of more than 8 bits a sample the upper 8 of those in use are kept: 12 bits in a file of 16 are told by their largest
    value, unless the file says what that is. Floats are taken from 0 to 1, or from 0 to 255. What is wholly
    transparent is white, whatever colour lies beneath. Of several pictures in a file the first is read. A `DataWarning`
    says where one of these was a guess.

    Args:
        as_stored: not turned as its orientation tag says.

    Raises:
        DataError: it cannot be read, or not whole.
    """
    picture, orientation = _photograph(path, grey)
    return picture if as_stored else turned(picture, orientation)


def read_annotated(path: str | Path, size: tuple[int, int]) -> np.ndarray:
    """A picture of a data set as it was annotated: uint8 RGB (H, W, 3).

    As stored where that has the `size` (H, W) that its annotations say, and turned as its tag says where only that has.

    Raises:
        DataError: it cannot be read, or has another size.
    """
    picture, orientation = _photograph(path, grey=False)
    return turned(picture, orientation) if _is_turned(path, picture.shape[:2], orientation, size) else picture


def check_annotated(path: str | Path, size: tuple[int, int]) -> None:
    """Raises DataError where `read_annotated` would, without decoding a JPEG finely."""
    stored, orientation = _size(path)
    _is_turned(path, stored, orientation, size)
    _load(path, coarse=True)


def _is_turned(path: str | Path, stored: tuple[int, ...], orientation: int, size: tuple[int, int]) -> bool:
    upright = stored[::-1] if orientation >= 5 else stored
    if tuple(size) not in (stored, upright):
        either = f", or turned as its tag says {upright}" if upright != stored else ""
        raise DataError(f"{path}: expected height and width {tuple(size)} as its annotations say, got {stored}{either}")
    return stored != tuple(size)


def read_size(path: str | Path) -> tuple[int, int] | None:
    """Height and width of a picture as stored, without reading its pixels; None where there is none to be read."""
    try:
        return _size(path)[0]
    except DataError:
        return None


def read_labels(path: str | Path, *, as_stored: bool = False) -> np.ndarray:
    """The whole numbers in a picture (H, W): indices into a palette, grey values, or colours whose channels are equal.

    Raises:
        DataError: it cannot be read, or has colours or fractions.
    """
    picture, _, opaque, _ = _samples(path, as_stored)
    if picture.ndim == 3:
        if (picture != picture[..., :1]).any():
            raise DataError(f"{path}: expected a picture of labels, got one with colours")
        picture = picture[..., 0]
    if picture.dtype.kind == "f":
        if not (picture == np.rint(picture)).all():
            raise DataError(f"{path}: expected whole numbers as labels, got fractions")
        picture = picture.astype(np.int64)
    if opaque is not None:
        raise DataError(f"{path}: expected a picture of labels, got one with transparent pixels")
    return picture


def read_mask(path: str | Path, *, as_stored: bool = False) -> np.ndarray:
    """The pixels of one object, bool (H, W), from a picture in one of the ways in which people store a mask.

    Grey above 127 is the object; so is the brighter of two values of which the darker is 0, such as 0 and 1. Of a
    transparent layer it is what was drawn on it, in one colour; of colours, the one that is drawn on black or white; of
    a palette's indices the one that is not black and not Pascal VOC's border.

    Raises:
        DataError: it cannot be read, or its meaning is not plain.
    """
    picture, palette, opaque, lossy = _samples(path, as_stored)
    try:
        if palette is not None:
            colours = palette[np.unique(picture)]
            if opaque is None and (colours != colours[:, :1]).any() and not colours.any(1).all():
                return _of_palette(picture, palette)
            picture = palette[picture]
        if opaque is not None:
            return _of_layer(picture, opaque)
        if picture.ndim == 3:
            if np.ptp(picture, axis=-1).max() > (TOLERANCE if lossy else 0):
                return _of_colours(to_8_bits(picture, path))
            picture = picture[..., 1]
        return _of_grey(picture, lossy, path)
    except _NotPlain as error:
        raise DataError(f"{path}: {MASK}, got {error}") from None


class _NotPlain(ValueError):
    """What a mask holds whose meaning is not plain."""


def read_rough_mask(path: str | Path) -> np.ndarray:
    """A user's rough mask, int8 (H, W): 1 on the object, see `read_mask`.

    Raises:
        DataError: likewise, or it is empty or full, or seems to be black strokes on white.
    """
    mask = read_mask(path)
    rim = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    if not mask.any():
        raise DataError(f"{path}: {MASK}, got no foreground at all")
    if mask.mean() > FULL or (rim.mean() > FULL and mask.mean() > 0.5):
        raise DataError(f"{path}: {MASK}, got foreground all along the edge; is the object black on white?")
    return mask.astype(np.int8)


def _of_palette(indices: np.ndarray, palette: np.ndarray) -> np.ndarray:
    classes = [index for index in np.unique(indices).tolist() if palette[index].any()]
    # VOC's border between objects is neither; it has its own colour there, and in other palettes only the number.
    classes = [i for i in classes if not (palette[i] == VOC_BORDER).all() and (i != BORDER or len(classes) == 1)]
    if len(classes) > 1:
        raise _NotPlain(f"a palette with {len(classes)} classes: {', '.join(map(str, classes[:5]))}")
    return np.isin(indices, classes)


def _of_layer(picture: np.ndarray, opaque: np.ndarray) -> np.ndarray:
    if not opaque.any():
        return opaque
    drawn = picture[opaque].reshape(np.count_nonzero(opaque), -1)
    if np.ptp(drawn.astype(np.int32), axis=0).max() <= TOLERANCE:
        return opaque
    if set(np.unique(drawn)) == set(BACKGROUNDS) and (drawn == drawn[:, :1]).all():  # white on black, on nothing
        return opaque & (picture.reshape(*opaque.shape, -1)[..., 0] > 127)
    raise _NotPlain("a transparent layer with several colours")


def _of_colours(picture: np.ndarray) -> np.ndarray:
    """Where colours lie nearer to the one that is farthest from the background, which most pixels have."""
    weights = np.array([1 << 16, 1 << 8, 1], np.int32)
    codes, where, counts = np.unique(picture.astype(np.int32) @ weights, return_inverse=True, return_counts=True)
    colours = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1).astype(float)
    ground = colours[counts.argmax()]
    if np.abs(ground - np.array(BACKGROUNDS)[:, None]).max(1).min() > TOLERANCE:
        raise _NotPlain("a picture whose background is neither black nor white")
    away = colours - ground
    farthest = away[(away**2).sum(1).argmax()]
    share = away @ farthest / (farthest @ farthest)
    if np.linalg.norm(away - share[:, None] * farthest, axis=1).max() > TOLERANCE:
        raise _NotPlain("several colours")
    return (share > 0.5)[where.reshape(picture.shape[:2])]


def _of_grey(picture: np.ndarray, lossy: bool, path: str | Path) -> np.ndarray:
    if lossy:
        if 0 < picture.max() <= 127:
            raise _NotPlain(
                f"a JPEG with nothing above {picture.max()}, which may be numbers of classes; save it as PNG"
            )
        return to_8_bits(picture, path) > 127
    if picture.dtype.kind == "f" and len(np.unique(picture)) > 2:  # soft edges
        picture = to_8_bits(picture, path)
    values = np.flatnonzero(np.bincount(picture.ravel())) if picture.dtype == np.uint8 else np.unique(picture)
    if len(values) == 1 or (values[0] == 0 and len(values) == 2):  # such as 0 and 1
        return picture > 0
    if len(values) == 3 and values[0] == 0 and values[1] <= LABELS and values[2] == BORDER:
        return picture == values[1]
    found = ", ".join(f"{value:g}" for value in values[:5]) + " …" * (len(values) > 5)
    if len(values) == 3 and values[0] == 0 and values[2] == 255 and abs(values[1] - 127.5) < 30:
        raise _NotPlain(f"grey values {found}, of which the middle one may mean that nothing is known")
    if values[-1] <= 127:
        raise _NotPlain(f"grey values {found}, none above 127")
    mask = to_8_bits(picture, path) > 127
    if mask.all():
        raise _NotPlain(f"grey values {found}, all above 127")
    return mask


def pictures_in(folder: str | Path) -> dict[str, list[Path]]:
    """The picture files of a folder by their names without suffix, in the order of their names.

    A suffix may be written large, and a letter with an accent as one sign or as two (the names' are as one); what has
    no picture's suffix, and hidden files, are left aside.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(Path(folder).iterdir()) if Path(folder).is_dir() else ():
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            found.setdefault(plain_name(path.stem), []).append(path)
    return found


def plain_name(name: str) -> str:
    """A name with its letters composed: macOS writes ä as a and two dots, others as one sign."""
    return unicodedata.normalize("NFC", name)


def only_one(paths: list[Path], what: str = "picture") -> Path:
    """The only one of the files of a name. Raises DataError, naming them, where there are more, or none."""
    if not paths:
        raise DataError(f"no {what} of its name")
    if len(paths) > 1:
        raise DataError(f"expected one {what} of a name, got {' and '.join(map(str, paths[:5]))}")
    return paths[0]


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of an npz file; objects, which could run code, are refused.

    Raises:
        DataError: it cannot be read whole.
    """
    content = _content(path, "whole npz file")
    try:
        with np.load(io.BytesIO(content)) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except Exception as error:  # NumPy and zipfile let through whatever they stumble over
        kind = "it holds Python objects, or is no npz file" if "pickle" in str(error) else _short(error)
        raise DataError(f"{path}: not a whole npz file ({kind}; was it cut short?)") from None
    others = [name for name, array in found.items() if not isinstance(array, np.ndarray)]
    if others:
        raise DataError(f"{path}: not an npz file, which holds arrays alone (in it is {others[0]:.60})")
    return found


def _content(path: str | Path, what: str = "readable image") -> bytes:
    """A file's bytes. (OpenCV, given a name that is not UTF-8, ends the process.)"""
    path = user_path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None
    if not content:
        raise DataError(f"{path}: not a {what} (the file is empty; was it cut short?)")
    return content


def _unreadable(path: Path, error: OSError) -> DataError:
    if error.errno in (errno.EISDIR, errno.EACCES, errno.EPERM) and path.is_dir():  # the latter two on Windows
        return DataError(f"{path}: is a folder; name the pictures in it, such as {path / '*.png'}")
    return DataError(f"{path}: {'no such file' if isinstance(error, FileNotFoundError) else error.strerror or error}")


@dataclass
class _Picture:
    """A picture with its pixels, as Pillow gives it.

    Attributes:
        tag: how the file says that it must be turned; 1: not at all.
        obeyed: by which tag Pillow has turned it already (it does so with TIFF); 1: not at all.
        deep: samples of more than 8 bits, where the picture has them: (H, W) grey, (H, W, 3), (H, W, 4) with opacity.
        top: the largest value that the file says they may have.
        jpeg: the pixels of a JPEG in grey or RGB; then there is no image.
    """

    image: Image.Image | None
    tag: int
    obeyed: int = 1
    deep: np.ndarray | None = None
    top: int | None = None
    jpeg: np.ndarray | None = None

    def stored(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (H, W, …) as they are stored."""
        return turned(pixels, BACK.get(self.obeyed, self.obeyed))


def _load(path: str | Path, grey: bool = False, coarse: bool = False) -> _Picture:
    """The first picture of a file; `grey`: of a JPEG only its brightness, `coarse`: an eighth of its pixels a side."""
    content = _content(path)
    if plain := _plain_jpeg(content, grey, coarse):
        return plain
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of tags that do not matter and of pictures that are large
        try:
            image = Image.open(io.BytesIO(content), formats=FORMATS)
            tag = _tag(image) if image.format in ("TIFF", *JPEG) else 1  # of a TIFF, loading takes it away
            pages = getattr(image, "n_frames", 1)
            said = getattr(image, "tag_v2", {})
            if 2 in np.atleast_1d(said.get(SAMPLE_FORMAT, 1)):
                raise ValueError("signed whole numbers; save it with unsigned ones")
            many_bits = image.mode in ("RGB", "RGBA", "LA") and (
                max(np.atleast_1d(said.get(BITS, 8))) > 8 or any(";16" in str(tile) for tile in image.tile)
            )
            if many_bits and said.get(PLANAR) == 2:
                raise ValueError("16 bits, one colour after the other; save it with the colours of a pixel together")
            jpeg = deep = None
            if image.format in JPEG and image.mode in ("L", "RGB"):
                jpeg = _decode_jpeg(content, grey or image.mode == "L", coarse)
            else:
                image.load()
                # Of 16 bits a colour Pillow keeps the upper 8. OpenCV obeys the tags that it obeys.
                deep = _deep_colours(content) if many_bits else None
        except Image.DecompressionBombError:
            most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
            raise DataError(f"{path}: has more than {most:,} pixels; shrink it or cut it up") from None
        except Exception as error:  # Pillow lets through whatever a format's decoder stumbles over
            raise DataError(f"{path}: not a readable image{_reason(content, error)}") from None
    if _ends_early(image.format, content):
        raise DataError(f"{path}: not a readable image (cut short)")
    if pages > 1:
        warnings.warn(f"{path}: holds {pages} pictures; the first is used", DataWarning, stacklevel=4)
    if jpeg is not None:
        return _Picture(None, tag, jpeg=jpeg)
    if image.mode[0] in "IF":
        deep = np.array(image)
        if image.mode != "F" and said.get(WHITE_IS_ZERO) == 0:
            deep = (1 << _bits(deep)) - 1 - deep
    left = _tag(image)
    return _Picture(image, max(tag, left), tag if left == 1 else 1, deep, _top(image))


def _deep_colours(content: bytes) -> np.ndarray:
    """Colours of 16 bits, (H, W, 3), or (H, W, 4) with opacity."""
    found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None or found.dtype != np.uint16 or found.ndim != 3:
        raise ValueError("more than 8 bits a colour, in a way that cannot be read; save it with 8")
    return found[..., [2, 1, 0, 3][: found.shape[2]]]


def _plain_jpeg(content: bytes, grey: bool, coarse: bool) -> _Picture | None:
    """A whole JPEG in grey or colours, of no great size, without tags or further pictures: most are so, and Pillow, to
    which all others are left, takes as long for its head as the decoder for a small picture."""
    if not content.startswith(b"\xff\xd8") or any(mark in content[: 2**16] for mark in (b"Exif", b"MPF\0", b"http://")):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
        if colours not in ("Gray", "YCbCr") or height * width > (Image.MAX_IMAGE_PIXELS or 0):
            return None
        return _Picture(None, 1, jpeg=_decode_jpeg(content, grey or colours == "Gray", coarse))
    except ValueError:
        return None


def _decode_jpeg(content: bytes, grey: bool, coarse: bool) -> np.ndarray:
    """Grey (H, W) or RGB (H, W, 3). ValueError where the decoder has anything to remark: Pillow and OpenCV would give
    what is left of a damaged picture."""
    smallest = {"min_width": 1, "min_height": 1} if coarse else {}
    pixels = simplejpeg.decode_jpeg(content, "GRAY" if grey else "RGB", strict=True, **smallest)
    return pixels[..., 0] if grey else pixels


def _bits(samples: np.ndarray) -> int:
    """How many bits a sample has, of those that are recorded, by the largest."""
    return next((bits for bits in DEPTHS if samples.max() < 2**bits), 32)


def _top(image: Image.Image) -> int | None:
    if image.format == "PPM":  # whose largest value is in its head, and which Pillow scales by it
        return 65535
    said = getattr(image, "tag_v2", {}).get(MAX_SAMPLE_VALUE)
    return max(said) if isinstance(said, tuple) else said


def _reason(content: bytes, error: Exception) -> str:
    if not isinstance(error, UnidentifiedImageError | KeyError):
        return f" ({_short(error)})"
    if content[:4] in (b"II*\0", b"MM\0*"):
        return (
            " (a TIFF that is cut short, or of a kind that cannot be read, such as colours as floats; save it as PNG)"
        )
    return " (expected JPEG, PNG, WebP, TIFF, GIF or BMP)"


def _short(error: Exception) -> str:
    """What an error says, without the content of a file that it may bring along."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= 120 else f"{words[:117]}…"


def _ends_early(kind: str | None, content: bytes) -> bool:
    """Whether the last bytes are missing, of formats whose decoder stops before them."""
    if kind == "PNG":
        return b"IEND\xaeB`\x82" not in content
    if kind == "GIF":
        return b"\0;" not in content[-64:]  # some programs put a few bytes behind the end
    return kind == "BMP" and int.from_bytes(content[2:6], "little") > len(content)


def _tag(image: Image.Image) -> int:
    try:
        tag = image.getexif().get(ORIENTATION, 1)
    except Exception:  # a damaged tag says nothing
        return 1
    return tag if tag in TURNS else 1


def turned(pixels: np.ndarray, tag: int) -> np.ndarray:
    """Stored pixels (H, W, …) turned as an orientation tag says."""
    return np.ascontiguousarray(TURNS[tag](pixels)) if tag in TURNS else pixels


def _size(path: str | Path) -> tuple[tuple[int, int], int]:
    """Height and width as stored, and the orientation tag, without decoding the pixels."""
    path = user_path(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
                # Newer versions of Pillow say of a TIFF how large it is once it is turned.
                stored = [image.tag_v2[tag] for tag in TIFF_SIZE] if image.format == "TIFF" else image.size
                tag = _tag(image)
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise _unreadable(path, error) from None
            raise DataError(f"{path}: not a readable image ({_short(error)})") from None
    return (stored[1], stored[0]), tag


def _photograph(path: str | Path, grey: bool) -> tuple[np.ndarray, int]:
    """A picture as for `read_photograph`, as stored, and its orientation tag."""
    picture, mode, hidden = _load(path, grey), "L" if grey else "RGB", None
    if picture.deep is not None:
        colours, opacity = _apart(picture.deep)
        hidden = None if opacity is None else opacity == 0
        pixels = to_8_bits(colours, path, picture.top)
        if pixels.ndim != (2 if grey else 3):
            pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY if grey else cv2.COLOR_GRAY2RGB)
    elif picture.jpeg is not None:
        pixels = picture.jpeg if grey or picture.jpeg.ndim == 3 else cv2.cvtColor(picture.jpeg, cv2.COLOR_GRAY2RGB)
    elif picture.image.has_transparency_data:
        colours, opacity = _apart(np.array(picture.image.convert("RGBA")))
        hidden = opacity == 0
        pixels = np.array(Image.fromarray(colours).convert(mode))
    else:
        pixels = np.array(picture.image if picture.image.mode == mode else picture.image.convert(mode))
    if hidden is not None:
        pixels[hidden] = 255
    return picture.stored(pixels), picture.tag


def _samples(path: str | Path, as_stored: bool) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None, bool]:
    """What numbers a picture holds, for masks and labels.

    Returns:
        Samples (H, W) or (H, W, 3), of a palette its indices; the palette (256, 3) or None; where it is opaque, bool
        (H, W), or None where all is; whether the file may hold other numbers than were meant.
    """
    picture = _load(path)
    image, palette, opacity, opaque = picture.image, None, None, None
    if image is None:
        assert picture.jpeg is not None
        samples = picture.jpeg
    elif picture.deep is not None:
        samples, opacity = _apart(picture.deep)
        opaque = None if opacity is None else opacity > 32767
        if samples.dtype.kind != "f" and samples.max() > 255 and not (samples % 257).any():
            samples = samples // 257  # how programs widen 8 bits to 16
    else:
        if image.has_transparency_data:
            opacity = np.array(image.convert("RGBA").getchannel("A"))
            opaque = opacity > opacity.max() / 2  # a layer may be half transparent all over
        if image.mode == "P" and image.format != "GIF":  # GIF's indices are of no meaning, and change when it is saved
            samples = np.array(image)
            palette = np.zeros((256, 3), np.uint8)
            known = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
            palette[: len(known)] = known
        else:
            grey = image.mode in ("1", "L", "LA")
            samples = np.array(image if image.mode in ("1", "L", "RGB") else image.convert("L" if grey else "RGB"))
            samples = samples.astype(np.uint8) if samples.dtype == bool else samples
    if opaque is not None and opaque.all():
        opaque = None
    turn = 1 if as_stored else picture.tag
    samples, opaque = (part if part is None else turned(picture.stored(part), turn) for part in (samples, opaque))
    return samples, palette, opaque, image is None or image.format in (*JPEG, "JPEG2000")


def _apart(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Grey or colours, and the opacity, where there is one."""
    return (pixels[..., :3], pixels[..., 3]) if pixels.ndim == 3 and pixels.shape[2] == 4 else (pixels, None)


def to_8_bits(samples: np.ndarray, path: str | Path, top: int | None = None) -> np.ndarray:
    """Samples as uint8, see `read_photograph`; `top`: the largest value that they may have, where that is known."""
    if samples.dtype == np.uint8:
        return samples
    low, high = samples.min(), samples.max()
    if samples.dtype.kind == "f":
        if not (np.isfinite(low) and np.isfinite(high) and low >= 0 and high <= 255):
            raise DataError(f"{path}: expected floats from 0 to 1, or from 0 to 255, got {low:g} to {high:g}")
        if high > 1:
            warnings.warn(f"{path}: floats up to {high:g}, taken as from 0 to 255", DataWarning, stacklevel=4)
        return np.round(samples * (1 if high > 1 else 255)).astype(np.uint8)
    if low < 0 or high > 65535:
        raise DataError(f"{path}: expected samples of at most 16 bits, from 0 to 65535, got {low} to {high}")
    if top and high <= top != 65535:
        return np.round(samples * (255 / top)).astype(np.uint8)
    bits = 16 if top else _bits(samples)
    if bits < 16:
        warnings.warn(
            f"{path}: a file of 16 bits a sample with none above {high}, read as one of {bits}",
            DataWarning,
            stacklevel=4,
        )
    return (samples >> (bits - 8)).astype(np.uint8)
