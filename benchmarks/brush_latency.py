"""How long the brush takes from the end of a stroke to the mask, on a photograph of 640×480 pixels.

    python -m benchmarks.brush_latency

Thirty strokes each: in Python (a `Session`, as the notebook's cell has it, without the way through the notebook), and
in the page, in the system's Chromium without a window (from the end of the stroke to the mask in the canvas; needs
selenium, chromium and its driver). Writes results/brush_latency.json, with the size of the page's folder.
"""

from __future__ import annotations

import functools
import http.server
import shutil
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image
from selenium.webdriver import ActionChains, Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from seglib import results
from seglib.brush.page import write_page
from seglib.brush.session import Session, Stroke
from seglib.files import root

STROKES = 30


def lines() -> list[list[tuple[float, float]]]:
    """Where each stroke goes, in shares of width and height."""
    rng = np.random.default_rng(0)
    return [[tuple(point) for point in rng.uniform(0.15, 0.75, (4, 2)).round(3)] for _ in range(STROKES)]


def in_python(photograph: np.ndarray) -> list[float]:
    height, width = photograph.shape[:2]
    drawn = [
        Stroke(sign=1 if i % 2 == 0 else -1, width=30, points=[(x * width, y * height) for x, y in line])
        for i, line in enumerate(lines())
    ]
    session = Session(photograph)
    session.probability(drawn[:1])  # the first call compiles and allocates
    session.probability([])
    times = []
    for count in range(1, STROKES + 1):
        start = time.perf_counter()
        session.probability(drawn[:count])
        times.append(1000 * (time.perf_counter() - start))
    return times


def in_page(folder: Path, photograph: Path) -> list[float]:
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,1000"):
        options.add_argument(argument)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
        Chrome(options=options, service=ChromeService(shutil.which("chromedriver"))) as browser,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser.get(f"http://127.0.0.1:{server.server_port}/")

        def until(words: str) -> None:
            line = (By.CSS_SELECTOR, "[role=status]")
            WebDriverWait(browser, 120, 0.05).until(lambda b: words in b.find_element(*line).text)

        until("Open a photograph")
        browser.find_element(By.ID, "open").send_keys(str(photograph))
        until("Draw over the object")
        canvas = browser.find_element(By.CSS_SELECTOR, "canvas[tabindex]")
        width, height = canvas.size["width"], canvas.size["height"]
        for number, line in enumerate(lines(), start=1):
            browser.find_elements(By.CSS_SELECTOR, ".signs label")[(number + 1) % 2].click()
            places = [(round((x - 0.5) * width), round((y - 0.5) * height)) for x, y in line]
            hand = ActionChains(browser, duration=20).move_to_element_with_offset(canvas, *places[0]).click_and_hold()
            for place in places[1:]:
                hand.move_to_element_with_offset(canvas, *place)
            hand.release().perform()
            until(f"{number} stroke")
        times = browser.execute_script("return performance.getEntriesByName('brush').map(one => one.duration)")
        server.shutdown()
    return times


def summary(times: list[float]) -> dict:
    return {
        "first": round(times[0], 1),
        "median": round(float(np.median(times)), 1),
        "percentile_95": round(float(np.percentile(times, 95)), 1),
        "strokes": len(times),
    }


def main() -> None:
    start = time.perf_counter()
    photograph = np.pad(skimage.data.coffee(), ((0, 80), (0, 40), (0, 0)), mode="reflect")
    with tempfile.TemporaryDirectory() as folder:
        page = write_page(Path(folder) / "page")
        Image.fromarray(photograph).save(Path(folder) / "coffee.png")
        sizes = {path.relative_to(page).as_posix(): path.stat().st_size for path in page.rglob("*") if path.is_file()}
        milliseconds = {
            "Python": summary(in_python(photograph)),
            "page": summary(in_page(page, Path(folder) / "coffee.png")),
        }
    record = {
        "command": "python -m benchmarks.brush_latency",
        "milliseconds": milliseconds,
        "page_bytes": sizes,
        "page_megabytes": round(sum(sizes.values()) / 1e6, 1),
        "run": results.describe_run(seconds=time.perf_counter() - start, precision="float32"),
    }
    for where, found in milliseconds.items():
        print(where, found)
    print(f"page: {record['page_megabytes']} MB")
    results.write(root() / "results" / "brush_latency.json", record)


if __name__ == "__main__":
    main()
