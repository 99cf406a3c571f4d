"""The page in a real browser: the same masks as Python's, photographs of all kinds, masks saved and read again."""

import base64
import functools
import http.server
import json
import re
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import requests
import skimage.data
import torch
import torch.nn.functional as F
from PIL import Image
from pycocotools.coco import COCO
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from seglib.__main__ import main
from seglib.brush import page
from seglib.brush.server import Folder, Server
from seglib.brush.session import Session, Stroke, rasterise
from seglib.data.clues import likelihood
from seglib.data.images import read_labels
from seglib.reports.neural_segmentello.play import BINS, square

SCREENSHOTS = Path(__file__).parents[2] / "_build" / "screenshots"
STROKES = [
    Stroke(sign=1, width=24, points=((190.5, 60.25), (300, 80), (330.5, 120), (250, 190))),
    Stroke(sign=-1, width=16, points=((20, 20), (90.75, 40))),
    Stroke(sign=1, width=30, points=((265, 245),)),
    Stroke(sign=-1, width=5, points=((560, 100), (470, 300), (510, 360))),
]


@pytest.fixture(scope="module")
def content() -> dict[str, bytes]:
    return page.content()


@pytest.fixture(scope="module")
def written(content, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    for name, file in content.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(file)
    return folder


@pytest.fixture(scope="module")
def asked():
    """The requests that the page's web server has had, its worker's too."""
    return []


@pytest.fixture(scope="module")
def address(written, asked):
    """The page on a plain web server."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            asked.append(self.requestline)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=written)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def photograph(tmp_path_factory) -> Path:
    """400×600, without loss."""
    path = tmp_path_factory.mktemp("photographs") / "coffee cup.png"
    Image.fromarray(skimage.data.coffee()).save(path)
    return path


def status(browser) -> str:
    return browser.find_element(By.CSS_SELECTOR, "[role=status]").text


def until(browser, words: str, seconds: float = 120) -> str:
    WebDriverWait(browser, seconds, 0.05).until(lambda b: re.search(words, status(b)), f"no {words!r} in the status")
    return status(browser)


def visit(browser, address: str, width: int = 1280) -> None:
    browser.set_window_size(width, 1000)
    browser.get(address)
    until(browser, "Open a photograph")


def give(browser, path: Path, words: str = "Draw over the object", seconds: float = 120) -> str:
    browser.find_element(By.ID, "open").send_keys(str(path))
    return until(browser, words, seconds)


def draw(browser, *points, sign: int = 1) -> None:
    """A stroke by the mouse through points of the surface, each as shares of its width and height."""
    browser.find_element(By.CSS_SELECTOR, ".signs .object" if sign > 0 else ".signs .background").click()
    canvas = browser.find_element(By.CSS_SELECTOR, "canvas[tabindex]")
    width, height = canvas.size["width"], canvas.size["height"]
    actions = ActionChains(browser, duration=10)
    places = [(round((x - 0.5) * width), round((y - 0.5) * height)) for x, y in points]
    actions.move_to_element_with_offset(canvas, *places[0]).click_and_hold()
    for x, y in places[1:]:
        actions.move_to_element_with_offset(canvas, x, y)
    actions.release().perform()


def look(browser, name: str, element=None) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = str(SCREENSHOTS / f"{name}.png")
    browser.save_screenshot(path) if element is None else element.screenshot(path)


def in_page(browser, script: str, *arguments):
    """What an expression of brush.js's functions gives; `m` is the module, `a` the arguments."""
    code = (
        "const done = arguments[arguments.length - 1], a = [...arguments].slice(0, -1);"
        f"import('./brush.js').then(async m => done({script})).catch(error => done(String(error)));"
    )
    return browser.execute_async_script(code, *arguments)


# --- the sums, one by one ---


@pytest.mark.browser
def test_strokes_are_the_same_hint(browser, address):
    visit(browser, address)
    rng = np.random.default_rng(0)
    for scale in ((1.0, 1.0), (0.37, 0.35)):
        strokes = []
        for count in (1, 2, 7, 30):
            points = rng.uniform(-20, 150, (count, 2)).round(2).tolist()
            strokes.append(Stroke(sign=int(rng.choice([1, -1])), width=rng.uniform(0.2, 40), points=points))
        sent = [one.model_dump(mode="json") for one in strokes]
        found = in_page(browser, "[...m.rasterise(a[0], 97, 131, a[1])]", sent, scale)
        assert found == rasterise(strokes, (97, 131), scale).ravel().tolist()


@pytest.mark.browser
def test_squares_are_the_same(browser, address):
    visit(browser, address)
    rng = np.random.default_rng(1)
    for _ in range(40):
        height, width = rng.integers(1, 60, 2).tolist()
        about = rng.random((height, width)) < rng.choice([0.0, 0.002, 0.05])
        margin = float(rng.uniform(0.5, 3))
        part = in_page(
            browser, "m.square(i => a[0][i], a[1], a[2], a[3])", about.ravel().tolist(), height, width, margin
        )
        rows, columns = square(about, margin)
        assert (part["top"], part["left"]) == (rows.start, columns.start)
        assert (part["height"], part["width"]) == (rows.stop - rows.start, columns.stop - columns.start)


@pytest.mark.browser
@pytest.mark.parametrize("sizes", [((33, 57), (16, 16)), ((9, 7), (31, 40)), ((40, 12), (20, 30)), ((5, 5), (5, 5))])
def test_planes_are_resampled_as_pytorch_does(browser, address, sizes):
    visit(browser, address)
    (height, width), size = sizes
    plane = torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(plane, size, mode="bilinear", antialias=True)
    found = in_page(browser, "[...m.resample(a[0], a[1], a[2], ...a[3])]", plane.ravel().tolist(), height, width, size)
    assert found == pytest.approx(expected.ravel().tolist(), abs=2e-6)


@pytest.mark.browser
def test_colours_are_as_likely_as_in_python(browser, address):
    visit(browser, address)
    colours = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(0)).numpy() ** 2
    inside = np.zeros((20, 30), bool)
    inside[3:9, 4:11] = True
    binned = np.clip((colours * BINS).astype(int), 0, BINS - 1).transpose(1, 2, 0)
    expected = likelihood(binned, inside, ~inside, BINS)
    planes = [plane.ravel().tolist() for plane in colours]
    arguments = "...a[0].map(plane => Float32Array.from(plane)), i => a[1][i], a[2]"
    found = in_page(browser, f"[...m.likelihood({arguments})]", planes, inside.ravel().tolist(), BINS)
    assert found == pytest.approx(expected.ravel().tolist(), abs=1e-5)


@pytest.mark.browser
def test_an_annotation_is_read_by_pycocotools(browser, address):
    visit(browser, address)
    rng = np.random.default_rng(2)
    for mask in (rng.random((7, 11)) < 0.4, np.zeros((3, 4), bool), np.ones((3, 4), bool), rng.random((1, 9)) < 0.5):
        found = in_page(browser, "m.annotation(a[0], a[1], a[2])", mask.astype(int).ravel().tolist(), *mask.shape)
        coco = COCO()
        coco.imgs = {1: {"height": mask.shape[0], "width": mask.shape[1]}}
        assert np.array_equal(coco.annToMask(found | {"image_id": 1}), mask)
        assert found["area"] == mask.sum()
        rows, columns = np.nonzero(mask)
        box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1] if mask.any() else [0, 0, 0, 0]
        assert found["bbox"] == box


# --- the page ---


def of_worker(browser, photograph: Path, strokes: list[Stroke], size: tuple[int, int]) -> np.ndarray:
    """The mask of the page's worker for strokes that are sent to it, at the photograph's own size."""
    pixels = np.dstack([np.array(Image.open(photograph).convert("RGB")), np.full(size, 255, np.uint8)])
    code = """
        const [pixels, height, width, strokes, done] = arguments;
        const worker = new Worker('brush.js', { type: 'module' });
        worker.onmessage = ({ data }) => {
            if (data.error) done(data.error);
            else if (data.turn === 1) worker.postMessage({ turn: 2, kind: 'full', strokes });
            else { worker.terminate(); done([...data.mask].join('')); }
        };
        const raw = Uint8ClampedArray.from(atob(pixels), c => c.charCodeAt(0));
        worker.postMessage({ turn: 1, kind: 'open', pixels: raw, height, width });
    """
    browser.set_script_timeout(300)
    sent = [one.model_dump(mode="json") for one in strokes]
    found = browser.execute_async_script(code, base64.b64encode(pixels.tobytes()).decode(), *size, sent)
    assert set(found) <= {"0", "1"}, found[:200]
    return (np.frombuffer(found.encode(), np.uint8) == ord("1")).reshape(size)


@pytest.mark.browser
@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("factor", [1, 2.5])  # the larger one is worked on reduced
def test_the_same_strokes_give_the_same_mask_as_in_python(browser, address, photograph, tmp_path, count, factor):
    visit(browser, address)
    picture = Image.open(photograph)
    picture = picture.resize((round(600 * factor), round(400 * factor)))
    picture.save(tmp_path / "picture.png")
    strokes = [
        Stroke(sign=s.sign, width=s.width * factor, points=[(x * factor, y * factor) for x, y in s.points])
        for s in STROKES[:count]
    ]
    found = of_worker(browser, tmp_path / "picture.png", strokes, picture.size[::-1])
    session = Session(np.array(picture))
    expected = session.mask(strokes)
    assert (session.picture.shape[:2] == expected.shape) == (factor == 1)
    assert 0.005 < expected.mean() < 0.9
    assert (found == expected).mean() >= 0.999


@pytest.mark.browser
@pytest.mark.parametrize("size", [(1, 1), (3, 900), (40, 50)])
def test_of_strange_pictures_and_strokes_outside_too(browser, address, tmp_path, size):
    visit(browser, address)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    strokes = [
        Stroke(sign=-1, width=3, points=[(0.5, 0.5)]),  # background alone, and the object only later
        Stroke(sign=1, width=30, points=[(-50, -50), (-40, -45)]),
        Stroke(sign=1, width=2, points=[(size[1] - 0.5, size[0] - 0.5)]),
    ]
    for count in (1, 2, 3):
        found = of_worker(browser, tmp_path / "a.png", strokes[:count], size)
        expected = Session(np.array(Image.open(tmp_path / "a.png"))).mask(strokes[:count])
        assert (found == expected).mean() >= 0.999


@pytest.mark.browser
def test_strokes_of_a_hand_give_the_same_mask_as_in_python(browser, address, photograph, tmp_path):
    """Drawn, corrected, and the mask saved; the strokes are those that the surface made of the mouse's way."""
    visit(browser, address)
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    browser.execute_script(
        """
        window.sent = [];
        const post = Worker.prototype.postMessage;
        Worker.prototype.postMessage = function (data, ...rest) {
            if (data.strokes) sent.push(JSON.stringify(data.strokes));
            return post.call(this, data, ...rest);
        };
        """
    )
    assert "600 × 400" in give(browser, photograph)
    draw(browser, (0.3, 0.15), (0.47, 0.2), (0.5, 0.3))
    until(browser, "1 stroke: the mask covers")
    draw(browser, (0.05, 0.05), (0.1, 0.2), sign=-1)
    until(browser, "2 strokes: the mask covers")
    browser.find_element(By.ID, "save").click()
    until(browser, "Saved coffee cup_1.png")
    saved = tmp_path / "coffee cup_1.png"
    WebDriverWait(browser, 60).until(lambda b: saved.is_file())
    assert Image.open(saved).mode == "L"
    strokes = [Stroke(**one) for one in json.loads(browser.execute_script("return sent.at(-1)"))]
    assert [one.sign for one in strokes] == [1, -1]
    mask = read_labels(saved)
    assert set(np.unique(mask)) <= {0, 255}
    expected = Session(np.array(Image.open(photograph))).mask(strokes)
    assert ((mask > 127) == expected).mean() >= 0.999
    for width in (1280, 390):
        browser.set_window_size(width, 1000)
        look(browser, f"brush-page-{width}")
        wider = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert browser.execute_script(wider) <= 0


@pytest.mark.browser
def test_undo_and_clear_and_all_masks_as_coco(browser, address, photograph, tmp_path):
    visit(browser, address)
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    give(browser, photograph)
    undo, clear = browser.find_elements(By.CSS_SELECTOR, ".tools button")
    assert not undo.is_enabled()
    draw(browser, (0.3, 0.15), (0.47, 0.2))
    first = until(browser, "1 stroke: the mask covers")
    draw(browser, (0.6, 0.6), (0.7, 0.8))
    until(browser, "2 strokes: the mask covers")
    undo.click()
    assert until(browser, "1 stroke: the mask covers") == first
    save, following = browser.find_element(By.ID, "save"), browser.find_element(By.ID, "next")
    assert not following.is_enabled()  # a mask that is not saved would be lost
    save.click()
    until_listed(browser, 1)
    following.click()
    until(browser, "Draw over the object")
    assert not undo.is_enabled()
    assert not save.is_enabled()
    assert save.text == "Save mask 2"
    draw(browser, (0.7, 0.3), (0.8, 0.5))
    until(browser, "1 stroke: the mask covers")
    save.click()
    until_listed(browser, 2)
    clear.click()
    until(browser, "Draw over the object")
    assert save.text == "Save mask 3"  # what comes next does not take the place of what is saved
    browser.find_element(By.ID, "collection").click()
    names = [tmp_path / name for name in ("masks.json", "coffee cup_1.png", "coffee cup_2.png")]
    WebDriverWait(browser, 60).until(lambda b: all(name.is_file() for name in names))
    coco = COCO(tmp_path / "masks.json")
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == ["coffee cup.png"]
    annotations = coco.loadAnns(coco.getAnnIds())
    assert len(annotations) == 2
    for annotation, name in zip(annotations, names[1:]):
        assert np.array_equal(coco.annToMask(annotation) * 255, read_labels(name))


@pytest.mark.browser
def test_two_photographs_of_one_name_are_kept_apart(browser, address, photograph, tmp_path):
    visit(browser, address)
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / photograph.name
    Image.fromarray(skimage.data.astronaut()).save(other)
    for path, name in ((photograph, "coffee cup.png"), (other, "coffee cup (2).png"), (photograph, "coffee cup.png")):
        give(browser, path, f"^{re.escape(name)}, .*Draw over")
        draw(browser, (0.3, 0.3), (0.5, 0.4))
        until(browser, "1 stroke: the mask covers")
        before = len(browser.find_elements(By.CSS_SELECTOR, "#masks li"))
        browser.find_element(By.ID, "save").click()
        until_listed(browser, before + 1)
    browser.find_element(By.ID, "collection").click()
    WebDriverWait(browser, 60).until(lambda b: (tmp_path / "masks.json").is_file())
    images = json.loads((tmp_path / "masks.json").read_text())["images"]
    assert [(one["file_name"], one["height"]) for one in images] == [
        ("coffee cup.png", 400),
        ("coffee cup (2).png", 512),
    ]


def until_listed(browser, count: int) -> None:
    WebDriverWait(browser, 60).until(lambda b: len(b.find_elements(By.CSS_SELECTOR, "#masks li")) == count)


@pytest.mark.browser
def test_of_twelve_megapixels_and_of_a_turned_picture_and_of_none(browser, address, tmp_path):
    visit(browser, address)
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    coffee = Image.fromarray(skimage.data.coffee())
    coffee.resize((4000, 3000)).save(tmp_path / "large.jpg", quality=90)
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by a quarter, clockwise
    coffee.save(tmp_path / "turned.jpg", exif=turned)
    (tmp_path / "notes.jpg").write_text("no picture")
    assert "4000 × 3000" in give(browser, tmp_path / "large.jpg")
    draw(browser, (0.3, 0.2), (0.45, 0.3))
    until(browser, "1 stroke: the mask covers")
    browser.find_element(By.ID, "save").click()
    WebDriverWait(browser, 60).until(lambda b: (tmp_path / "large_1.png").is_file())
    assert Image.open(tmp_path / "large_1.png").size == (4000, 3000)
    assert "400 × 600" in give(browser, tmp_path / "turned.jpg", "turned.jpg, .*Draw over")
    said = give(browser, tmp_path / "notes.jpg", "notes.jpg")
    assert "expected a picture that this browser can read, such as JPEG or PNG" in said
    draw(browser, (0.4, 0.4), (0.5, 0.6))  # what was open before is still there
    until(browser, "1 stroke: the mask covers")


@pytest.mark.browser
def test_it_can_be_drawn_by_keys_alone(browser, address, photograph):
    visit(browser, address)
    give(browser, photograph)
    canvas = browser.find_element(By.CSS_SELECTOR, "canvas[tabindex]")
    canvas.send_keys("\ue012\ue012")  # left
    assert "Brush up" in status(browser)
    canvas.send_keys("x", " ", "\ue013\ue013\ue014")  # background; down; up, up, right
    assert "Brush down" in status(browser)
    assert browser.find_element(By.CSS_SELECTOR, ".signs .background input").is_selected()
    canvas.send_keys(" ")
    until(browser, "1 stroke: the mask covers")
    canvas.send_keys("z")
    until(browser, "Draw over the object")


@pytest.fixture(scope="module")
def stranger():
    """Another server on this machine, which would take anything, and what it was asked."""
    asked = []

    class Any(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Access-Control-Allow-Origin", "*")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Any) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", asked
        server.shutdown()


@pytest.mark.browser
def test_nothing_leaves_the_browser(browser, address, asked, photograph, stranger, tmp_path):
    """Its own server hears nothing once its files are there, other machines are out of this browser's reach, and the
    page may not ask another server on this one."""
    browser.execute_cdp_cmd("Network.clearBrowserCache", {})  # or it need not ask for its files
    asked.clear()
    visit(browser, address)
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    give(browser, photograph)
    assert {"GET /network.onnx.gz HTTP/1.1", "GET /runtime/ort-wasm-simd-threaded.wasm.gz HTTP/1.1"} <= set(asked)
    assert all(line.startswith("GET ") for line in asked)
    asked.clear()
    draw(browser, (0.3, 0.15), (0.47, 0.2), (0.5, 0.3))
    until(browser, "1 stroke: the mask covers")
    browser.find_element(By.ID, "save").click()
    until(browser, "Saved coffee cup_1.png")
    assert asked == []
    elsewhere, heard = stranger
    ask = """
        const [url, done] = arguments;
        fetch(url, { method: 'POST' }).then(() => done('sent'), () => done('refused'));
    """
    assert browser.execute_async_script(ask, f"{elsewhere}page") == "refused"
    browser.get(elsewhere)  # where no policy forbids it
    assert browser.execute_async_script(ask, f"{elsewhere}itself") == "sent"
    assert "/page" not in heard
    assert "/itself" in heard


@pytest.mark.browser
def test_a_page_elsewhere_cannot_read_photographs_or_write_masks(browser, server, stranger):
    browser.get(stranger[0])
    ask = """
        const [url, method, done] = arguments;
        const body = method === 'PUT' ? 'x' : undefined;
        fetch(url, { method, body }).then(answer => done(answer.status), () => done('refused'));
    """
    assert browser.execute_async_script(ask, f"{server.address}photographs/astronaut.jpg", "GET") == "refused"
    assert browser.execute_async_script(ask, f"{server.address}masks", "PUT") == "refused"
    assert not server.folder.out.exists()


# --- the notebook's side of the surface ---


@pytest.mark.browser
def test_an_older_answer_does_not_overtake_a_newer_one(browser, address):
    """Python is played by the test: it answers the third request before the second."""
    visit(browser, address)
    found = browser.execute_async_script(
        """
        const done = arguments[0];
        const picture = (size) => {
            const canvas = document.createElement('canvas');
            [canvas.width, canvas.height] = [40, 30];
            const context = canvas.getContext('2d');
            context.fillStyle = 'black'; context.fillRect(0, 0, 40, 30);
            context.fillStyle = 'white'; context.fillRect(0, 0, size, size);
            return canvas.toDataURL('image/png');
        };
        const state = { photograph: picture(9), size: [30, 40], request: '', answer: '' }, heard = {};
        const model = {
            get: (name) => state[name], set: (name, value) => { state[name] = value; }, save_changes() {},
            on: (name, call) => { heard[name] = call; }, off() {},
        };
        const wait = () => new Promise((resolve) => setTimeout(resolve, 200));
        import('./brush.js').then(async ({ default: widget }) => {
            const el = document.createElement('div');
            document.body.append(el);
            await widget.render({ model, el });
            const [canvas, line] = [el.querySelector('canvas[tabindex]'), el.querySelector('[role=status]')];
            canvas.setPointerCapture = () => {};
            const box = canvas.getBoundingClientRect(), turns = [], said = [];
            for (let i = 0; i < 3; i++) {
                for (const kind of ['pointerdown', 'pointerup']) {
                    const place = { clientX: box.left + 5 + i, clientY: box.top + 5 };
                    canvas.dispatchEvent(new PointerEvent(kind, { ...place, isPrimary: true }));
                }
                turns.push(JSON.parse(state.request).turn);
            }
            for (const some of [[0], [2, 1], [1]]) {  // those of one bracket arrive at once
                await Promise.all(some.map((i) => {
                    state.answer = JSON.stringify({ turn: turns[i], mask: picture(5 + 5 * i) });
                    return heard['change:answer']();
                }));
                await wait();
                const { data } = canvas.previousElementSibling.getContext('2d').getImageData(0, 0, 40, 30);
                said.push([data.filter((value, k) => k % 4 === 3 && value > 0).length, line.textContent]);
            }
            done({ turns, said, strokes: JSON.parse(state.request).strokes.length });
        }).catch((error) => done(String(error)));
        """
    )
    assert found["strokes"] == 3
    assert found["turns"] == sorted(set(found["turns"]))
    (first, waiting), (third, words), (still, same) = found["said"]
    assert (first, third, still) == (25, 225, 225)
    assert waiting == "…"
    assert words == same
    assert words.startswith("3 strokes: the mask covers 18.8 %")


# --- the page of a folder ---


@pytest.fixture
def server(content, photograph, tmp_path):
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    shutil.copy(photograph, photographs / "coffee cup.png")
    Image.fromarray(skimage.data.astronaut()).save(photographs / "astronaut.jpg")
    (photographs / "broken.png").write_text("no picture")
    folder = Folder(photographs, tmp_path / "masks")
    settings = json.loads(content["settings.json"]) | {"photographs": list(folder.files)}
    with Server(content | {"settings.json": json.dumps(settings).encode()}, folder) as one:
        threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield one
        one.shutdown()


@pytest.mark.browser
def test_masks_of_a_folder_are_written_and_there_again_the_next_day(browser, server):
    browser.set_window_size(600, 1100)
    browser.get(server.address)
    until(browser, "astronaut.jpg, 512 × 512")
    draw(browser, (0.45, 0.2), (0.5, 0.5), (0.3, 0.8))
    until(browser, "1 stroke: the mask covers")
    draw(browser, (0.13, 0.65), (0.12, 0.75), (0.25, 0.92), (0.45, 0.95))  # the sleeve is missing
    until(browser, "2 strokes: the mask covers")
    draw(browser, (0.6, 0.78), (0.75, 0.85), (0.62, 0.95), sign=-1)  # and the helmet is too much
    until(browser, "3 strokes: the mask covers")
    browser.find_element(By.ID, "save").click()
    until(browser, "Saved astronaut_1.png and masks.json")
    out = server.folder.out
    coco = COCO(out / "masks.json")
    (annotation,) = coco.loadAnns(coco.getAnnIds())
    mask = coco.annToMask(annotation)
    assert np.array_equal(mask * 255, read_labels(out / "astronaut_1.png"))
    assert 0.01 < mask.mean() < 0.9
    look(browser, "brush-folder", browser.find_element(By.CSS_SELECTOR, "main"))
    browser.get(server.address)
    until(browser, "astronaut.jpg, 512 × 512")
    until_listed(browser, 1)
    Select(browser.find_element(By.ID, "choice")).select_by_visible_text("coffee cup.png")
    until(browser, "coffee cup.png, 600 × 400")
    draw(browser, (0.3, 0.15), (0.47, 0.2))
    until(browser, "1 stroke: the mask covers")
    browser.find_element(By.ID, "save").click()
    until(browser, "Saved coffee cup_1.png and masks.json")
    coco = COCO(out / "masks.json")
    assert sorted(image["file_name"] for image in coco.loadImgs(coco.getImgIds())) == [
        "astronaut.jpg",
        "coffee cup.png",
    ]
    Select(browser.find_element(By.ID, "choice")).select_by_visible_text("broken.png")
    until(browser, "broken.png: expected a picture")
    browser.find_element(By.CSS_SELECTOR, "#masks li button").click()
    until(browser, "Taken out of masks.json")
    assert len(COCO(out / "masks.json").getAnnIds()) == 1


# --- its files ---


def test_the_page_is_written_whole_and_fetches_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(requests.Session, "send", lambda *a, **k: pytest.fail("it asked the network"))
    assert main(["brush", "--page", str(tmp_path / "page")]) == 0
    found = {
        path.relative_to(tmp_path / "page").as_posix() for path in (tmp_path / "page").rglob("*") if path.is_file()
    }
    assert found == {
        *("index.html", "brush.js", "brush.css", "page.css", "settings.json", "network.onnx.gz"),
        *("runtime/LICENSE", "runtime/ort.wasm.bundle.min.mjs", "runtime/ort-wasm-simd-threaded.wasm.gz"),
    }
    size = sum((tmp_path / "page" / name).stat().st_size for name in found)
    assert f"{size / 1e6:.1f} MB" in capsys.readouterr().out
    assert main(["brush", "--page", str(tmp_path / "page")]) == 0  # a newer one in its place
    (tmp_path / "page" / "diary.txt").write_text("mine")
    assert main(["brush", "--page", str(tmp_path / "page")]) == 1
    assert "it has diary.txt" in capsys.readouterr().err


def test_the_runtime_is_what_its_list_says(tmp_path, monkeypatch):
    assert set(page.runtime()) == {"ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm.gz", "LICENSE"}
    listed = json.loads((page.RUNTIME / "files.json").read_text())
    assert (
        re.search(rb"ONNX Runtime Web v([\d.]+)", page.runtime()["ort.wasm.bundle.min.mjs"])[1].decode()
        == listed["version"]
    )
    copy = tmp_path / "runtime"
    shutil.copytree(page.RUNTIME, copy)
    monkeypatch.setattr(page, "RUNTIME", copy)
    script = copy / "ort.wasm.bundle.min.mjs"
    script.write_bytes(script.read_bytes() + b"\n")
    with pytest.raises(
        FileNotFoundError, match=r"ort.wasm.bundle.min.mjs: expected the file with SHA-256 \w+, got ano"
    ):
        page.runtime()
    shutil.rmtree(copy)
    with pytest.raises(FileNotFoundError, match="which the wheel leaves out"):
        page.runtime()
