"""The pages of notebooks: formulas written out, nothing asked for from elsewhere, code in its box; in Chromium too.

The tests in Chromium need what test_jupyterlab.py needs, and skip where there is none.
"""

import base64
import json
import os
import re
from io import BytesIO
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from seglib.course import notebook, render

ROOT = Path(__file__).parents[2]
LESSONS = notebook.all_notebooks(ROOT)
STORED = [*LESSONS, *sorted(ROOT.glob("notebooks/solutions/*.ipynb"))]
BROWSER_LOGS = {"performance": "ALL"}  # with every address that is asked for
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
COLAB = "https://colab.research.google.com/github/{}/blob/main/notebooks/lesson.ipynb"
LONG = f"print('{'a long line, ' * 20}')"
FORMULAS = [
    r"\mathrm{IoU} = \frac{\mathrm{TP}}{\mathrm{TP} + \mathrm{FN}}, \qquad \text{pixel accuracy} = 3\,\%",
    r"\mathcal{L}_{\text{BCE}} = -\frac{1}{n} \sum_i \big[ t_i \log p_i + (1 - t_i) \log (1 - p_i) \big].",
    r"\hat{y} \le \underbrace{a + b}_{\text{both}} \in \mathbb{R}, \quad f'(x), \quad \max_k z_k, \quad q = ¼",
    r"|x| = \begin{cases} x & \text{if } x \ge 0,\\ -x & \text{else} \end{cases}",
    r"\begin{aligned} a &= b \\ c &= \lVert \mathbf{x}^\top \bar{W} \rVert_2 \cdot \alpha \end{aligned}",
    r"\left( \frac{a}{b} \right)^2 \sqrt{x} \to \operatorname{argmax}_k \hat{z}_k \times 10^{-3}, a < b \ldots",
]


def displayed(**data) -> nbformat.NotebookNode:
    return new_output("display_data", {kind.replace("_", "/"): content for kind, content in data.items()})


def lesson(*cells) -> nbformat.NotebookNode:
    cells = [new_markdown_cell(cell) if isinstance(cell, str) else cell for cell in cells]
    return new_notebook(cells=cells, metadata={"language_info": {"name": "python"}})


def set_up_cell(source="import os\nimport sys"):
    printed = new_output("stream", text="scale: quick\n")
    return new_code_cell(source, metadata={"jupyter": {"source_hidden": True}}, outputs=[printed])


def of_all_kinds() -> nbformat.NotebookNode:
    file = BytesIO()
    Image.new("RGB", (1500, 20)).save(file, "png")
    wide = "|" + "| ".join(f"`column_{i}`" for i in range(30)) + "|\n" + "|---" * 30 + "|\n" + "| 1.25 " * 30 + "|"
    return lesson(
        f"# A lesson of `all`\n\n[![Open in Colab]({BADGE})]({COLAB.format('somebody/course')})\n\n[Loss](#The-loss)",
        set_up_cell(),
        new_code_cell(
            LONG, outputs=[new_output("stream", text=LONG), displayed(text_markdown=f"```python\n{LONG}\n```")]
        ),
        new_code_cell("draw()", outputs=[displayed(image_png=base64.b64encode(file.getvalue()).decode())]),
        "*A caption with $\\sigma(z)$, <that> and `a < b`.* More.\n\n## The loss\n\n"
        + "$$"
        + " + ".join([r"\frac{a}{b}"] * 60)
        + "$$",
        wide,
        f"<details><summary>Is $p_i &lt; 1$?</summary>\n\nIt is **so**: $p_i$\n\n```python\n{LONG}\n```\n\n"
        f"```\n{LONG}\n```\n\n</details>",
    )


def page(node, path=ROOT / "notebooks/lesson.ipynb", out=ROOT / "_build", course=()) -> str:
    render.describe_pictures(node)
    return render.page_of(node, path, out, course)


def html(*cells, **places) -> BeautifulSoup:
    return BeautifulSoup(page(lesson(*cells), **places), "html.parser")


def words(text: str) -> str:
    """What a page says outside code."""
    soup = BeautifulSoup(text, "html.parser")
    for element in soup(["style", "pre", "code"]):
        element.decompose()
    return soup.get_text()


def asked_for(text: str) -> list[str]:
    """What a page needs beside itself: the resources of its elements, what its styles name, and any script."""
    soup = BeautifulSoup(text, "html.parser")
    found = [str(script) for script in soup("script")]
    for element in soup(True):
        names = {"src", "srcset", "data", "poster"} | ({"href"} if element.name not in ("a", "area") else set())
        found += [element[name] for name in names & set(element.attrs) if not element[name].startswith("data:")]
    styles = [style.get_text() for style in soup("style")] + [element["style"] for element in soup(style=True)]
    return found + re.findall(r"@import\s+\S+|url\(\s*['\"]?(?!data:)[^)]*\)", "\n".join(styles))


# --- formulas ---


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("dollars", ["$", "$$"])
def test_formulas_are_mathml_wherever_markdown_is(formula, dollars):
    text = f"Before {dollars}{formula}{dollars} after."
    output = new_code_cell("table()", outputs=[displayed(text_markdown=text)])
    found = html(text, output, f"<details><summary>{text.replace('<', '&lt;')}</summary>\n\n{text}\n\n</details>")
    assert len(found("math")) == 4
    assert len({str(one) for one in found("math")}) == 1
    assert (found.math.get("display") == "block") == (dollars == "$$")
    assert not re.search(r"[$\\]", words(str(found)))
    assert not found.find(["merror", "mstyle"])


def test_code_has_no_formulas():
    found = html(
        "A shell's `$HOME` and `$PATH`.\n\n```bash\necho $HOME $PATH\n```\n\n"
        "<pre>\n$HOME $PATH\n</pre>\n\n<!-- $HOME $PATH -->"
    )
    assert not found("math")
    assert [code.get_text() for code in found("code")] == ["$HOME", "$PATH"]
    assert [code.get_text().strip() for code in found("pre")] == ["echo $HOME $PATH", "$HOME $PATH"]


@pytest.mark.parametrize("formula", [r"\foo{x}", r"\frac{a}", "{a", "a & b", r"\begin{cases} a", "a_b_c", r"\right)"])
@pytest.mark.parametrize("text", ["A ${}$.", "$$\n{}\n$$", "<details><summary>${}$</summary>\n\n</details>"])
def test_a_formula_that_cannot_be_shown_is_an_error_that_names_it(formula, text):
    with pytest.raises(
        render.FormulaError, match=rf"^lesson.ipynb: the formula {re.escape(formula)} cannot be shown: "
    ):
        html(text.replace("{}", formula))


@pytest.mark.slow
def test_a_notebook_with_such_a_formula_fails_and_is_kept(tmp_path, capfd):
    bad, good = lesson(new_code_cell("6 * 7"), r"*See $\foo$.*"), lesson(new_code_cell("1 + 1"), "[two](<{}>)")
    good.cells[1].source = good.cells[1].source.format(Path(os.path.relpath(LESSONS[1], tmp_path)).as_posix())
    bad.cells[0].outputs = [displayed(image_png="bm9uZQ==")]
    for name, node in (("bad", bad), ("good", good)):
        nbformat.write(node, tmp_path / f"{name}.ipynb")
    out = tmp_path / "out"
    assert notebook.run_notebooks([tmp_path / "bad.ipynb", tmp_path / "good.ipynb"], out) == 1
    printed = capfd.readouterr()
    assert r"bad.ipynb: the formula \foo cannot be shown: " in printed.err
    assert "Traceback" not in printed.err
    assert nbformat.read(out / "bad.ipynb", as_version=4).cells[0].outputs[0].data["text/plain"] == "42"
    assert not (out / "bad.html").exists()
    assert BeautifulSoup((out / "good.html").read_text("utf-8"), "html.parser").main.a["href"] == "02_face_masks.html"


def test_captions_of_all_figures_have_their_formulas(tmp_path):
    node = of_all_kinds()
    nbformat.write(node, tmp_path / "lesson.ipynb")
    text = render.figures_page([tmp_path / "lesson.ipynb", tmp_path / "lost.ipynb"])
    caption = BeautifulSoup(text, "html.parser").figcaption
    assert caption.math.get_text() == "σ(z)"
    assert caption.code.get_text() == "a < b"
    assert "<that>" in caption.get_text()
    assert asked_for(text) == []
    node.cells[4].source = r"*By $\foo$.*"
    nbformat.write(node, tmp_path / "lesson.ipynb")
    with pytest.raises(render.FormulaError, match=r"lesson\.ipynb: the formula \\foo"):
        render.figures_page([tmp_path / "lesson.ipynb"])


# --- nothing from elsewhere ---


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.relative_to(ROOT).with_suffix("").as_posix())
def test_a_stored_notebook_s_page_has_all_that_it_shows(path):
    node = nbformat.read(path, as_version=4)
    text = render.page_of(node, path, ROOT / "_build", LESSONS)
    assert asked_for(text) == []
    assert not re.search(r"\$|\\[a-z]", words(text))
    found = BeautifulSoup(text, "html.parser")
    pictures = [
        output for cell in node.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert [image["alt"] for image in found("img")] == [one.metadata["image/png"]["alt"] for one in pictures]
    names = {element["id"] for element in found(id=True)}
    assert {link["href"] for link in found("a") if link["href"][0] == "#"} <= {f"#{name}" for name in names}


def test_progress_bars_and_scripts_leave_no_script():
    bar = {"application/vnd.jupyter.widget-view+json": {"model_id": "a"}, "text/plain": "100%"}
    script = {"application/javascript": "fetch('https://example.com')", "text/plain": "<Javascript>"}
    node = lesson(new_code_cell("run()", outputs=[new_output("display_data", data) for data in (bar, script)]))
    node.metadata.widgets = {"application/vnd.jupyter.widget-state+json": {"state": {"a": {}}}}
    text = page(node)
    assert asked_for(text) == []
    assert "100%" in BeautifulSoup(text, "html.parser").main.get_text()


@pytest.mark.parametrize(
    "bad",
    [
        *(
            '<script src="https://example.com/a.js"></script>',
            "<script>1</script>",
            '<img src="https://example.com/a">',
        ),
        *(
            '<link rel="stylesheet" href="a.css">',
            "<style>@import 'a.css';</style>",
            '<p style="background: url(a.png)">',
        ),
    ],
)
def test_what_a_page_asks_for_is_found(bad):
    assert asked_for(f"<a href='https://example.com'></a><img src='data:,'>{bad}") != []


def test_the_badge_is_a_link_in_words_once_the_course_has_an_address():
    badge = f"[![Open in Colab]({BADGE})]({{}})"
    link = html(badge.format(COLAB.format("somebody/course"))).main.a
    assert (link.get_text(), link["href"]) == ("Open in Colab", COLAB.format("somebody/course"))
    assert html(badge.format(COLAB.format("OWNER/REPOSITORY"))).main.get_text(strip=True) == ""
    assert html("![*This* & that](https://example.com/a.png)").main.get_text(strip=True) == "This& that"


def test_a_picture_beside_the_notebook_is_put_into_its_page(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "small.png")
    found = html("![Two by two](small.png)", path=tmp_path / "lesson.ipynb")
    assert found.img["src"].startswith("data:image/png;base64,")
    assert found.img["alt"] == "Two by two"


# --- cells ---


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import os", "Show the set-up code"),
        ("", "Show the set-up code"),
        ("x = 1\n# @title Late", "Show the set-up code"),
        ("# @title Fetch the <course>\nimport os", "Fetch the <course>"),
        ('#@title Fetch it {"display-mode": "form"}\nimport os', "Fetch it"),
    ],
)
def test_set_up_code_is_folded_and_its_outputs_are_not(source, expected):
    found = html(set_up_cell(source), new_code_cell("shown()"))
    folded = found.main.details
    assert folded.summary.get_text() == expected
    assert "open" not in folded.attrs
    assert source in folded.pre.get_text()
    assert "scale: quick" in found.main.get_text()
    assert "scale: quick" not in folded.get_text()
    assert "shown()" not in folded.get_text()


def test_answers_that_are_folded_have_their_markdown():
    folded = html(
        "<details><summary>Why $p$?</summary>\n\nIt is **so**: `p`\n\n```python\np = 1\n```\n\n</details>\n\nNext"
    ).details
    assert folded.summary.math.get_text() == "p"
    assert (folded.strong.get_text(), folded.code.get_text()) == ("so", "p")
    assert folded.find(class_="highlight").find(class_="o").get_text() == "="
    assert "Next" not in folded.get_text()


def test_a_page_s_title_is_its_first_heading():
    assert html("Before.\n\n# A *lesson* of `all` & more", "# Another").title.get_text() == "A lesson of all & more"
    assert html("No heading").title.get_text() == "lesson"


@pytest.mark.parametrize("kind", ["display_data", "execute_result"])
def test_outputs_are_shown_in_the_best_of_their_kinds(kind):
    plain = {"text/plain": "<words>"}
    datas = [plain, plain | {"text/markdown": "*made*"}, plain | {"text/html": "<table><td>cell</td></table>"}]
    datas.append(plain | {"image/svg+xml": "<svg></svg>"})
    node = lesson(new_code_cell("show()", outputs=[new_output(kind, data) for data in datas]))
    text, made, table, drawing = BeautifulSoup(page(node), "html.parser")(class_="output")
    assert (text.pre.get_text(), made.em.get_text(), table.td.get_text()) == ("<words>", "made", "cell")
    assert drawing.img["src"].startswith("data:image/svg+xml;base64,")
    assert not re.search("<words>|&lt;words", f"{made}{table}{drawing}")


def test_a_failed_cell_shows_its_error():
    error = new_output("error", ename="ValueError", evalue="<no>", traceback=["\x1b[31mValueError\x1b[39m: <no>"])
    found = html(new_code_cell("fail()", outputs=[error])).find(class_="error")
    assert found.get_text(strip=True) == "ValueError: <no>"
    assert found.span["class"] == ["ansi-red-fg"]


# --- links ---


@pytest.mark.parametrize(
    ("folder", "url", "expected"),
    [
        ("notebooks", "https://example.com/a#b", "https://example.com/a#b"),
        ("notebooks", "mailto:a@example.com", "mailto:a@example.com"),
        ("notebooks", "#Some-heading", "#Some-heading"),
        ("notebooks", "further/fast.ipynb#Some-heading", "fast.html#Some-heading"),
        ("notebooks/further", "../lesson.ipynb", "lesson.html"),
        ("notebooks", "../configs/a%20b.yaml#top", "../configs/a%20b.yaml#top"),
        ("notebooks", "../configs", "../configs"),
        ("notebooks", "further/other.ipynb", None),  # is there, and has no page
        ("notebooks", "gone.ipynb", None),
        ("notebooks", "../gone.yaml", None),
        ("notebooks", "../../outside.txt", None),
    ],
)
def test_a_link_leads_to_a_page_to_a_file_beside_it_or_nowhere(tmp_path, monkeypatch, folder, url, expected):
    checkout = tmp_path / "checkout"
    files = [
        "notebooks/lesson.ipynb",
        "notebooks/further/fast.ipynb",
        "notebooks/further/other.ipynb",
        "configs/a b.yaml",
    ]
    for file in [*(checkout / file for file in files), tmp_path / "outside.txt"]:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    monkeypatch.setattr(render, "root", lambda: checkout)
    pages = {checkout / "notebooks/lesson.ipynb", checkout / "notebooks/further/fast.ipynb"}
    assert render.link_place(url, checkout / folder, checkout / "_build", pages) == expected
    if expected == "../configs":  # no way to it from a page that lies elsewhere
        assert render.link_place(url, checkout / folder, tmp_path / "out", pages) is None


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [("The loss", "The-loss"), ("A `name`'s (2 × 3)", "A-name's-(2-×-3)"), ("Of $p_i$ & *more*", "Of-pi-&-more")],
)
def test_a_heading_is_where_a_link_of_a_notebook_leads(heading, anchor):
    found = html(f"[down](<#{anchor}>)\n\n## {heading}", f"## {heading}")
    assert len({element["id"] for element in found("h2")} | {link["href"][1:] for link in found("a")}) == 1


def test_a_solution_s_page_is_not_taken_for_the_lesson_s():
    solution = ROOT / "notebooks/solutions/01_denoising.ipynb"
    found = html("[lesson](../01_denoising.ipynb) [two](../02_face_masks.ipynb)", path=solution, course=LESSONS)
    assert [(link.get_text(), link["href"]) for link in found.main("a")] == [("two", "02_face_masks.html")]
    assert "lesson" in found.main.get_text()


# --- in Chromium ---


def opened(browser, path: Path, width: int) -> list[str]:
    """Opens a page in a window of that width, without a network; the addresses that it asked for."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    browser.get_log("performance")
    browser.get(path.as_uri())
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]


MEASURES = r"""
    const all = selector => [...document.querySelectorAll(selector)];
    const seen = element => element.checkVisibility({contentVisibilityAuto: true});
    const start = element => element.outerHTML.slice(0, 80);
    const ems = element => element.clientWidth / parseFloat(getComputedStyle(element).fontSize);
    const families = element => getComputedStyle(element).fontFamily;
    const edge = document.documentElement.clientWidth;
    const scrolls = element => {
        for (let e = element; e; e = e.parentElement) if (getComputedStyle(e).overflowX === 'auto') return true;
        return false;
    };
    const code = all('pre, code');
    return {
        page: document.documentElement.scrollWidth - edge,
        outside: all('main *').filter(e => seen(e) && e.getBoundingClientRect().right > edge + 1 && !scrolls(e))
            .map(start),
        prose: Math.max(...all('.text p').filter(seen).map(ems)),
        flat: all('math').filter(e => seen(e) && e.getBoundingClientRect().height < 5).map(start),
        large: all('img').filter(e => e.clientWidth > e.parentElement.clientWidth).map(e => e.alt),
        broken: all('img').filter(e => e.naturalWidth === 0).map(e => e.alt),
        proportional: code.filter(e => !families(e).includes('monospace')).map(start),
        colours: new Set(all('.highlight span').map(e => getComputedStyle(e).color)).size,
        formulas: all('math').length, pictures: all('img').length,
    };
"""


def check(browser, path: Path, width: int) -> None:
    assert [url for url in opened(browser, path, width) if not url.startswith("data:")] == [path.as_uri()]
    found = browser.execute_script(MEASURES)
    assert found["page"] == 0
    assert found["prose"] <= 46.5
    assert found["colours"] > 3
    assert [found[name] for name in ("outside", "flat", "large", "broken", "proportional")] == [[]] * 5


@pytest.mark.browser
@pytest.mark.parametrize("width", [1300, 400])
@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_stored_notebook_s_page_is_whole_without_a_network(browser, tmp_path, path, width):
    (tmp_path / "lesson.html").write_text(page(nbformat.read(path, as_version=4), path), encoding="utf-8")
    check(browser, tmp_path / "lesson.html", width)


@pytest.mark.browser
@pytest.mark.parametrize("width", [1300, 400])
def test_a_page_of_all_kinds_is_whole_and_its_boxes_scroll(browser, tmp_path, width):
    (tmp_path / "lesson.html").write_text(page(of_all_kinds()), encoding="utf-8")
    check(browser, tmp_path / "lesson.html", width)
    browser.execute_script("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    boxes = "[...document.querySelectorAll('.formula, .table, pre')]"
    wide = browser.execute_script(f"return {boxes}.filter(e => e.scrollWidth > e.clientWidth).length")
    assert wide == 7  # the code four times, its output, the table and the formula
    found = browser.execute_script(MEASURES)
    assert (found["page"], found["outside"], found["flat"]) == (0, [], [])
    assert (found["formulas"], found["pictures"]) == (4, 1)


@pytest.mark.browser
def test_on_paper_no_code_is_cut_or_folded(browser, tmp_path):
    (tmp_path / "lesson.html").write_text(page(of_all_kinds()), encoding="utf-8")
    opened(browser, tmp_path / "lesson.html", 700)
    code = (
        "return [...document.querySelectorAll('pre')].map(e => [e.checkVisibility(), e.scrollWidth <= e.clientWidth])"
    )
    assert [False, True] in browser.execute_script(code)  # folded
    assert [True, False] in browser.execute_script(code)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert browser.execute_script(code) == [[True, True]] * 8
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.browser
def test_what_is_wrong_with_a_page_is_seen(browser, tmp_path):
    """The checks above can fail."""
    text = re.sub(r"<meta http-equiv.*?>|(?s:<style.*</style>)", "", page(of_all_kinds()))
    elsewhere = "https://example.com/a.png"
    bad = f'<img alt="lost" src="{elsewhere}"><style>math {{ display: block; height: 0; }}</style>'
    path = tmp_path / "lesson.html"
    path.write_text(text.replace("</main>", f"{bad}<div style='width: 2000px'>a</div></main>"), encoding="utf-8")
    assert elsewhere in opened(browser, path, 1300)
    found = browser.execute_script(MEASURES)
    assert found["page"] > 0
    assert found["prose"] > 47
    assert found["colours"] == 1
    assert found["broken"] == ["lost"]
    assert found["outside"]
    assert found["flat"]
    path.write_text(page(of_all_kinds()).replace("</main>", f"{bad}</main>"), encoding="utf-8")
    assert opened(browser, path, 1300)[0] == path.as_uri()
    with pytest.raises(AssertionError):
        check(browser, path, 1300)
