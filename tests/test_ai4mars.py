"""The Mars homework's file from a small AI4Mars."""

import cv2
import numpy as np
import pytest

from seglib.__main__ import main
from seglib.data import mars
from seglib.data.ai4mars import build_from_ai4mars, majority
from seglib.data.common import DataError

STEM = "NLA_397681586EDR_F0020000AUT_04096M1"


@pytest.fixture
def source(tmp_path):
    """One photograph of 256×256 with soil above, big rock in a corner below, a rover and a far distance."""
    folder = tmp_path / "ai4mars-dataset-merged-0.1" / "msl"
    image = np.arange(256, dtype=np.uint8)[:, None].repeat(256, 1)
    labels = np.full((256, 256), 255, np.uint8)
    labels[:100], labels[200:, :40] = 0, 3
    rover, far = np.zeros((2, 256, 256), np.uint8)
    rover[:100, 200:], far[:20] = 1, 1
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
    assert main(["build", "mars", str(source), "--out", str(out)]) == 0
    assert "2 labelled rows" in capsys.readouterr().out
    rows = mars.read_homework(tmp_path)
    assert rows.ids.tolist() == [STEM, STEM]
    upper, lower = rows.labels
    assert set(np.unique(upper[:10])) == {0}  # too far
    assert set(np.unique(upper[10:50, :100])) == {1}
    assert set(np.unique(upper[:, 100:])) == {0}  # the rover
    assert set(np.unique(upper[50:])) == {0}
    assert set(np.unique(lower[36:, :20])) == {4}
    assert not lower[:36].any()
    assert not lower[:, 20:].any()
    assert abs(rows.images[0, :, 5].astype(int) - np.arange(64) * 2).max() <= 2
    assert abs(rows.images[1, :, 5].astype(int) - np.arange(64, 128) * 2).max() <= 2


def test_a_half_without_labels_is_left_out(source, tmp_path):
    path = source / "msl/labels/train" / f"{STEM}.png"
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    labels[128:] = 255
    cv2.imwrite(str(path), labels)
    assert build_from_ai4mars(source, tmp_path / "one.npz") == 1


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
    with pytest.raises(DataError, match="size"):
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
