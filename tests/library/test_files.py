"""Files are written whole or not at all, whatever goes wrong half way."""

import errno
import os
import re
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from seglib.files import root, shipped, write_mask, write_whole


def test_content_and_folders(tmp_path):
    path = tmp_path / "a" / "b" / "file.bin"
    assert write_whole(path, lambda file: file.write(b"\x00new")) == path
    assert path.read_bytes() == b"\x00new"
    assert os.listdir(path.parent) == ["file.bin"]
    assert path.stat().st_mode & 0o777 == 0o644  # others may read it, as any file


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old and longer")

    def write(file):
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old and longer"  # what a reader would find now

    with path.open("rb") as reader:
        write_whole(str(path), write)
        assert reader.read() == b"old and longer"  # nor does it change under who has it open
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [ValueError("half way"), KeyboardInterrupt(), OSError(errno.ENOSPC, "full")])
@pytest.mark.parametrize("old", [b"old", None])
def test_a_writer_that_fails_half_way_leaves_nothing_behind(tmp_path, error, old):
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)

    def fail(file):
        file.write(b"half")
        file.flush()
        raise error

    with pytest.raises(type(error)):
        write_whole(path, fail)
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == ([] if old is None else [old])


def test_errors_that_are_no_oserror_stay_themselves(tmp_path):
    error = ValueError("a tensor that cannot be saved")

    def fail(file):
        raise error

    with pytest.raises(ValueError, match="a tensor that cannot be saved") as caught:
        write_whole(tmp_path / "file", fail)
    assert caught.value is error


def test_a_full_disk_is_named(tmp_path):
    def fail(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "result.json"
    with pytest.raises(OSError, match=r"cannot write the result: No space left on device.*result\.json") as error:
        write_whole(path, fail, "result")
    assert error.value.errno == errno.ENOSPC
    assert error.value.filename == str(path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device that is always full")
def test_a_device_that_is_really_full(tmp_path, monkeypatch):
    """What is written reaches the disk only as the buffer is emptied, after the writer has returned."""

    def mkstemp(dir, prefix):
        (tmp_path / "temporary").touch()
        return os.open("/dev/full", os.O_WRONLY), str(tmp_path / "temporary")

    monkeypatch.setattr(tempfile, "mkstemp", mkstemp)
    with pytest.raises(OSError, match=r"cannot write the checkpoint: No space left on device.*epoch\.pt"):
        write_whole(tmp_path / "epoch.pt", lambda file: file.write(b"small"), "checkpoint")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("below", ["file.json", "folder/file.json"])
def test_a_folder_that_is_a_file_is_named(tmp_path, below):
    (tmp_path / "taken").write_text("a file")
    path = tmp_path / "taken" / below
    with pytest.raises(OSError, match="cannot write the weights: .*" + re.escape(str(path))):
        write_whole(path, lambda file: file.write(b""), "weights")
    assert (tmp_path / "taken").read_text() == "a file"


def test_a_folder_without_permission_is_named(tmp_path, monkeypatch):
    """As root, who runs the tests in a container, may write everywhere, the system's refusal is put in by hand."""

    def refuse(*arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    with pytest.raises(PermissionError, match=r"cannot write the mask: Permission denied.*mask\.png"):
        write_whole(tmp_path / "mask.png", lambda file: file.write(b""), "mask")


def test_a_path_that_is_a_folder_is_named(tmp_path):
    (tmp_path / "mask.png").mkdir()
    with pytest.raises(OSError, match=r"cannot write the mask: .*mask\.png"):
        write_whole(tmp_path / "mask.png", lambda file: file.write(b"x"), "mask")
    assert os.listdir(tmp_path) == ["mask.png"]


def test_what_is_shipped_is_found():
    assert (shipped("configs") / "denoising.yaml").is_file()
    assert root() is None or (root() / "seglib" / "files.py").is_file()


@pytest.mark.parametrize("size", [(5, 9), (1, 7), (33, 20)])
def test_a_mask_comes_back_from_its_file(tmp_path, size):
    mask = np.random.default_rng(0).random(size) < 0.4
    path = tmp_path / "masks" / "one.png"
    assert write_mask(path, mask) == path
    read = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert (read.dtype, read.shape) == (np.uint8, size)  # grey, without an alpha channel
    assert np.array_equal(read, np.where(mask, 255, 0))
    write_mask(str(path), mask[::-1].T)  # seen from another side, and in place of the old one
    assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED) > 0, mask[::-1].T)
    assert os.listdir(path.parent) == ["one.png"]


def test_class_labels_are_written_as_they_are(tmp_path):
    labels = np.random.default_rng(0).integers(0, 5, (6, 9), dtype=np.uint8)
    path = write_mask(tmp_path / "labels.png", labels)
    assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), labels)


def test_a_mask_of_one_value(tmp_path):
    for value in (False, True):
        path = write_mask(tmp_path / "mask.png", np.full((4, 6), value))
        assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), np.full((4, 6), 255 * value))


def test_a_mask_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("a file")
    mask = np.ones((4, 6), bool)
    with pytest.raises(OSError, match=r"cannot write the mask: .*taken.mask\.png"):
        write_mask(tmp_path / "taken" / "mask.png", mask)

    def refuse(*arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    with pytest.raises(PermissionError, match=r"cannot write the mask: Permission denied.*mask\.png"):
        write_mask(tmp_path / "mask.png", mask)
    assert os.listdir(tmp_path) == ["taken"]
