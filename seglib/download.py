"""Published data sets, fetched over connections that break and laid out as their publishers lay them out.

Checksums and sizes: COCO (Lin et al. 2014, arXiv 1405.0312) and Pascal VOC 2012 (Everingham et al. 2015,
doi 10.1007/s11263-014-0733-5) name their archives; the digests are those on public record for these files.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import sys
import tarfile
import time
import zipfile
import zlib
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

import requests
from tqdm import tqdm

from .files import user_path
from .rows import nearest

TRIES = 5  # connections in a row that bring nothing new, before a download is given up
PAUSE = 1.0  # seconds before the next connection; twice as long after each that brought nothing new
TIMEOUT = 30  # seconds without a byte after which a connection counts as cut
CHUNK = 1 << 14  # bytes; of a connection that is cut, the last unfinished chunk is lost


class DownloadError(RuntimeError):
    """A data set that cannot be fetched or unpacked; the message says why and what to do."""


class Archive(NamedTuple):
    url: str
    size: int  # bytes
    checksum: str  # "sha256:…" or "md5:…"
    files: dict[str, int]  # how many files of a pattern are there once it is unpacked

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


# The folder below DIR of each data set, and the archives that are unpacked into it.
DATASETS = {
    "coco-val2017": (
        "coco",
        (
            Archive(
                "http://images.cocodataset.org/zips/val2017.zip",
                815_585_330,
                "sha256:4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
                {"val2017/*.jpg": 5000},
            ),
            Archive(
                "http://images.cocodataset.org/annotations/annotations_trainval2017.zip",
                252_907_541,
                "sha256:113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
                {"annotations/instances_val2017.json": 1},
            ),
        ),
    ),
    "pascal-voc-2012": (
        "pascal_voc",
        (
            Archive(
                "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
                1_999_639_040,
                "md5:6cd6e144f989b92b3379bac3b3de84fd",
                {"VOCdevkit/VOC2012/JPEGImages/*.jpg": 17_125, "VOCdevkit/VOC2012/SegmentationClass/*.png": 2913},
            ),
        ),
    ),
}


def download(name: str, data: str | Path | None = None) -> Path:
    """Fetches the data set `name` into a folder below `data` (default: SEGLIB_DATA) and returns that folder.

    What is there already is left alone. A download that was cut, by the network or by Ctrl-C, leaves NAME.part beside
    its target, and the next call goes on from there. An archive is unpacked only when its checksum is right, is put in
    place only when all of it could be unpacked, and is deleted then.

    Raises:
        DownloadError: no such data set, no folder, a server that cannot be reached or has another file, a wrong
            checksum, or an archive that is damaged or leads out of its folder.
        OSError: the folder cannot be written to, or has too little room (errno ENOSPC).
    """
    if name not in DATASETS:
        raise DownloadError(f"no data set {name!r}{nearest(name, DATASETS)}; there are {', '.join(DATASETS)}")
    data = data or os.environ.get("SEGLIB_DATA")
    if not data:
        raise DownloadError("expected a folder for the data, as --data DIR or in SEGLIB_DATA; got neither")
    subfolder, archives = DATASETS[name]
    folder = user_path(data) / subfolder
    wanted = [archive for archive in archives if _missing(archive, folder)]
    if not wanted:
        print(f"{name} is there already, complete: {folder}")
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    # Archives of pictures are hardly smaller than the pictures, and each is unpacked before it is deleted.
    needed = sum(2 * archive.size - _already_fetched(archive, folder) for archive in wanted)
    _check_room(folder, needed, f"download and unpack {name}")
    for archive in wanted:
        path = folder / archive.name
        if not path.exists():
            _fetch(archive, path)
        _verify(archive, path)
        print(f"unpacking {archive.name}", flush=True)
        _unpack(archive, path)
    print(f"{name} is complete: {folder}")
    return folder


def _missing(archive: Archive, folder: Path) -> str:
    """What of an archive's files a folder lacks, in words; empty where it has them all."""
    for pattern, count in archive.files.items():
        # A file of no bytes is what a power cut leaves.
        found = sum(path.stat().st_size > 0 for path in folder.glob(pattern) if path.is_file())
        if found < count:
            return f"expected {count:,} files {pattern}, found {found:,}"
    return ""


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _already_fetched(archive: Archive, folder: Path) -> int:
    path = folder / archive.name
    return min(archive.size, _size(path) or _size(_part(path)))


def _check_room(folder: Path, needed: int, what: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        found = f"expected {_megabytes(needed)} free, found {_megabytes(free)}"
        raise OSError(errno.ENOSPC, f"too little room to {what}: {found}", str(folder))


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _fetch(archive: Archive, path: Path) -> None:
    """Fetches an archive into `path`, in as many connections as it takes while each brings something new."""
    part = _part(path)
    have = _size(part)
    if have > archive.size:  # the beginning of some other file
        part.unlink()
        have = 0
    begun = f", of which {_megabytes(have)} are there" if have else ""
    print(f"downloading {archive.url}: {_megabytes(archive.size)}{begun}", flush=True)
    furthest, fruitless = have, 0
    while have < archive.size:
        reason = _fetch_rest(archive, part, have)
        have = _size(part)
        # Measured by the furthest yet: a server that starts anew each time and never ends must not go on for ever.
        fruitless = 0 if have > furthest else fruitless + 1
        furthest = max(furthest, have)
        if fruitless == TRIES:
            raise DownloadError(
                f"{archive.url}: gave up after {TRIES} connections in a row that brought nothing new ({reason}); "
                f"expected {archive.size:,} bytes, {part} holds {have:,}. The same command goes on where it stopped"
            )
        if have < archive.size:
            print(f"{reason}, with {_megabytes(have)} fetched; trying again", flush=True)
            time.sleep(PAUSE * 2**fruitless)
    part.replace(path)


def _fetch_rest(archive: Archive, part: Path, start: int) -> str:
    """Appends what a single connection brings to the partial file; returns why it may have brought too little.

    Raises:
        DownloadError: trying again will not help. The partial file is as it was.
    """
    # A compressed transfer would have lengths of its own.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        with requests.get(archive.url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            status, answer = response.status_code, f"{response.status_code} {response.reason}"
            if status >= 500 or status == 429:
                return answer
            elsewhere = status == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
            if status == 416 or elsewhere:
                part.unlink(missing_ok=True)
                return f"{answer} to a request for the rest from byte {start:,}, so from the beginning"
            if status not in (200, 206):
                raise DownloadError(f"{archive.url}: expected the file, the server answered {answer}")
            if status == 200:  # the whole file, asked for or not
                start = 0
            # Before the partial file is touched: a login page of the network in the file's place must not cost it.
            offered, expected = response.headers.get("Content-Length"), archive.size - start
            if offered != str(expected):
                raise DownloadError(
                    f"{archive.url}: expected {expected:,} bytes, the server offers {offered or 'an unknown number'}; "
                    "does a login page of this network answer in its place?"
                )
            bar = tqdm(
                desc=archive.name,
                total=archive.size,
                initial=start,
                unit="B",
                unit_scale=True,
                leave=False,
                disable=None,  # in a log
                file=sys.stdout,
            )
            with part.open("ab" if start else "wb") as file, bar:
                for chunk in response.iter_content(CHUNK):
                    bar.update(file.write(chunk))
    except requests.exceptions.ChunkedEncodingError:  # what a body that ends early is called, chunked or not
        pass
    except requests.RequestException as error:
        return str(error)
    return "the connection was cut"


def _verify(archive: Archive, path: Path) -> None:
    """Compares an archive with what is on record, and removes it where it differs.

    Raises:
        DownloadError: another size or checksum.
    """
    algorithm, expected = archive.checksum.split(":")
    if (found := _size(path)) != archive.size:
        difference = f"expected {archive.size:,} bytes, found {found:,}"
    else:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, algorithm).hexdigest()
        if found == expected:
            return
        difference = f"expected {algorithm} {expected}, found {found}"
    path.unlink()
    raise DownloadError(f"{path}: {difference}; the file was removed, the same command fetches it anew")


def _unpack(archive: Archive, path: Path) -> None:
    """Unpacks an archive beside itself, all of it or nothing, and deletes it.

    Raises:
        DownloadError: damaged, incomplete, or a member that leads out of the folder; the archive is removed.
    """
    # A folder of a fixed name, so that what a killed run left is cleared away by the next.
    temporary = path.with_name(f".{path.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        (_extract_zip if path.suffix == ".zip" else _extract_tar)(path, temporary)
        # A tar file has no checksums of contents, and ends for Python at the first header that it cannot read.
        if missing := _missing(archive, temporary):
            raise ValueError(missing)
        _move_into(temporary, path.parent)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, LookupError, ValueError, RuntimeError) as error:
        path.unlink()
        raise DownloadError(f"{path}: an archive that cannot be unpacked; it was removed: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    path.unlink()


def _extract_zip(path: Path, folder: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        for member in members:
            _check_inside(member.filename)
            if stat.S_ISLNK(member.external_attr >> 16):
                raise ValueError(f"{member.filename!r} is a link, where a file or folder was expected")
        _check_room(folder, sum(member.file_size for member in members), f"unpack {path.name}")
        archive.extractall(folder)  # compares each member's CRC


def _extract_tar(path: Path, folder: Path) -> None:
    with tarfile.open(path, "r:") as archive:
        members = archive.getmembers()
        for member in members:
            _check_inside(member.name)  # the filter would take an absolute path as a relative one
        _check_room(folder, sum(member.size for member in members), f"unpack {path.name}")
        archive.extractall(folder, filter="data")  # refuses links that lead out, and devices


def _check_inside(name: str) -> None:
    path = PureWindowsPath(name)  # knows both separators, and drives
    if path.anchor or ".." in path.parts:
        raise ValueError(f"{name!r} leads out of the folder that it is unpacked into")


def _move_into(source: Path, folder: Path) -> None:
    """Moves a folder's entries into another; folders that both have are merged, files replaced."""
    for entry in source.iterdir():
        target = folder / entry.name
        if entry.is_dir() and not entry.is_symlink() and target.is_dir():
            _move_into(entry, target)
        else:
            os.replace(entry, target)
