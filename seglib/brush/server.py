"""The page for a folder of photographs on this machine, whose masks are written into another folder.

The server listens on 127.0.0.1 and answers only requests that have the token in their address and name this host, so
that no other page that is open in the browser can ask it for photographs or have it write files.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import cv2
import numpy as np
from pydantic import BaseModel, Field, ValidationError, model_validator

from ..data.images import DataError, read_size
from ..files import user_path, write_whole
from ..prediction import Kept
from .page import POLICY

PICTURES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".gz": "application/gzip",
}
LARGEST = 64 * 2**20  # bytes of what is written
MASKS = "masks.json"
PATIENCE = 30  # seconds without a byte, after which a connection is closed
NOTHING = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "object", "supercategory": "object"}]}


class _Image(BaseModel):
    id: int
    file_name: str
    height: int = Field(ge=1)
    width: int = Field(ge=1)


class _RunLengths(BaseModel):
    size: tuple[int, int]
    counts: list[int]

    @model_validator(mode="after")
    def _runs_fill_the_mask(self) -> _RunLengths:
        if min(self.counts, default=0) < 0 or sum(self.counts) != self.size[0] * self.size[1]:
            raise ValueError("the runs do not fill the mask")
        return self


class _Annotation(BaseModel):
    id: int
    image_id: int
    category_id: int
    object: int = Field(ge=1)  # its number among the photograph's
    segmentation: _RunLengths
    area: int = Field(ge=0)
    bbox: tuple[int, int, int, int]
    iscrowd: int


class _Category(BaseModel):
    id: int
    name: str
    supercategory: str


class Masks(BaseModel):
    """Masks of the brush in COCO's format, with a number for each object of a photograph."""

    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]

    @model_validator(mode="after")
    def _masks_are_of_the_images(self) -> Masks:
        sizes = {image.id: (image.height, image.width) for image in self.images}
        for one in self.annotations:
            if sizes.get(one.image_id) != one.segmentation.size:
                raise ValueError(f"annotation {one.id} is of no image of its size")
        return self


class Refused(Exception):
    """A request that is not answered, with the status and the words that say why."""

    def __init__(self, status: HTTPStatus, words: str):
        super().__init__(words)
        self.status, self.words = status, words


class Folder:
    """The photographs of a folder, and where their masks go.

    Args:
        photographs: the folder; what is not JPEG, PNG or WebP in it is left out.
        out: another folder; it may have masks of a brush in it already, which are kept.

    Raises:
        DataError: no folder, no photograph in it, two photographs whose masks would have one name, or a file
            `masks.json` in `out` that no brush has written, or with masks of other photographs.
        ValueError: the two are one folder.
    """

    def __init__(self, photographs: str | Path, out: str | Path):
        self.folder, self.out = user_path(photographs), user_path(out)
        if not self.folder.is_dir():
            raise DataError(f"expected a folder of photographs, got {str(self.folder)!r}, which is none")
        found = (path for path in self.folder.glob("[!.]*") if path.suffix.lower() in PICTURES)
        files = sorted(path for path in found if path.is_file())
        if not files:
            raise DataError(f"{self.folder}: expected photographs ({', '.join(PICTURES)}), found none")
        if self.out.exists() and not self.out.is_dir():
            raise ValueError(f"expected a folder for the masks, got the file {self.out}")
        if self.out.is_dir() and self.out.samefile(self.folder):
            raise ValueError(f"masks in {self.out} would lie among the photographs; name another folder with --out")
        self.files = {path.name: path for path in files}
        self.inputs = Kept(files)
        stems = [path.stem.casefold() for path in files]
        # Of a.jpg and a.png both have a mask of their own.
        self.stems = {
            p.name: p.stem if stems.count(p.stem.casefold()) == 1 else p.name.replace(".", "_") for p in files
        }
        if len({stem.casefold() for stem in self.stems.values()}) < len(files):
            raise DataError(f"{self.folder}: two photographs whose masks would have one name; rename one of them")
        self.lock = threading.Lock()
        for image in json.loads(self.masks())["images"]:
            size = read_size(self.files[image["file_name"]]) if image["file_name"] in self.files else None
            if size is None or {*size} != {image["height"], image["width"]}:
                raise DataError(
                    f"{self.out / MASKS} has masks of {image['file_name']}, which is not among the photographs in "
                    f"{self.folder} or has another size there; name another folder with --out"
                )

    def masks(self) -> bytes:
        """What `masks.json` has, or no masks."""
        path = self.out / MASKS
        if not path.is_file():
            return json.dumps(NOTHING).encode()
        content = path.read_bytes()
        try:
            Masks.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            raise DataError(
                f"{path}: expected masks of the brush, got something else ({'.'.join(map(str, first['loc']))}: "
                f"{first['msg']}); move it away, or name another folder with --out"
            ) from None
        return content

    def write_masks(self, content: bytes, version: str | None) -> str:
        """Writes `masks.json` in place of the `version` that the page knows; returns its name."""
        try:
            Masks.model_validate_json(content)
        except ValidationError:
            raise Refused(HTTPStatus.BAD_REQUEST, "expected masks in COCO's format") from None
        with self.lock:
            if version != version_of(self.masks()):
                raise Refused(HTTPStatus.CONFLICT, f"{MASKS} was changed by another page; reload this one")
            return self._write(MASKS, content)

    def write_mask(self, photograph: str, number: str, content: bytes) -> str:
        """Writes a mask of a photograph's size, 0 and 255, as PNG; returns the file's name."""
        if photograph not in self.files or not re.fullmatch("[1-9][0-9]{0,3}", number):
            raise Refused(HTTPStatus.NOT_FOUND, "no such photograph")
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE) if content else None
        if picture is None:
            raise Refused(HTTPStatus.BAD_REQUEST, "expected a mask as PNG")
        size = read_size(self.files[photograph])
        if size is not None and picture.shape not in (size, size[::-1]):
            raise Refused(HTTPStatus.BAD_REQUEST, f"expected a mask of {size}, got {picture.shape}")
        grey = cv2.imencode(".png", np.where(picture > 127, 255, 0).astype(np.uint8))[1].tobytes()
        return self._write(f"{self.stems[photograph]}_{int(number)}.png", grey)

    def _write(self, name: str, content: bytes) -> str:
        try:
            self.inputs.check([self.out / name])
            write_whole(self.out / name, lambda file: file.write(content), "mask")
        except (OSError, ValueError) as error:
            raise Refused(HTTPStatus.CONFLICT, str(error)) from None
        return name


def version_of(content: bytes) -> str:
    """What tells a file's content from another, as the header ETag has it."""
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


class Server(ThreadingHTTPServer):
    """Serves the page's files and a folder's photographs on 127.0.0.1.

    Args:
        page: the files of the page by their names, see `page.content`; they may be given later.
        folder: what it is for.
        port: 0: any that is free.

    Attributes:
        address: what to open, with the token in it.
    """

    daemon_threads = True

    def __init__(self, page: Mapping[str, bytes], folder: Folder, port: int = 0):
        super().__init__(("127.0.0.1", port), Handler)
        self.page, self.folder = page, folder
        self.token = secrets.token_urlsafe(24)
        self.host = "127.0.0.1" if self.server_port == 80 else f"127.0.0.1:{self.server_port}"
        self.address = f"http://{self.host}/{self.token}/"


class Handler(BaseHTTPRequestHandler):
    """Answers a request."""

    server: Server
    server_version, sys_version = "seglib", ""
    timeout = PATIENCE

    def do_GET(self) -> None:
        self.answer(self.read)

    def do_PUT(self) -> None:
        self.answer(self.write)

    def answer(self, method) -> None:
        """Sends what `method` makes of the path below the token, or why it refuses."""
        self.version = None
        try:
            content, kind = method(self.allowed())
            status = HTTPStatus.OK
        except Refused as refused:
            content, kind, status = refused.words.encode(), "text/plain; charset=utf-8", refused.status
        except (OSError, ValueError, cv2.error) as error:
            content, kind = str(error).encode(), "text/plain; charset=utf-8"
            status = HTTPStatus.INTERNAL_SERVER_ERROR
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "Cache-Control": "no-store",
            "Content-Security-Policy": POLICY,
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
        } | ({"ETag": self.version} if self.version else {})
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def allowed(self) -> list[str]:
        """The parts of the path behind the token.

        Raises:
            Refused: another host's name (what a page elsewhere whose name leads here would send), another origin, or
                no token.
        """
        if self.headers.get_all("Host") != [self.server.host]:
            raise Refused(HTTPStatus.FORBIDDEN, "not this server's name")
        if self.headers.get("Origin", f"http://{self.server.host}") != f"http://{self.server.host}":
            raise Refused(HTTPStatus.FORBIDDEN, "not from this server's page")
        token, *parts = self.path.split("?")[0].removeprefix("/").split("/")
        if not secrets.compare_digest(token.encode(), self.server.token.encode()):
            raise Refused(HTTPStatus.FORBIDDEN, "no such address; take the one that the command printed")
        return [unquote(part) for part in parts]

    def read(self, parts: list[str]) -> tuple[bytes, str]:
        """A file of the page, a photograph, or the masks: each by its name among those known, never by a path."""
        folder = self.server.folder
        if parts == ["masks"]:
            masks = folder.masks()
            self.version = version_of(masks)
            return masks, "application/json"
        if len(parts) == 2 and parts[0] == "photographs" and parts[1] in folder.files:
            path = folder.files[parts[1]]
            try:
                return path.read_bytes(), PICTURES[path.suffix.lower()]
            except OSError as error:
                raise Refused(HTTPStatus.NOT_FOUND, f"cannot be read: {error.strerror}") from None
        name = "/".join(parts) or "index.html"
        if name not in self.server.page:
            raise Refused(HTTPStatus.NOT_FOUND, "no such file")
        return self.server.page[name], TYPES[Path(name).suffix]

    def write(self, parts: list[str]) -> tuple[bytes, str]:
        """Writes a mask or the collection of masks; answers with the file's name."""
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch("[0-9]{1,15}", length):
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "expected the length of what is sent")
        if int(length) > LARGEST:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {LARGEST} bytes, got {length}")
        content = self.rfile.read(int(length))
        if len(content) < int(length):
            raise Refused(HTTPStatus.BAD_REQUEST, "the connection was cut")
        if parts == ["masks"]:
            name = self.server.folder.write_masks(content, self.headers.get("If-Match"))
            self.version = version_of(content)
        elif len(parts) == 3 and parts[0] == "masks":
            name = self.server.folder.write_mask(*parts[1:], content)
        else:
            raise Refused(HTTPStatus.NOT_FOUND, "no such place")
        return name.encode(), "text/plain; charset=utf-8"

    def log_message(self, *args) -> None:
        """Says nothing of single requests."""


def serve(server: Server, open_in: Callable[[str], object] | None = None) -> None:
    """Serves until Ctrl-C; says where. `open_in(address)` opens it in a browser."""
    print(f"{len(server.folder.files)} photographs in {server.folder.folder}; masks go to {server.folder.out}")
    print(f"{server.address}  (Ctrl-C stops it)", flush=True)
    if open_in:  # in a thread of its own, for a browser in the terminal ends only with its user's visit
        threading.Thread(target=open_in, args=(server.address,), daemon=True).start()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("stopped")
