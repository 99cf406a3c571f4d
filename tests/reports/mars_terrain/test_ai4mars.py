"""The Mars homework's file from a small AI4Mars."""

import cv2
import numpy as np
import pytest
from PIL import Image

from seglib.__main__ import main
from seglib.data.images import DataError
from seglib.reports.mars_terrain import mars
from seglib.reports.mars_terrain.ai4mars import build_from_ai4mars, majority

STEM = "NLA_397681586EDR_F0020000AUT_04096M1"


@pytest.fixture
def source(tmp_path):
    """One photograph of 256×256 with soil above, big rock in a corner below, a rover and a far distance."""
    folder = tmp_path / "ai4mars-dataset-merged-0.1" / "msl"
    image = np.arange(256, dtype=np.uint8)[:, None].repeat(256, 1)
    labels = np.full((256, 256), 255, np.uint8)
    labels[:110], labels[160:, :200] = 0, 3
    rover, far = np.zeros((2, 256, 256), np.uint8)
    rover[:110, 200:], far[:20] = 1, 1
    for place, name, picture in (
        ("images/edr", f"{STEM}.JPG", image),
        ("labels/train", f"{STEM}.png", labels),
        ("images/mxy", f"{STEM.replace('EDR', 'MXY')}.png", rover),
        ("images/rng-30m", f"{STEM.replace('EDR', 'RNG')}.png", far),
    ):
        (folder / place).mkdir(parents=True)
        cv2.imwrite(str(folder / place / name), picture, [cv2.IMWRITE_JPEG_QUALITY, 100])
    return folder.parent


def test_the_homework_s_file(source, tmp_path, capsys):
    out = tmp_path / "mars" / "mars_for_students.npz"
    assert main(["build", "mars_terrain", str(source), "--out", str(out)]) == 0
    assert "2 labelled rows" in capsys.readouterr().out
    rows = mars.read_homework(tmp_path)
    assert rows.ids.tolist() == [STEM, STEM]
    upper, lower = rows.labels
    assert set(np.unique(upper[:10])) == {0}  # too far
    assert set(np.unique(upper[10:55, :100])) == {1}
    assert set(np.unique(upper[:, 100:])) == {0}  # the rover
    assert set(np.unique(upper[55:])) == {0}
    assert set(np.unique(lower[16:, :100])) == {4}
    assert not lower[:16].any()
    assert not lower[:, 100:].any()
    assert abs(rows.images[0, :, 5].astype(int) - np.arange(64) * 2).max() <= 2
    assert abs(rows.images[1, :, 5].astype(int) - np.arange(64, 128) * 2).max() <= 2


@pytest.mark.parametrize(("columns", "rows"), [(128, 2), (127, 1), (0, 1)])
def test_a_half_that_is_labelled_by_less_than_half_is_left_out(source, tmp_path, columns, rows):
    path = source / "msl/labels/train" / f"{STEM}.png"
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    labels[128:] = 255
    labels[128:, : 2 * (columns // 2)] = 2
    cv2.imwrite(str(path), labels)
    assert build_from_ai4mars(source, tmp_path / "one.npz") == rows


def test_majority_by_hand():
    labels = np.array([[1, 1, 0, 2], [1, 0, 2, 2], [3, 3, 4, 0], [0, 0, 4, 4]], np.uint8)
    assert majority(labels, 2).tolist() == [[1, 2], [0, 4]]


def test_what_cannot_be_built(source, tmp_path):
    out = tmp_path / "x.npz"
    with pytest.raises(DataError, match="no label in"):
        build_from_ai4mars(tmp_path / "nowhere", out)
    label = source / "msl/labels/train" / f"{STEM}.png"
    whole = cv2.imread(str(label), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(label), np.where(whole == 0, 7, whole))
    with pytest.raises(DataError, match=r"0 to 3 and 255, got also \[7\]"):
        build_from_ai4mars(source, out)
    cv2.imwrite(str(label), whole[:100])
    with pytest.raises(DataError, match=r"expected its photograph's size \(256, 256\), got \(100, 256\)"):
        build_from_ai4mars(source, out)
    label.write_bytes(b"no picture")
    with pytest.raises(DataError, match="not a readable image"):
        build_from_ai4mars(source, out)
    assert not out.exists()
    cv2.imwrite(str(label), whole)
    (source / "msl/images/edr" / f"{STEM}.JPG").rename(source / "msl/images/edr" / "other.JPG")
    with pytest.raises(DataError, match="square photograph"):
        build_from_ai4mars(source, out)
    out.touch()
    with pytest.raises(DataError, match="there already"):
        build_from_ai4mars(source, out)


def test_without_a_labelled_square_photograph_nothing_is_written(source, tmp_path):
    photograph, label = source / "msl/images/edr" / f"{STEM}.JPG", source / "msl/labels/train" / f"{STEM}.png"
    cv2.imwrite(str(label), np.full((256, 256), 255, np.uint8))
    with pytest.raises(DataError, match="marks half of a square photograph"):
        build_from_ai4mars(source, tmp_path / "x.npz")
    for path in (photograph, label):  # a narrow one is skipped
        cv2.imwrite(str(path), np.zeros((256, 200), np.uint8))
    with pytest.raises(DataError, match="marks half of a square photograph"):
        build_from_ai4mars(source, tmp_path / "x.npz")
    assert not list(tmp_path.glob("*.npz"))


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_photograph_that_was_cut_short(source, tmp_path, share):
    photograph = source / "msl/images/edr" / f"{STEM}.JPG"
    content = photograph.read_bytes()
    photograph.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=f"{STEM}.JPG: not a readable image"):
        build_from_ai4mars(source, tmp_path / "x.npz")


@pytest.mark.parametrize("kind", ["mxy", "rng-30m"])
def test_a_mask_of_another_size(source, tmp_path, kind):
    (mask,) = (source / "msl/images" / kind).iterdir()
    cv2.imwrite(str(mask), np.zeros((128, 128), np.uint8))
    with pytest.raises(DataError, match=rf"{mask.name}: expected its photograph's size \(256, 256\), got \(128, 128\)"):
        build_from_ai4mars(source, tmp_path / "x.npz")


def test_masks_that_are_missing_or_applied_already_change_nothing(source, tmp_path):
    build_from_ai4mars(source, tmp_path / "masked.npz")
    label = source / "msl/labels/train" / f"{STEM}.png"
    labels = cv2.imread(str(label), cv2.IMREAD_UNCHANGED)
    labels[:110, 200:], labels[:20] = 255, 255
    cv2.imwrite(str(label), labels)
    build_from_ai4mars(source, tmp_path / "again.npz")
    for kind in ("mxy", "rng-30m"):
        (mask,) = (source / "msl/images" / kind).iterdir()
        mask.unlink()
    build_from_ai4mars(source, tmp_path / "without.npz")
    one, *others = (mars.read_homework(tmp_path / f"{name}.npz") for name in ("masked", "again", "without"))
    assert all((one.labels == other.labels).all() for other in others)


def test_a_palette_s_indices_are_the_labels(source, tmp_path):
    build_from_ai4mars(source, tmp_path / "grey.npz")
    label = source / "msl/labels/train" / f"{STEM}.png"
    picture = Image.fromarray(cv2.imread(str(label), cv2.IMREAD_UNCHANGED))
    picture.putpalette([200, 100, 0] * 256)
    picture.save(label)
    build_from_ai4mars(source, tmp_path / "palette.npz")
    grey, palette = (mars.read_homework(tmp_path / f"{name}.npz").labels for name in ("grey", "palette"))
    assert (grey == palette).all()


def test_photographs_that_experts_labelled_are_the_test_set(source, tmp_path):
    build_from_ai4mars(source, tmp_path / "without.npz")
    with pytest.raises(DataError, match="test_set"):
        mars.read_test_set(tmp_path / "without.npz")
    name, image = "NLB_527820640EDR_F0580000NCAM00253M1", np.arange(256, dtype=np.uint8)[::-1, None].repeat(256, 1)
    gold = np.full((256, 256), 255, np.uint8)
    gold[140:200] = 2  # in the lower half alone
    (source / "msl/labels/test/masked-gold-min3-100agree").mkdir(parents=True)
    cv2.imwrite(str(source / "msl/images/edr" / f"{name}.JPG"), image, [cv2.IMWRITE_JPEG_QUALITY, 100])
    cv2.imwrite(str(source / "msl/labels/test/masked-gold-min3-100agree" / f"{name}_merged.png"), gold)
    assert build_from_ai4mars(source, tmp_path / "with.npz") == 2
    test = mars.read_test_set(tmp_path / "with.npz")
    assert test.shape == (1, 64, 128)
    assert test.dtype == np.uint8
    assert abs(test[0, :, 5].astype(int) - (255 - np.arange(64, 128) * 2)).max() <= 2
    assert set(mars.read_homework(tmp_path / "with.npz").ids) == {STEM}
