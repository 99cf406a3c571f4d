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
LABEL, PHOTOGRAPH = f"msl/labels/train/{STEM}.png", f"msl/images/edr/{STEM}.JPG"


@pytest.fixture
def source(tmp_path):
    """One photograph of 256×256 with soil above, big rock in a corner below, a rover and a far distance."""
    folder = tmp_path / "ai4mars-dataset-merged-0.1"
    image = np.arange(256, dtype=np.uint8)[:, None].repeat(256, 1)
    labels = np.full((256, 256), 255, np.uint8)
    labels[:110], labels[160:, :200] = 0, 3
    rover, far = np.zeros((2, 256, 256), np.uint8)
    rover[:110, 200:], far[:20] = 1, 1
    for place, picture in (
        (PHOTOGRAPH, image),
        (LABEL, labels),
        (f"msl/images/mxy/{STEM.replace('EDR', 'MXY')}.png", rover),
        (f"msl/images/rng-30m/{STEM.replace('EDR', 'RNG')}.png", far),
    ):
        (folder / place).parent.mkdir(parents=True)
        write(folder / place, picture)
    return folder


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def write(path, picture):
    cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 100])


def refused(source, out, message):
    with pytest.raises(DataError, match=message):
        build_from_ai4mars(source, out)


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
    labels = read(source / LABEL)
    labels[128:] = 255
    labels[128:, : 2 * (columns // 2)] = 2
    write(source / LABEL, labels)
    assert build_from_ai4mars(source, tmp_path / "one.npz") == rows


def test_majority_by_hand():
    labels = np.array([[1, 1, 0, 2], [1, 0, 2, 2], [3, 3, 4, 0], [0, 0, 4, 4]], np.uint8)
    assert majority(labels, 2).tolist() == [[1, 2], [0, 4]]


def test_what_cannot_be_built(source, tmp_path):
    out, whole = tmp_path / "x.npz", read(source / LABEL)
    refused(tmp_path / "nowhere", out, "no label in")
    write(source / LABEL, np.where(whole == 0, 7, whole))
    refused(source, out, r"0 to 3 and 255, got also \[7\]")
    write(source / LABEL, whole[:100])
    refused(source, out, r"expected its photograph's size \(256, 256\), got \(100, 256\)")
    (source / LABEL).write_bytes(b"no picture")
    refused(source, out, "not a readable image")
    write(source / LABEL, np.full_like(whole, 255))
    refused(source, out, "marks half of a square photograph")
    for place in (PHOTOGRAPH, LABEL):  # a narrow one is skipped
        write(source / place, whole[:, :200])
    refused(source, out, "marks half of a square photograph")
    (source / PHOTOGRAPH).rename(source / "msl/images/edr/other.JPG")
    refused(source, out, "marks half of a square photograph")
    assert not out.exists()
    out.touch()
    refused(source, out, "there already")


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_photograph_that_was_cut_short(source, tmp_path, share):
    content = (source / PHOTOGRAPH).read_bytes()
    (source / PHOTOGRAPH).write_bytes(content[: int(share * len(content))])
    refused(source, tmp_path / "x.npz", f"{STEM}.JPG: not a readable image")


@pytest.mark.parametrize("kind", ["mxy", "rng-30m"])
def test_a_mask_of_another_size(source, tmp_path, kind):
    (mask,) = (source / "msl/images" / kind).iterdir()
    write(mask, np.zeros((128, 128), np.uint8))
    message = rf"{mask.name}: expected its photograph's size \(256, 256\), got \(128, 128\)"
    refused(source, tmp_path / "x.npz", message)


def test_masks_that_are_missing_or_applied_already_change_nothing(source, tmp_path):
    build_from_ai4mars(source, tmp_path / "masked.npz")
    labels = read(source / LABEL)
    labels[:110, 200:], labels[:20] = 255, 255
    write(source / LABEL, labels)
    build_from_ai4mars(source, tmp_path / "again.npz")
    for kind in ("mxy", "rng-30m"):
        (mask,) = (source / "msl/images" / kind).iterdir()
        mask.unlink()
    build_from_ai4mars(source, tmp_path / "without.npz")
    one, *others = (mars.read_homework(tmp_path / f"{name}.npz") for name in ("masked", "again", "without"))
    assert all((one.labels == other.labels).all() for other in others)


def test_a_palette_s_indices_are_the_labels(source, tmp_path):
    build_from_ai4mars(source, tmp_path / "grey.npz")
    picture = Image.fromarray(read(source / LABEL))
    picture.putpalette([200, 100, 0] * 256)
    picture.save(source / LABEL)
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
    agreed = source / "msl/labels/test/masked-gold-min3-100agree"
    agreed.mkdir(parents=True)
    write(source / "msl/images/edr" / f"{name}.JPG", image)
    write(agreed / f"{name}_merged.png", gold)
    assert build_from_ai4mars(source, tmp_path / "with.npz") == 2
    test = mars.read_test_set(tmp_path / "with.npz")
    assert (test.shape, test.dtype) == ((1, 64, 128), np.uint8)
    assert abs(test[0, :, 5].astype(int) - (255 - np.arange(64, 128) * 2)).max() <= 2
    assert set(mars.read_homework(tmp_path / "with.npz").ids) == {STEM}


def test_home_is_home_and_what_is_there_stays(source, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    command = ["build", "mars_terrain", f"~/{source.name}", "--out", "~/new/mine.npz"]
    assert main(command) == 0
    before = (tmp_path / "new/mine.npz").read_bytes()
    assert main(command) == 1
    assert "mine.npz is there already; give a new file" in capsys.readouterr().err
    assert (tmp_path / "new/mine.npz").read_bytes() == before
    assert not (tmp_path / "~").exists()


def test_suffixes_may_be_others(source, tmp_path):
    build_from_ai4mars(source, tmp_path / "one.npz")
    for path in [*source.rglob("*.JPG"), *source.rglob("*.png")]:
        path.rename(path.with_suffix({".JPG": ".jpeg", ".png": ".PNG"}[path.suffix]))
    build_from_ai4mars(source, tmp_path / "two.npz")
    assert len(mars.read_homework(tmp_path / "one.npz")) == len(mars.read_homework(tmp_path / "two.npz"))
