"""Data sets come whole or not at all, over connections that break, from a small server on this machine."""

import hashlib
import io
import os
import re
import signal
import stat
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random

import pytest
import requests

from seglib.__main__ import main
from seglib.download import CHUNK, DATASETS, Archive, DownloadError, _verify, download

NAME = "coco-val2017"
IMAGES, ANNOTATIONS = "/zips/val2017.zip", "/annotations/annotations_trainval2017.zip"
PICTURES = {f"val2017/{i:012}.jpg": Random(i).randbytes(300_000) for i in (139, 285, 632)}
LABELS = {
    "annotations/instances_val2017.json": b'{"images": []}',
    "annotations/captions_val2017.json": b"{}",
}
CONTENT = PICTURES | LABELS
FIRST = next(iter(PICTURES.values()))


class Server(ThreadingHTTPServer):
    """Serves `files`. Each request takes one instruction from `cuts`: bytes after which the connection is cut."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.cuts, self.log = {}, [], []
        self.ranges = True  # understands Range requests
        self.statuses = []  # answers to give instead of the next files
        self.lengths = True  # says how long a file is
        self.pause = 0  # seconds after each chunk

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}{path}"

    def served(self, path):
        """[(Range header, bytes served)] of the requests for a file."""
        return [entry[1:] for entry in self.log if entry[0] == path]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        body = server.files[self.path]
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and server.ranges else 0
        status = 206 if asked and server.ranges else 200
        if server.statuses:
            status = server.statuses.pop(0)
        elif start >= len(body):
            status = 416
        self.send_response(status)
        if status not in (200, 206):
            server.log.append((self.path, asked, 0))
            self.end_headers()
            return
        rest = body[start:]
        sent = rest[: server.cuts.pop(0)] if server.cuts else rest
        if server.lengths:
            self.send_header("Content-Length", str(len(rest)))
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        server.log.append((self.path, asked, len(sent)))
        for first in range(0, len(sent), CHUNK):
            self.wfile.write(sent[first : first + CHUNK])
            if server.pause:
                time.sleep(server.pause)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("SEGLIB_DATA", raising=False)
    monkeypatch.setattr("seglib.download.PAUSE", 0)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        publish(server, monkeypatch, {IMAGES: ZIP, ANNOTATIONS: zipped(LABELS)})
        yield server
        server.shutdown()
        thread.join()


def publish(server, monkeypatch, files, wanted=None, folder="coco", algorithm="sha256"):
    """Puts archives on the server and into the registry, as the data set that the tests fetch."""
    wanted = wanted or {IMAGES: {"val2017/*.jpg": 3}, ANNOTATIONS: {"annotations/instances_val2017.json": 1}}
    archives = []
    for path, content in files.items():
        server.files[path] = content
        checksum = f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
        archives.append(Archive(server.url(path), len(content), checksum, wanted[path]))
    monkeypatch.setitem(DATASETS, NAME, (folder, tuple(archives)))


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(members):
    """A tar file of (name, content) and of ready TarInfo."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return buffer.getvalue()


def link(name, target, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def tree(folder):
    """{path: content} of all files below a folder, hidden ones too; links by their targets."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if not path.is_dir()}


def complete(data):
    assert tree(data / "coco") == CONTENT
    assert sorted(path.name for path in (data / "coco").iterdir()) == ["annotations", "val2017"]
    return True


def test_the_registry_is_what_is_on_record():
    archives = [archive for _, archives in DATASETS.values() for archive in archives]
    assert {archive.name: (archive.size, archive.checksum) for archive in archives} == {
        "val2017.zip": (*(815585330, "sha256:4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05"),),
        "annotations_trainval2017.zip": (
            *(252907541, "sha256:113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268"),
        ),
        "VOCtrainval_11-May-2012.tar": (1999639040, "md5:6cd6e144f989b92b3379bac3b3de84fd"),
    }


def test_from_the_command_line_and_a_second_time(server, tmp_path, capsys):
    assert main(["download", NAME, "--data", str(tmp_path / "new" / "data")]) == 0
    assert complete(tmp_path / "new" / "data")
    assert "is complete: " in capsys.readouterr().out
    assert server.log == [(path, None, len(server.files[path])) for path in (IMAGES, ANNOTATIONS)]

    assert main(["download", NAME, "--data", str(tmp_path / "new" / "data")]) == 0
    assert "there already, complete" in capsys.readouterr().out
    assert len(server.log) == 2


def test_the_folder_from_the_environment(server, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGLIB_DATA", str(tmp_path))
    assert download(NAME) == tmp_path / "coco"
    assert complete(tmp_path)


def test_an_unknown_name_or_no_folder(server, capsys, tmp_path, monkeypatch):
    assert main(["download", "coco_val17", "--data", str(tmp_path)]) == 1
    message = capsys.readouterr().err
    assert "no data set 'coco_val17', did you mean 'coco-val2017'?" in message
    assert all(name in message for name in DATASETS)
    monkeypatch.setenv("SEGLIB_DATA", "")
    for _ in range(2):  # an empty variable, and none
        assert main(["download", NAME]) == 1
        message = capsys.readouterr().err
        assert "--data DIR or in SEGLIB_DATA" in message
        assert "Traceback" not in message
        monkeypatch.delenv("SEGLIB_DATA", raising=False)
    assert server.log == list(tmp_path.iterdir()) == []
    with pytest.raises(SystemExit):
        main(["download", "--help"])
    text = capsys.readouterr().out
    assert all(name in text for name in DATASETS)


@pytest.mark.parametrize("broken", ["missing", "empty"])
def test_a_folder_with_gaps_is_filled_and_what_else_is_there_stays(server, tmp_path, broken):
    download(NAME, tmp_path)
    hurt = tmp_path / "coco" / next(iter(PICTURES))
    hurt.unlink() if broken == "missing" else hurt.write_bytes(b"")
    (tmp_path / "coco" / "val2017" / "mine.txt").write_bytes(b"my own")
    left = tmp_path / "coco" / ".val2017.zip.unpacking" / "val2017"  # by a run that was killed
    left.mkdir(parents=True)
    (left / "half.jpg").write_bytes(b"half")
    server.log.clear()
    download(NAME, tmp_path)
    assert [path for path, *_ in server.log] == [IMAGES]
    assert tree(tmp_path / "coco") == CONTENT | {"val2017/mine.txt": b"my own"}


def test_a_cut_connection_is_taken_up_within_a_run(server, tmp_path, monkeypatch):
    kept = {}

    def keep(archive, path):
        kept[archive.name] = path.read_bytes()
        _verify(archive, path)

    monkeypatch.setattr("seglib.download._verify", keep)
    server.cuts = [5 * CHUNK, 20 * CHUNK]
    download(NAME, tmp_path)
    assert complete(tmp_path)
    assert kept["val2017.zip"] == server.files[IMAGES]
    (first, a), (second, b), (third, c) = server.served(IMAGES)
    assert (first, second, third) == (None, f"bytes={5 * CHUNK}-", f"bytes={25 * CHUNK}-")
    assert (a, b, a + b + c) == (5 * CHUNK, 20 * CHUNK, ALL)  # no byte twice


ZIP = zipped(PICTURES)
ALL = len(ZIP)
CONNECTIONS = {  # what is there before, what the server does, and the requests: from where on, and bytes that came
    "a cut within a chunk costs that chunk": (
        {},
        {"cuts": [5 * CHUNK + 777]},
        [(0, 5 * CHUNK + 777), (5 * CHUNK, None)],
    ),
    "many cuts that each bring something": (
        *({}, {"cuts": [3 * CHUNK] * 12}),
        [*((3 * i * CHUNK, 3 * CHUNK) for i in range(12)), (36 * CHUNK, None)],
    ),
    "no ranges: anew": (
        *({}, {"ranges": False, "cuts": [10 * CHUNK, 5 * CHUNK]}),
        [(0, 10 * CHUNK), (10 * CHUNK, 5 * CHUNK), (5 * CHUNK, ALL)],
    ),
    # The whole file under the name of a part.
    "another range: anew": ({".part": ZIP[:1000]}, {"ranges": False, "statuses": [206]}, [(1000, None), (0, ALL)]),
    "no such range: anew": ({".part": b"x" * 1000}, {"statuses": [416]}, [(1000, 0), (0, ALL)]),
    "a part that is too long": ({".part": ZIP + b"x"}, {}, [(0, ALL)]),
    "a part that is whole": ({".part": ZIP}, {}, []),
    "an archive that was brought along": ({"": ZIP}, {}, []),
    "overloaded for a while": ({}, {"statuses": [503, 429, 500]}, [(0, 0)] * 3 + [(0, ALL)]),
}


@pytest.mark.parametrize("kind", CONNECTIONS)
def test_a_download_goes_on_or_begins_anew(server, tmp_path, kind):
    there, does, requests = CONNECTIONS[kind]
    (tmp_path / "coco").mkdir()
    for ending, content in there.items():
        (tmp_path / "coco" / f"val2017.zip{ending}").write_bytes(content)
    vars(server).update(does)
    download(NAME, tmp_path)
    assert complete(tmp_path)
    served = server.served(IMAGES)
    assert [asked for asked, _ in served] == [f"bytes={start}-" if start else None for start, _ in requests]
    assert all(came is None or sent == came for (_, sent), (_, came) in zip(served, requests))


def test_a_second_run_asks_for_the_rest_only(server, tmp_path, capsys):
    fetched = 18 * CHUNK
    server.cuts = [fetched] + [0] * 5
    with pytest.raises(DownloadError) as error:
        download(NAME, tmp_path)
    for words in (
        server.url(IMAGES),
        "5 connections in a row that brought nothing new",
        f"expected {ALL:,} bytes",
        f"val2017.zip.part holds {fetched:,}",
        "The same command goes on where it stopped",
    ):
        assert words in str(error.value)
    assert len(server.log) == 6
    assert tree(tmp_path) == {"coco/val2017.zip.part": ZIP[:fetched]}
    server.log.clear()
    capsys.readouterr()
    download(NAME, tmp_path)
    assert server.served(IMAGES) == [(f"bytes={fetched}-", ALL - fetched)]
    assert complete(tmp_path)
    assert "of which 0.3 MB are there" in capsys.readouterr().out


def test_ctrl_c_leaves_what_was_fetched(server, tmp_path, monkeypatch, capsys):
    chunks, command = requests.Response.iter_content, ["download", NAME, "--data", str(tmp_path)]

    def interrupted(response, size):
        yield next(chunks(response, size))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(requests.Response, "iter_content", interrupted)
        assert main(command) == 130
    assert "the same command goes on where it stopped" in capsys.readouterr().err
    assert tree(tmp_path) == {"coco/val2017.zip.part": ZIP[:CHUNK]}
    server.log.clear()
    assert main(command) == 0
    assert server.served(IMAGES) == [(f"bytes={CHUNK}-", ALL - CHUNK)]
    assert complete(tmp_path)


@pytest.mark.slow
def test_a_process_killed_in_mid_download_goes_on_where_it_was(server, tmp_path):
    program = f"""
from seglib.download import DATASETS, Archive, download
DATASETS[{NAME!r}] = {DATASETS[NAME]!r}
download({NAME!r}, {str(tmp_path)!r})
"""
    part = tmp_path / "coco" / "val2017.zip.part"
    server.handle_error = lambda *arguments: None  # of a connection whose other end is killed
    server.pause = 0.1
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not part.exists() or part.stat().st_size < 2 * CHUNK:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    have, size = part.stat().st_size, ALL
    assert 0 < have < size
    assert tree(tmp_path) == {"coco/val2017.zip.part": ZIP[:have]}

    server.log.clear()
    server.pause = 0
    download(NAME, tmp_path)  # compares the archive's checksum
    assert server.served(IMAGES) == [(f"bytes={have}-", size - have)]
    assert complete(tmp_path)


def test_an_interrupted_run_of_another_command_says_where_that_goes_on(monkeypatch, capsys):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setitem(main.__globals__["COMMANDS"], "rows", interrupted)
    assert main(["rows"]) == 130
    assert "after the last whole epoch" in capsys.readouterr().err


def test_a_server_that_stays_overloaded_is_named_after_waiting_twice_as_long_each_time(server, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr("seglib.download.PAUSE", 1.0)
    monkeypatch.setattr("time.sleep", waits.append)
    server.statuses = [503] * 5
    with pytest.raises(DownloadError, match="503"):
        download(NAME, tmp_path)
    assert len(server.log) == 5
    assert waits == [2, 4, 8, 16]


@pytest.mark.parametrize("status", [404, 403])
def test_a_file_that_is_not_there_is_said_at_once(server, tmp_path, capsys, status):
    server.statuses = [status]
    assert main(["download", NAME, "--data", str(tmp_path)]) == 1
    assert f"{server.url(IMAGES)}: expected the file, the server answered {status}" in capsys.readouterr().err
    assert len(server.log) == 1
    assert tree(tmp_path) == {}


def test_no_server_and_one_that_begins_anew_and_never_ends_are_given_up(tmp_path, server, monkeypatch):
    server.ranges, server.cuts = False, [200_000] * 100
    with pytest.raises(DownloadError, match="brought nothing new"):
        download(NAME, tmp_path)
    assert len(server.log) == 6
    folder, archives = DATASETS[NAME]
    with Server() as other:  # a port that nobody listens on once it is closed
        port = other.server_port
    gone = [archive._replace(url=f"http://127.0.0.1:{port}/val2017.zip") for archive in archives]
    monkeypatch.setitem(DATASETS, NAME, (folder, gone))
    with pytest.raises(DownloadError, match=r"5 connections.*refused.*goes on where it stopped"):
        download(NAME, tmp_path)


def test_a_login_page_does_not_cost_what_was_fetched(server, tmp_path):
    (tmp_path / "coco").mkdir()
    part, begun = tmp_path / "coco" / "val2017.zip.part", ZIP[:1000]
    part.write_bytes(begun)
    server.files[IMAGES], server.ranges = b"<html>log in</html>", False
    with pytest.raises(DownloadError, match=rf"val2017.zip: expected {ALL:,} bytes, the server offers 19;.*login"):
        download(NAME, tmp_path)
    server.lengths = False
    with pytest.raises(DownloadError, match="the server offers an unknown number"):
        download(NAME, tmp_path)
    assert part.read_bytes() == begun


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_damaged_bytes_and_archives_of_the_wrong_size_are_found_and_removed(server, tmp_path, monkeypatch, algorithm):
    good = server.files[IMAGES]
    publish(server, monkeypatch, {IMAGES: good, ANNOTATIONS: zipped(LABELS)}, algorithm=algorithm)
    bad = server.files[IMAGES] = good[:5000] + bytes([good[5000] ^ 1]) + good[5001:]
    expected, found = (hashlib.new(algorithm, content).hexdigest() for content in (good, bad))
    with pytest.raises(DownloadError, match=f"val2017.zip: expected {algorithm} {expected}, found {found}.*removed"):
        download(NAME, tmp_path)
    assert tree(tmp_path) == {}
    (tmp_path / "coco" / "val2017.zip").write_bytes(b"short")
    with pytest.raises(DownloadError, match=rf"val2017.zip: expected {ALL:,} bytes, found 5; the file was removed"):
        download(NAME, tmp_path)
    assert tree(tmp_path) == {}
    server.files[IMAGES] = good
    download(NAME, tmp_path)
    assert complete(tmp_path)


def test_tar(server, tmp_path, monkeypatch):
    """What VOC is: a tar file with an MD5 sum, its folders members of their own."""
    folder = tarfile.TarInfo("VOCdevkit/VOC2012/JPEGImages")
    folder.type, folder.mode = tarfile.DIRTYPE, 0o755
    picture, inside = "VOCdevkit/VOC2012/JPEGImages/2007_000027.jpg", link("VOCdevkit/latest", "VOC2012")
    content = tarred([folder, (picture, FIRST), inside])
    path = "/voc2012/VOCtrainval_11-May-2012.tar"
    wanted = {path: {"VOCdevkit/VOC2012/JPEGImages/*.jpg": 1}}
    publish(server, monkeypatch, {path: content}, wanted, "pascal_voc", "md5")
    server.cuts = [CHUNK]
    download(NAME, tmp_path)
    assert (tmp_path / "pascal_voc" / picture).read_bytes() == FIRST
    assert os.readlink(tmp_path / "pascal_voc" / "VOCdevkit" / "latest") == "VOC2012"
    assert os.listdir(tmp_path / "pascal_voc") == ["VOCdevkit"]
    assert server.served(path) == [(None, CHUNK), (f"bytes={CHUNK}-", len(content) - CHUNK)]


def zip_link(name, target):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return zipped(PICTURES | {info: target})


IN_A_PICTURE = ZIP.index(b"139.jpg") + 50_000
SOME = list(PICTURES.items())
BAD_ZIPS = {
    "no zip file": (b"<html>" * 100, "not a zip file"),
    "cut off": (ZIP[:-100], "not a zip file"),
    "a picture's bytes": (
        ZIP[:IN_A_PICTURE] + bytes([ZIP[IN_A_PICTURE] ^ 255]) + ZIP[IN_A_PICTURE + 1 :],
        r"Bad CRC-32 for file 'val2017/000000000139\.jpg'",
    ),
    "a picture too few": (zipped(dict(SOME[:2])), r"expected 3 files val2017/\*\.jpg, found 2"),
    "up": (zipped(PICTURES | {"../evil": b"x"}), r"'\.\./evil' leads out"),
    "up from below": (zipped(PICTURES | {"val2017/../../evil": b"x"}), r"'val2017/\.\./\.\./evil' leads out"),
    "absolute": (zipped(PICTURES | {"/evil": b"x"}), r"'/evil' leads out"),
    "drive": (zipped(PICTURES | {r"C:\evil": b"x"}), r"evil' leads out"),
    "up with backslashes": (zipped(PICTURES | {r"..\evil": b"x"}), r"evil' leads out"),
    "link": (zip_link("val2017/link", "../../.."), r"'val2017/link' is a link"),
}
BAD_TARS = {
    "no tar file": (b"<html>" * 100, "truncated|invalid|not be opened|unpacked"),
    "cut off": (tarred(SOME)[:700_000], "unexpected end of data"),
    "ends at a bad header": (tarred(SOME[:2]) + b"x" * 1024, r"expected 3 files val2017/\*\.jpg, found 2"),
    "up": (tarred([*SOME, ("../evil", b"x")]), r"'\.\./evil' leads out"),
    "absolute": (tarred([*SOME, ("/evil", b"x")]), r"'/evil' leads out"),
    "link up": (tarred([*SOME, link("val2017/link", "../../..")]), "outside the destination"),
    "absolute link": (tarred([*SOME, link("val2017/link", "/etc")]), "absolute path"),
    "hard link up": (tarred([*SOME, link("val2017/link", "../evil", tarfile.LNKTYPE)]), "outside the destination"),
    "hard link to nothing": (tarred([*SOME, link("val2017/link", "nothing", tarfile.LNKTYPE)]), "nothing"),
    "a chain of links": (
        tarred([link("val2017/down", "."), link("val2017/down/up", "../.."), *SOME, ("val2017/down/up/evil", b"x")]),
        "outside the destination",
    ),
    "device": (tarred([*SOME, link("val2017/null", "", tarfile.CHRTYPE)]), "special file"),
}
BAD = [("/val2017.zip", *case) for case in BAD_ZIPS.values()] + [("/val2017.tar", *case) for case in BAD_TARS.values()]


@pytest.mark.parametrize(("path", "content", "message"), BAD, ids=[*BAD_ZIPS, *(f"tar: {name}" for name in BAD_TARS)])
def test_a_bad_archive_changes_nothing(server, tmp_path, monkeypatch, path, content, message):
    publish(server, monkeypatch, {path: content}, {path: {"val2017/*.jpg": 3}})
    mine = tmp_path / "below" / "coco" / "val2017" / "000000000139.jpg"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(DownloadError, match=f"{path[1:]}: an archive that cannot be unpacked.*removed: .*({message})"):
        download(NAME, tmp_path / "below")
    assert tree(tmp_path) == {"below/coco/val2017/000000000139.jpg": b"mine"}
    assert os.listdir(tmp_path / "below" / "coco") == ["val2017"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_unpacking_keeps_the_archive(server, tmp_path, monkeypatch, error):
    def interrupted(archive, folder):
        (folder / "half.jpg").write_bytes(b"half")
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "extractall", interrupted)
        with pytest.raises(error):
            download(NAME, tmp_path)
    assert tree(tmp_path) == {"coco/val2017.zip": server.files[IMAGES]}
    server.log.clear()
    download(NAME, tmp_path)
    assert server.served(IMAGES) == []
    assert complete(tmp_path)


@pytest.mark.parametrize(("there", "have"), [(None, 0), ("val2017.zip", ALL), ("val2017.zip.part", 100_000)])
def test_too_little_room_is_said_before_anything_is_fetched(server, tmp_path, monkeypatch, capsys, there, have):
    if there:  # which needs room no more
        (tmp_path / "coco").mkdir()
        (tmp_path / "coco" / there).write_bytes(ZIP[:have])
    needed = 2 * sum(map(len, server.files.values())) - have
    room(monkeypatch, needed - 1)
    assert main(["download", NAME, "--data", str(tmp_path)]) == 1
    size = rf"{needed / 1e6:.1f} MB"
    said = rf"too little room to download and unpack {NAME}: expected {size} free, found {size}.*coco"
    assert re.search(said, capsys.readouterr().err)
    assert server.log == []
    room(monkeypatch, needed)
    download(NAME, tmp_path)
    assert complete(tmp_path)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_too_little_room_to_unpack_keeps_the_archive(server, tmp_path, monkeypatch, kind):
    zeros = {"val2017/zeros.jpg": bytes(5_000_000)}  # far smaller as a zip file
    path, content = (IMAGES, zipped(zeros)) if kind == "zip" else ("/val2017.tar", tarred(zeros.items()))
    publish(server, monkeypatch, {path: content}, {path: {"val2017/*.jpg": 1}})
    (tmp_path / "coco").mkdir()
    archive = tmp_path / "coco" / path.rsplit("/", 1)[-1]
    archive.write_bytes(content)
    room(monkeypatch, len(content) if kind == "zip" else 5_000_000 - 1)
    monkeypatch.setattr("seglib.download._already_fetched", lambda archive, folder: 2 * archive.size)
    with pytest.raises(OSError, match=r"too little room to unpack val2017\.\w+: expected 5.0 MB free"):
        download(NAME, tmp_path)
    assert tree(tmp_path) == {f"coco/{archive.name}": content}


def room(monkeypatch, free):
    usage = namedtuple("usage", "total used free")(10**15, 0, free)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)


def test_a_data_folder_that_is_a_file_is_named(server, tmp_path, capsys):
    (tmp_path / "taken").write_text("a file")
    assert main(["download", NAME, "--data", str(tmp_path / "taken")]) == 1
    assert str(tmp_path / "taken") in capsys.readouterr().err
    assert server.log == []


def test_a_bar_in_a_terminal_and_none_in_a_log(server, tmp_path, monkeypatch, capsys):
    download(NAME, tmp_path / "log")
    assert "\r" not in capsys.readouterr().out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    download(NAME, tmp_path / "terminal")
    assert re.search(r"\rval2017\.zip: .*B/s", capsys.readouterr().out)
