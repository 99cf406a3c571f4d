"""The page without a server: the files that run the network in a browser."""

from __future__ import annotations

import gzip
import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..export import to_onnx
from ..files import user_path, write_whole
from ..prediction import load_model
from ..reports.neural_segmentello.play import BINS, CHANNELS, FIRST_MARGIN
from ..rows import load_row
from .session import LONGEST, ROW

HERE = Path(__file__).parent
RUNTIME = HERE / "runtime"  # ONNX Runtime Web; not in the wheel
# What the page may ask for: files beside it, and nothing of anybody else's.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; "
    "style-src 'self'; img-src 'self' blob: data:; form-action 'none'; base-uri 'none'"
)
FILES = {"index.html": "page.html", "page.css": "page.css", "brush.css": "brush.css", "brush.js": "brush.js"}


def content(photographs: Sequence[str] | None = None) -> dict[str, bytes]:
    """The page's files by their names: its own, the network, and the runtime with its licence.

    Args:
        photographs: the names of those that a server has; None: the user opens his own.

    Raises:
        FileNotFoundError: the runtime's files are not there, or are others than their list says.
        ModuleNotFoundError: without the packages that write ONNX files.
        WeightsError: the network's weights are not there.
    """
    page = {name: (HERE / file).read_bytes() for name, file in FILES.items()}
    page["index.html"] = page["index.html"].replace(b"{policy}", POLICY.encode())
    page |= {f"runtime/{name}": file for name, file in runtime().items()}
    config = load_row(*ROW, "full").data
    settings = {"side": config.longest, "longest": LONGEST, "firstMargin": FIRST_MARGIN}
    settings |= {"channels": CHANNELS, "bins": BINS}
    settings |= {} if photographs is None else {"photographs": list(photographs)}
    page["settings.json"] = json.dumps(settings).encode()
    with tempfile.TemporaryDirectory() as folder:
        network = to_onnx(load_model(*ROW), CHANNELS, Path(folder) / "network.onnx").read_bytes()
    return page | {"network.onnx.gz": gzip.compress(network, mtime=0)}


def runtime() -> dict[str, bytes]:
    """ONNX Runtime Web's files by their names, each as its checksum in `runtime/files.json` says.

    Raises:
        FileNotFoundError: a file is missing or another one.
    """
    if not (RUNTIME / "files.json").is_file():
        raise FileNotFoundError(
            f"the page needs ONNX Runtime Web in {RUNTIME}, which the wheel leaves out; run seglib from the course's "
            "repository, which has it"
        )
    files = {}
    for name, checksum in json.loads((RUNTIME / "files.json").read_text(encoding="utf-8"))["sha256"].items():
        path = RUNTIME / name
        files[name] = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(files[name]).hexdigest() != checksum:
            raise FileNotFoundError(f"{path}: expected the file with SHA-256 {checksum}, got another or none")
    return files


def write_page(folder: str | Path) -> Path:
    """Writes the page into a folder, each file whole or not at all; a web server has to serve it, for browsers run no
    workers of plain files.

    Raises:
        ValueError: the folder has other files in it.
        OSError: it cannot be written to.
    """
    folder = user_path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"expected a folder for the page, got the file {folder}")
    ours = {*FILES, "runtime", "settings.json", "network.onnx.gz"}
    other = sorted(path.name for path in folder.iterdir() if path.name not in ours) if folder.is_dir() else []
    if other:
        raise ValueError(f"expected a new or empty folder for the page, or one with an older page; it has {other[0]}")
    for name, file in content().items():
        write_whole(folder / name, lambda out, file=file: out.write(file), "page")
    return folder
