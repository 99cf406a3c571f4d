"""The scribble challenge's photographs."""

import os

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from seglib.data import scribbles
from seglib.data.common import DataError

REAL = os.environ.get("SEGLIB_DATA")
TRUTH = np.zeros((40, 60), np.uint8)
TRUTH[3:20, 5:30] = 1
TRUTH[20:25, 30:40] = 1  # touches the first by a corner: one object
TRUTH[30:38, 45:55] = 1


@pytest.fixture
def folder(tmp_path):
    """One photograph; its truth is a palette image, as Pascal VOC's are."""
    for part in ("images", "ground_truth"):
        (tmp_path / "scribbles/train" / part).mkdir(parents=True)
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "scribbles/train/images/2008_004212.jpg"), picture)
    truth = Image.fromarray(TRUTH)
    truth.putpalette([0, 0, 0, 128, 0, 0])
    truth.save(tmp_path / "scribbles/train/ground_truth/2008_004212.png")
    return tmp_path


def test_objects_are_the_connected_parts_of_the_truth(folder):
    found = scribbles.objects(folder)
    assert [entry.area for entry in found] == [17 * 25 + 5 * 10, 8 * 10]
    np.testing.assert_array_equal(sum(entry.mask().astype(int) for entry in found), TRUTH)
    for entry in found:
        assert ndimage.label(entry.mask(), np.ones((3, 3)))[1] == 1
        assert (entry.image_id, entry.size, entry.annotated) == (2008004212, (40, 60), 2)
        assert entry.image().shape == (40, 60, 3)
    assert [entry.annotation_id for entry in found] == [2008004212001, 2008004212002]


def test_a_photograph_without_truth_is_named(folder):
    (folder / "scribbles/train/ground_truth/2008_004212.png").unlink()
    with pytest.raises(DataError, match="2008_004212.jpg: expected its ground truth 2008_004212.png"):
        scribbles.objects(folder)


def test_a_folder_without_photographs_says_what_belongs_there(tmp_path):
    with pytest.raises(DataError, match="no photograph in .*images; put the scribble challenge's folders"):
        scribbles.objects(tmp_path)


@pytest.mark.skipif(not REAL, reason="SEGLIB_DATA is not set: no real data at hand")
def test_the_real_challenge():
    found = scribbles.objects(REAL)
    assert len({entry.image_id for entry in found}) == 228
    photograph = [entry for entry in found if entry.image_id == found[0].image_id]
    path = photograph[0].path
    truth = np.array(Image.open(path.parents[1] / "ground_truth" / f"{path.stem}.png"))
    np.testing.assert_array_equal(sum(entry.mask().astype(np.uint8) for entry in photograph), truth)
