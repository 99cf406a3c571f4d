"""The little server: what it gives, and what it refuses."""

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request

import cv2
import numpy as np
import pytest

from seglib.__main__ import main
from seglib.brush.page import POLICY
from seglib.brush.server import LARGEST, NOTHING, Folder, Server, version_of
from seglib.data.images import DataError, read_labels

PAGE = {"index.html": b"<!doctype html>", "brush.js": b"// js", "settings.json": b"{}", "runtime/a.mjs": b"// a"}


def png(mask: np.ndarray) -> bytes:
    return cv2.imencode(".png", mask)[1].tobytes()


@pytest.fixture
def folder(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, size in (("cat.jpg", (30, 40)), ("dog.png", (20, 50)), ("dog.jpg", (20, 50)), ("über &.png", (8, 9))):
        (photos / name).write_bytes(cv2.imencode(name[-4:], np.full((*size, 3), 90, np.uint8))[1].tobytes())
    (photos / "notes.txt").write_text("secret")
    (tmp_path / "secret.txt").write_text("secret")
    return Folder(photos, tmp_path / "out")


@pytest.fixture
def server(folder):
    with Server(PAGE, folder) as one:
        thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield one
        one.shutdown()


def ask(server, path, method="GET", body=None, token=None, **headers) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, f"/{server.token if token is None else token}/{path}", body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_it_gives_the_page_and_the_photographs(server, folder):
    assert ask(server, "") == (200, PAGE["index.html"])
    for name in ("brush.js", "settings.json", "runtime/a.mjs"):
        assert ask(server, name) == (200, PAGE[name])
    for name in folder.files:
        quoted = name.replace(" ", "%20").replace("&", "%26").replace("ü", "%C3%BC")
        assert ask(server, f"photographs/{quoted}") == (200, (folder.folder / name).read_bytes())
    assert list(folder.files) == ["cat.jpg", "dog.jpg", "dog.png", "über &.png"]


@pytest.mark.parametrize(
    "path",
    [
        "photographs/notes.txt",
        "photographs/../secret.txt",
        "photographs/..%2Fsecret.txt",
        "photographs/%2Fetc%2Fpasswd",
        "photographs/cat.jpg/",
        "../secret.txt",
        "..%2f..%2fsecret.txt",
        "server.py",
        "runtime",
        "photographs",
    ],
)
def test_nothing_outside_its_folders_is_given(server, path):
    status, content = ask(server, path)
    assert status == 404
    assert b"secret" not in content


@pytest.mark.parametrize("token", ["", "wrong", "%C3%A9", "a" * 10_000])
def test_without_the_token_nothing_is_given(server, token):
    assert ask(server, "index.html", token=token)[0] == 403
    assert ask(server, "masks", "PUT", b"{}", token=token)[0] == 403


@pytest.mark.parametrize("host", ["evil.example", "localhost", "127.0.0.1", "127.0.0.1:1"])
def test_another_name_is_refused(server, host):
    """A page elsewhere whose name was made to lead to this machine sends its own name."""
    assert ask(server, "index.html", Host=host)[0] == 403


def test_a_page_of_another_origin_is_refused(server, folder):
    for origin in ("http://evil.example", "null", f"http://localhost:{server.server_port}"):
        assert ask(server, "photographs/cat.jpg", Origin=origin)[0] == 403
        assert ask(server, "masks/cat.jpg/1", "PUT", png(np.zeros((30, 40), np.uint8)), Origin=origin)[0] == 403
    assert not folder.out.exists()
    assert ask(server, "photographs/cat.jpg", Origin=f"http://{server.host}")[0] == 200


def test_it_listens_on_this_machine_alone(server):
    assert server.server_address[0] == "127.0.0.1"
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", server.server_port), timeout=2):
        pass


def test_masks_are_written_into_the_other_folder(server, folder):
    before = {path.name: path.read_bytes() for path in folder.folder.iterdir()}
    mask = np.zeros((30, 40), np.uint8)
    mask[5:20, 10:30] = 255
    assert ask(server, "masks/cat.jpg/1", "PUT", png(mask)) == (200, b"cat_1.png")
    assert np.array_equal(read_labels(folder.out / "cat_1.png"), mask)
    coloured = np.dstack([mask[:20, :50]] * 3 + [np.full((20, 40), 255, np.uint8)])
    coloured = np.pad(coloured, ((0, 0), (0, 10), (0, 0)))
    assert ask(server, "masks/dog.jpg/2", "PUT", png(coloured)) == (200, b"dog_jpg_2.png")
    assert ask(server, "masks/dog.png/2", "PUT", png(coloured)) == (200, b"dog_png_2.png")
    assert read_labels(folder.out / "dog_png_2.png").shape == (20, 50)
    assert {path.name: path.read_bytes() for path in folder.folder.iterdir()} == before
    assert sorted(path.name for path in folder.out.iterdir()) == ["cat_1.png", "dog_jpg_2.png", "dog_png_2.png"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("masks/cat.jpg/1", b"no picture", 400),
        ("masks/cat.jpg/1", b"", 400),
        ("masks/cat.jpg/1", png(np.zeros((31, 40), np.uint8)), 400),
        ("masks/cat.jpg/0", png(np.zeros((30, 40), np.uint8)), 404),
        ("masks/cat.jpg/-1", png(np.zeros((30, 40), np.uint8)), 404),
        ("masks/cat.jpg/..%2F1", png(np.zeros((30, 40), np.uint8)), 404),
        ("masks/..%2Fcat.jpg/1", png(np.zeros((30, 40), np.uint8)), 404),
        ("masks/unknown.jpg/1", png(np.zeros((30, 40), np.uint8)), 404),
        ("photographs/cat.jpg", png(np.zeros((30, 40), np.uint8)), 404),
        ("masks/cat.jpg/99999999999999999999", png(np.zeros((30, 40), np.uint8)), 404),
        ("masks", b"{}", 400),
        ("masks", b"no json", 400),
        ("index.html", b"", 404),
    ],
)
def test_what_is_no_mask_is_not_written(server, folder, path, body, status):
    assert ask(server, path, "PUT", body)[0] == status
    assert not folder.out.exists()


def test_what_it_is_sent_is_bounded(server, folder):
    for length, status in ((LARGEST + 1, 413), ("many", 411), ("-1", 411), ("9" * 5000, 411)):
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
        connection.putrequest("PUT", f"/{server.token}/masks")
        connection.putheader("Content-Length", str(length))
        connection.endheaders()
        assert connection.getresponse().status == status
    assert not folder.out.exists()


def test_masks_json_is_kept_from_day_to_day(server, folder):
    status, content = ask(server, "masks")
    assert status == 200
    assert json.loads(content)["annotations"] == []
    one = collection("cat.jpg")
    sent = json.dumps(one).encode()
    assert ask(server, "masks", "PUT", sent, If_Match=version_of(content)) == (200, b"masks.json")
    assert json.loads(Folder(folder.folder, folder.out).masks()) == one
    # A second page that was opened before knows nothing of these masks.
    status, words = ask(server, "masks", "PUT", json.dumps(NOTHING).encode(), If_Match=version_of(content))
    assert (status, words) == (409, b"masks.json was changed by another page; reload this one")
    assert ask(server, "masks", "PUT", json.dumps(NOTHING).encode())[0] == 409
    assert (folder.out / "masks.json").read_bytes() == sent
    assert ask(server, "masks", "PUT", json.dumps(NOTHING).encode(), If_Match=version_of(sent))[0] == 200


def collection(name: str, **changes) -> dict:
    one = {"id": 1, "image_id": 1, "category_id": 1, "object": 1, "area": 2, "bbox": [0, 1, 1, 2], "iscrowd": 0}
    return {
        "images": [{"id": 1, "file_name": name, "height": 30, "width": 40}],
        "annotations": [one | {"segmentation": {"size": [30, 40], "counts": [1, 2, 1197]}} | changes],
        "categories": [{"id": 1, "name": "object", "supercategory": "object"}],
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"image_id": 2},
        {"segmentation": {"size": [40, 30], "counts": [1, 2, 1197]}},
        {"segmentation": {"size": [30, 40], "counts": [1, 2, 1198]}},
        {"segmentation": {"size": [30, 40], "counts": [-1, 2, 1199]}},
        {"segmentation": {"size": [30, 40], "counts": []}},
        {"object": 0},
    ],
)
def test_a_collection_that_the_page_could_not_read_again_is_not_written(server, folder, changes):
    sent = json.dumps(collection("cat.jpg", **changes)).encode()
    assert ask(server, "masks", "PUT", sent, If_Match=version_of(folder.masks()))[0] == 400
    assert not folder.out.exists()


def test_masks_that_were_changed_by_hand_are_told_and_not_written_over(server, folder):
    before = version_of(folder.masks())
    folder.out.mkdir()
    (folder.out / "masks.json").write_text("mine")
    status, words = ask(server, "masks")
    assert status == 500
    assert b"expected masks of the brush, got something else" in words
    assert ask(server, "masks", "PUT", json.dumps(NOTHING).encode(), If_Match=before)[0] == 500
    assert (folder.out / "masks.json").read_text() == "mine"


def test_an_input_is_never_written_over(tmp_path):
    """Neither by its name nor through a link in the folder of the masks."""
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir(), out.mkdir()
    (photos / "cat.png").write_bytes(png(np.full((30, 40, 3), 90, np.uint8)))
    (out / "cat_1.png").symlink_to(photos / "cat.png")
    before = (photos / "cat.png").read_bytes()
    with Server(PAGE, Folder(photos, out)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        status, words = ask(server, "masks/cat.png/1", "PUT", png(np.zeros((30, 40), np.uint8)))
        server.shutdown()
    assert status == 409
    assert b"would replace" in words
    assert (photos / "cat.png").read_bytes() == before


def test_folders_that_will_not_do_are_told_before(tmp_path):
    photos = tmp_path / "photos"
    with pytest.raises(DataError, match="expected a folder of photographs"):
        Folder(photos, tmp_path / "out")
    photos.mkdir()
    with pytest.raises(DataError, match="expected photographs"):
        Folder(photos, tmp_path / "out")
    (photos / "cat.png").write_bytes(png(np.full((30, 40, 3), 90, np.uint8)))
    with pytest.raises(ValueError, match="would lie among the photographs"):
        Folder(photos, photos / ".." / "photos")
    with pytest.raises(ValueError, match="expected a folder for the masks, got the file"):
        Folder(photos, photos / "cat.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "masks.json").write_text('{"images": []}')
    with pytest.raises(DataError, match="expected masks of the brush"):
        Folder(photos, tmp_path / "out")
    (tmp_path / "out" / "masks.json").write_text(json.dumps(collection("cat.jpg")))
    with pytest.raises(DataError, match=r"masks.json has masks of cat.jpg, which is not among the photographs"):
        Folder(photos, tmp_path / "out")
    (tmp_path / "out" / "masks.json").write_text(json.dumps(collection("cat.png")))
    Folder(photos, tmp_path / "out")
    (photos / "cat.png").write_bytes(png(np.full((30, 41, 3), 90, np.uint8)))
    with pytest.raises(DataError, match=r"masks.json has masks of cat.png, .* or has another size there"):
        Folder(photos, tmp_path / "out")


def test_hidden_files_are_no_photographs_and_names_do_not_collide(tmp_path):
    for name in ("dog.jpg", "Dog.png", "._cat.jpg", "cat.webp"):
        (tmp_path / name).write_bytes(b"")
    assert Folder(tmp_path, tmp_path / "out").stems == {"Dog.png": "Dog_png", "cat.webp": "cat", "dog.jpg": "dog_jpg"}
    (tmp_path / "dog_jpg.png").write_bytes(b"")
    with pytest.raises(DataError, match="two photographs whose masks would have one name"):
        Folder(tmp_path, tmp_path / "out")


def test_every_answer_says_what_a_page_and_its_worker_may_ask_for(server):
    for path in ("", "brush.js", "photographs/cat.jpg", "unknown"):
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
        connection.request("GET", f"/{server.token}/{path}")
        headers = connection.getresponse().headers
        assert headers["Content-Security-Policy"] == POLICY
        assert (headers["X-Frame-Options"], headers["Cross-Origin-Resource-Policy"]) == ("DENY", "same-origin")


def test_a_port_that_there_is_not_is_told(capsys):
    assert main(["brush", "photos", "--out", "masks", "--port", "70000"]) == 1
    assert "--port: expected a number below 65536, got 70000" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["photos"], ["--out", "masks"], ["photos", "--out", "o", "--page", "p"]])
def test_the_command_says_what_it_needs(arguments, capsys):
    assert main(["brush", *arguments]) == 1
    assert "expected a folder of photographs and --out for their masks, or --page alone" in capsys.readouterr().err


@pytest.mark.slow
def test_it_says_where_it_is_and_stops_with_ctrl_c(folder, tmp_path):
    command = [sys.executable, "-m", "seglib", "brush", folder.folder, "--out", tmp_path / "masks", "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
    try:
        assert server.stdout.readline() == "preparing the page …\n"
        assert server.stdout.readline() == f"4 photographs in {folder.folder}; masks go to {tmp_path / 'masks'}\n"
        address = re.fullmatch(
            r"(http://127\.0\.0\.1:\d+/[\w-]{32}/)  \(Ctrl-C stops it\)\n", server.stdout.readline()
        )[1]
        with urllib.request.urlopen(f"{address}settings.json", timeout=10) as answer:
            assert json.load(answer)["photographs"] == list(folder.files)
        server.send_signal(signal.SIGINT)
        said, wrong = server.communicate(timeout=20)
    finally:
        server.kill()
    assert (server.returncode, said, wrong) == (0, "stopped\n", "")
