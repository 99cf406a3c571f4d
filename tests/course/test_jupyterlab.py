"""Every notebook in a real JupyterLab, started as `make lab` starts it, in the system's Chromium without a window.

Screenshots go to _build/screenshots.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
import requests
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

ROOT = Path(__file__).parents[2]
NOTEBOOKS = [*sorted(ROOT.glob("notebooks/**/*.ipynb")), ROOT / "reduce_dataset.ipynb"]
SCREENSHOTS = ROOT / "_build" / "screenshots"
RUN = "notebooks/01_denoising.ipynb"  # from top to bottom: it trains, so it has progress bars
SETTINGS = {
    # Otherwise only the cells in sight are in the page.
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """JupyterLab on a copy of the notebooks, with the command that `make lab` runs."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    shutil.copy(ROOT / "reduce_dataset.ipynb", folder)
    for name, setting in SETTINGS.items():
        file = folder / "settings" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(setting))
    (command,) = re.findall(r"^\t@?\$\(BIN\)/jupyter (lab .+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    command = [sys.executable, "-m", "jupyter", *shlex.split(command), "--no-browser", "--allow-root"]
    command += ["--ServerApp.port=0", "--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True"]
    command += [f"--LabApp.user_settings_dir={folder / 'settings'}"]
    environment = os.environ | {"JUPYTER_RUNTIME_DIR": str(folder / "runtime")}
    log = folder / "log.txt"
    with log.open("w") as file:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=file, stderr=file)
    try:
        for _ in range(120):
            if found := re.search(r"http://localhost:\d+/", log.read_text()):
                break
            assert server.poll() is None, log.read_text()
            time.sleep(0.5)
        assert requests.get(f"{found[0]}api/status", timeout=30).ok
        yield found[0]
    finally:
        server.terminate()
        server.wait(timeout=30)


def open_notebook(browser, address: str, path: Path) -> list:
    """Opens a notebook, waits until all of it is drawn, and returns its cells as the file has them."""
    cells = nbformat.read(path, as_version=4).cells
    browser.get(f"{address}lab/tree/{path.relative_to(ROOT).as_posix()}?reset")
    drawn = "return document.querySelectorAll('.jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook .jp-Cell').length"
    WebDriverWait(browser, 90).until(lambda b: b.execute_script(drawn) == len(cells))
    pictures = "return [...document.querySelectorAll('.jp-Notebook img')].every(image => image.complete)"
    WebDriverWait(browser, 60).until(lambda b: b.execute_script(pictures))
    formulas = sum(len(found) for found in map(formulas_of, cells))
    typeset = "return document.querySelectorAll('.jp-Notebook mjx-container').length"
    WebDriverWait(browser, 60).until(lambda b: b.execute_script(typeset) >= formulas)
    return cells


def formulas_of(cell) -> list[str]:
    """What stands between dollars in a Markdown cell, outside code."""
    text = re.sub(r"```.*?```|`[^`]*`", "", cell.source, flags=re.DOTALL) if cell.cell_type == "markdown" else ""
    return re.findall(r"\$\$.+?\$\$|\$[^$]+\$", text, re.DOTALL)


def look(browser, name: str) -> None:
    """Keeps screenshots of the notebook from top to bottom, each of up to 4000 pixels."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    size = browser.get_window_size()
    browser.set_window_size(1300, 4200)
    panel = "document.querySelector('.jp-WindowedPanel-outer')"
    for number, top in enumerate(range(0, browser.execute_script(f"return {panel}.scrollHeight"), 4000), start=1):
        browser.execute_script(f"{panel}.scrollTop = arguments[0]", top)
        browser.save_screenshot(str(SCREENSHOTS / f"{name}-{number}.png"))
    browser.set_window_size(size["width"], size["height"])


def broken(browser) -> dict:
    """What must not be in the page: outputs that are errors, pictures that did not load, formulas that MathJax refused
    or left as they were typed."""
    return browser.execute_script(
        r"""
        const all = selector => [...document.querySelectorAll('.jp-Notebook ' + selector)];
        const ours = image => image.src.startsWith('data:') || new URL(image.src).host === location.host;
        const typed = /\$\$|\\(frac|sum|text|sigma)/;
        return {
            errors: all("[data-mime-type='application/vnd.jupyter.error']").map(e => e.innerText),
            pictures: all('img').filter(i => i.naturalWidth === 0 && ours(i)).map(i => i.src.slice(0, 80)),
            refused: all('mjx-merror').map(e => e.innerText),
            typed: all('.jp-RenderedMarkdown').map(e => e.innerText).filter(t => typed.test(t)),
        };
        """
    )


NOTHING = {"errors": [], "pictures": [], "refused": [], "typed": []}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.relative_to(ROOT).with_suffix("").as_posix())
def test_a_notebook_is_shown_whole(browser, address, path):
    cells = open_notebook(browser, address, path)
    look(browser, path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "-"))
    assert broken(browser) == NOTHING
    stored = sum("image/png" in output.get("data", {}) for cell in cells for output in cell.get("outputs", []))
    shown = "return document.querySelectorAll(\".jp-Notebook .jp-OutputArea img[src^='data:image/png']\").length"
    assert browser.execute_script(shown) == stored
    answers = sum(cell.source.count("<details>") for cell in cells if cell.cell_type == "markdown")
    folded = "return [...document.querySelectorAll('.jp-RenderedMarkdown details')].filter(one => !one.open).length"
    assert browser.execute_script(folded) == answers
    hidden = "return document.querySelectorAll('.jp-Notebook .jp-CodeCell.jp-mod-noInput, .jp-InputPlaceholder').length"
    assert browser.execute_script(hidden) >= 1  # the set-up


def test_the_page_shows_what_is_broken(browser, address):
    """The checks above can fail."""
    open_notebook(browser, address, ROOT / RUN)
    browser.execute_script(
        r"""
        document.querySelector('.jp-Notebook .jp-RenderedMarkdown').innerHTML +=
            '<img src="missing.png"><p>$$\\frac{1}{2}</p><mjx-merror>no</mjx-merror>'
            + '<div data-mime-type="application/vnd.jupyter.error">ZeroDivisionError</div>';
        """
    )
    WebDriverWait(browser, 30).until(lambda b: broken(b)["pictures"])
    assert all(broken(browser).values())


KERNEL = "window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel"


def until_connected(browser) -> None:
    """Waits until the notebook that is open has its kernel."""
    WebDriverWait(browser, 90).until(lambda b: b.execute_script(f"return {KERNEL}?.connectionStatus") == "connected")


def open_own(browser, address: str, *sources: str) -> None:
    """Opens a notebook of these code cells, the first one chosen, and waits for its kernel."""
    notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    browser.get(f"{address}lab?reset")
    there = "return Boolean(window.jupyterapp?.serviceManager?.isReady)"
    WebDriverWait(browser, 90).until(lambda b: b.execute_script(there))
    browser.execute_async_script(
        "const [content, done] = arguments;"
        "jupyterapp.serviceManager.contents.save('own.ipynb', {type: 'notebook', format: 'json', content}).then(done)",
        notebook,
    )
    browser.get(f"{address}lab/tree/own.ipynb?reset")
    until_connected(browser)


def command(browser, name: str) -> None:
    browser.execute_script(f"window.jupyterapp.commands.execute('notebook:{name}')")


def until_said(browser, words: str) -> None:
    said = "return document.querySelector('.jp-Notebook').innerText"
    WebDriverWait(browser, 90).until(lambda b: words in b.execute_script(said), f"no {words!r} in the notebook")


def test_a_photograph_is_uploaded_at_the_button(browser, address, tmp_path):
    """From the button to what the next cell has of it."""
    Image.new("RGB", (40, 30), (200, 30, 30)).save(tmp_path / "me.png")
    open_own(
        browser,
        address,
        "from seglib.course.notebook import photograph_button, uploaded_photograph\nbutton = photograph_button()",
        "photograph = uploaded_photograph(button)\nprint(photograph.shape, photograph[0, 0])",
    )
    command(browser, "run-cell-and-select-next")
    button = WebDriverWait(browser, 90).until(lambda b: b.find_elements("css selector", ".jp-Notebook .jupyter-button"))
    # The widget's field for files is not in the page; what opens the system's dialog puts it there instead.
    browser.execute_script("HTMLInputElement.prototype.click = function () { document.body.append(this); }")
    button[0].click()
    browser.find_element("css selector", "body > input[type=file]").send_keys(str(tmp_path / "me.png"))
    WebDriverWait(browser, 30).until(lambda b: "(1)" in button[0].text)
    command(browser, "move-cursor-down")  # for the click chose the button's cell
    command(browser, "run-cell-and-select-next")
    until_said(browser, "(30, 40, 3) [200  30  30]")
    assert broken(browser) == NOTHING


# --- the brush ---

CANVAS = ".jp-Notebook .brush canvas[tabindex]"


def brush_says(browser, words: str) -> str:
    """Waits until the brush's line of text has these words."""
    line = (By.CSS_SELECTOR, ".jp-Notebook .brush [role=status]")
    WebDriverWait(browser, 90, 0.05).until(
        lambda b: any(words in one.text for one in b.find_elements(*line)), f"the brush does not say {words!r}"
    )
    return browser.find_element(*line).text


def draw(browser, *points) -> None:
    """A stroke by the mouse, through points given as shares of the canvas's width and height."""
    canvas = browser.find_element(By.CSS_SELECTOR, CANVAS)
    browser.execute_script("arguments[0].scrollIntoView({ block: 'center' })", canvas)
    places = [(round((x - 0.5) * canvas.size["width"]), round((y - 0.5) * canvas.size["height"])) for x, y in points]
    actions = ActionChains(browser, duration=20).move_to_element_with_offset(canvas, *places[0]).click_and_hold()
    for x, y in places[1:]:
        actions.move_to_element_with_offset(canvas, x, y)
    actions.release().perform()


def test_a_reader_brushes_over_a_photograph(browser, address):
    """Draws, sees the mask, corrects, takes back and clears; and what was drawn is there in Python."""
    open_own(
        browser,
        address,
        "import numpy as np, skimage.data\nfrom seglib.brush.widget import Brush\n"
        "canvas = Brush(np.ascontiguousarray(skimage.data.coffee()))\ncanvas",
        "print('drawn', [one.sign for one in canvas.strokes], canvas.mask.shape, canvas.mask.any())",
    )
    command(browser, "run-cell-and-select-next")
    WebDriverWait(browser, 90).until(lambda b: b.find_elements(By.CSS_SELECTOR, CANVAS))
    brush_says(browser, "Draw over the object")
    draw(browser, (0.35, 0.2), (0.5, 0.25), (0.45, 0.45))
    first = brush_says(browser, "1 stroke: the mask covers")
    assert shown_area(browser) > 0
    browser.find_element(By.CSS_SELECTOR, ".jp-Notebook .brush .background").click()
    draw(browser, (0.05, 0.9), (0.2, 0.95))
    brush_says(browser, "2 strokes: the mask covers")
    for width in (1300, 390):
        browser.set_window_size(width, 1000)
        if width == 390:
            browser.execute_script("window.jupyterapp.commands.execute('application:toggle-left-area')")
        browser.execute_script(f"document.querySelector('{CANVAS}').scrollIntoView({{ block: 'center' }})")
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        browser.save_screenshot(str(SCREENSHOTS / f"brush-lab-{width}.png"))
    browser.set_window_size(1300, 1800)
    canvas = browser.find_element(By.CSS_SELECTOR, CANVAS)
    canvas.send_keys("xx")  # JupyterLab's key for cutting a cell
    canvas.send_keys("z")
    assert brush_says(browser, "1 stroke: the mask covers") == first
    assert len(browser.find_elements(By.CSS_SELECTOR, ".jp-Notebook .jp-CodeCell")) == 2
    browser.find_element(By.CSS_SELECTOR, ".jp-Notebook .brush .background").click()
    draw(browser, (0.05, 0.9), (0.2, 0.95))
    brush_says(browser, "2 strokes: the mask covers")
    run_second_cell(browser)
    until_said(browser, "drawn [1, -1] (400, 600) True")
    clear = browser.find_elements(By.CSS_SELECTOR, ".jp-Notebook .brush .tools button")[1]
    clear.click()
    brush_says(browser, "Draw over the object")
    assert shown_area(browser) == 0
    run_second_cell(browser)
    until_said(browser, "drawn [] (400, 600) False")
    assert broken(browser) == NOTHING


def shown_area(browser) -> int:
    """How many pixels of the mask are in sight."""
    return browser.execute_script(
        "const canvas = document.querySelectorAll('.jp-Notebook .brush .board canvas')[1];"
        "const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);"
        "return data.filter((value, i) => i % 4 === 3 && value > 0).length"
    )


def run_second_cell(browser) -> None:
    browser.execute_script("window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1")
    command(browser, "run-cell")


def test_of_ten_strokes_in_quick_succession_no_older_mask_overtakes(browser, address):
    open_own(
        browser,
        address,
        "import numpy as np, skimage.data\nfrom seglib.brush.session import Session\n"
        "from seglib.brush.widget import Brush\ncoffee = np.ascontiguousarray(skimage.data.coffee())\n"
        "canvas = Brush(coffee)\ncanvas",
        "after = [(Session(coffee, canvas._session.model).probability(canvas.strokes[:n]) >= 0.5).sum()"
        " for n in range(1, 11)]\nprint('areas', *after, 'end')",
    )
    command(browser, "run-cell-and-select-next")
    WebDriverWait(browser, 90).until(lambda b: b.find_elements(By.CSS_SELECTOR, CANVAS))
    brush_says(browser, "Draw over the object")
    browser.execute_script(
        """
        const canvas = document.querySelector(arguments[0]), box = canvas.getBoundingClientRect();
        const overlay = canvas.previousElementSibling.getContext('2d'), put = overlay.putImageData;
        window.areas = [];
        overlay.putImageData = function (picture, ...rest) {
            areas.push(picture.data.filter((value, i) => i % 4 === 3 && value > 0).length);
            return put.call(this, picture, ...rest);
        };
        canvas.setPointerCapture = () => {};
        const send = (kind, x, y) => canvas.dispatchEvent(new PointerEvent(kind, {
            clientX: box.left + x * box.width, clientY: box.top + y * box.height, isPrimary: true, bubbles: true,
        }));
        for (let i = 0; i < 10; i++) {
            send('pointerdown', 0.3 + 0.03 * i, 0.2);
            send('pointermove', 0.3 + 0.03 * i, 0.3 + 0.02 * i);
            send('pointerup', 0.3 + 0.03 * i, 0.3 + 0.02 * i);
        }
        """,
        CANVAS,
    )
    brush_says(browser, "10 strokes: the mask covers")
    run_second_cell(browser)
    until_said(browser, " end")
    text = browser.execute_script("return document.querySelector('.jp-Notebook').innerText")
    after = [int(area) for area in re.findall(r"areas ([\d ]+) end", text)[0].split()]
    place = 0
    for area in browser.execute_script("return areas"):
        if area:  # one of those of as many strokes as before, or of more
            assert area in after[place:]
            place += after[place:].index(area)
    assert area == after[-1]


def test_a_brush_whose_kernel_was_restarted_says_so_and_is_drawn_with_again(browser, address):
    open_own(
        browser,
        address,
        "import numpy as np, skimage.data\nfrom seglib.brush.widget import Brush\n"
        "canvas = Brush(np.ascontiguousarray(skimage.data.coffee()))\ncanvas",
    )
    command(browser, "run-cell")
    WebDriverWait(browser, 90).until(lambda b: b.find_elements(By.CSS_SELECTOR, CANVAS))
    draw(browser, (0.35, 0.2), (0.5, 0.25))
    brush_says(browser, "1 stroke: the mask covers")
    browser.execute_async_script(f"const done = arguments[0]; {KERNEL}.restart().then(done)")
    until_connected(browser)
    if browser.find_elements(By.CSS_SELECTOR, CANVAS):
        draw(browser, (0.3, 0.6), (0.4, 0.7))
        brush_says(browser, "No answer from Python")
    browser.execute_script("window.jupyterapp.shell.currentWidget.content.activeCellIndex = 0")
    command(browser, "run-cell")
    brush_says(browser, "Draw over the object")
    draw(browser, (0.35, 0.2), (0.5, 0.25))
    brush_says(browser, "1 stroke: the mask covers")
    assert broken(browser) == NOTHING


def test_a_notebook_runs_from_top_to_bottom(browser, address):
    cells = open_notebook(browser, address, ROOT / RUN)
    codes = sum(cell.cell_type == "code" for cell in cells)
    clear = "await window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')"
    run = "await window.jupyterapp.commands.execute('notebook:run-all-cells')"
    until_connected(browser)
    prompts = """
        const prompts = document.querySelectorAll('.jp-Notebook .jp-CodeCell .jp-InputPrompt');
        return [...prompts].map(prompt => prompt.innerText.trim());
    """
    browser.execute_script(f"(async () => {{ {clear} }})()")
    assert browser.execute_script("return document.querySelectorAll('.jp-Notebook .jp-OutputArea img').length") == 0
    browser.execute_script(f"(async () => {{ {run} }})()")
    counted = {f"[{number}]:" for number in range(2, codes + 1)}  # the folded set-up shows none
    WebDriverWait(browser, 900, poll_frequency=2).until(
        lambda b: counted <= set(b.execute_script(prompts)) or broken(b)["errors"]
    )
    look(browser, "run-01_denoising")
    assert broken(browser) == NOTHING
    assert browser.execute_script("return document.querySelectorAll('.jp-Notebook .jp-OutputArea img').length") > 10
    text = browser.execute_script("return document.querySelector('.jp-Notebook').innerText")
    assert set(re.findall(r"(\d+)%\|", text)) <= {"100"}  # progress bars ended
