"""A notebook as a page that can be read without a network, and all pictures of notebooks as another.

Its formulas are MathML, and it asks for no other file: no script, font, style sheet or picture.
"""

from __future__ import annotations

import html
import os
import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import nbformat
from math_core import LatexError, LatexToMathML
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from traitlets.config import Config

from ..files import root

# Without those that need scripts: of a progress bar, a notebook also keeps its words.
KINDS = ["text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/plain"]
SETTINGS = Config(
    NbConvertBase={"display_data_priority": KINDS},
    CSSHTMLHeaderPreprocessor={"style": "default"},  # JupyterLab's has its colours in JupyterLab's style sheet
)
NO_ADDRESS = "/OWNER/REPOSITORY/"  # in links to the repository as long as it is nowhere to be found
HTML_AND_FORMULAS = re.compile(
    r"(?is)<(pre|code|script|style)\b.*?</\1>|<!--.*?-->|<[^>]*>|\$\$(?P<display>.+?)\$\$|\$(?P<inline>[^$]+)\$"
)
CONVERTER = LatexToMathML(fancy_error=False)


class FormulaError(ValueError):
    """A formula that cannot be written as MathML; the message names its notebook and the formula."""


class PageRenderer(IPythonRenderer):
    """Writes Markdown as HTML that asks for nothing from elsewhere.

    Args:
        name: the notebook's, for errors.
        place: where a link leads on the page, or None if it leads nowhere.
        options: nbconvert's own.

    Raises:
        FormulaError: at a formula that cannot be written as MathML.
    """

    def __init__(self, name: str, place: Callable[[str], str | None], **options):
        super().__init__(**options)
        self.name, self.place = name, place

    def inline_math(self, body: str) -> str:
        return self._formula(body, display=False)

    def block_math(self, body: str) -> str:
        return f'<span class="formula">{self._formula(body, display=True)}</span>'

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(rf"\begin{{{name}}}{body}\end{{{name}}}")

    def _formula(self, body: str, display: bool) -> str:
        try:
            return CONVERTER.convert_with_local_state(body.strip(), displaystyle=display)
        except LatexError as error:
            raise FormulaError(f"{self.name}: the formula {body.strip()} cannot be shown: {error}") from None

    def block_html(self, source: str) -> str:
        """Formulas in it are formulas all the same, as in JupyterLab: those of a summary, above all."""

        def written(found: re.Match) -> str:
            if found["display"]:
                return self.block_math(html.unescape(found["display"]))
            return self.inline_math(html.unescape(found["inline"])) if found["inline"] else found[0]

        return HTML_AND_FORMULAS.sub(written, super().block_html(source))

    def table(self, text: str) -> str:
        return f'<div class="table"><table>\n{text}</table></div>\n'

    def image(self, text: str, url: str, title: str | None = None) -> str:
        """One from elsewhere is its words; one of the notebook's folder is put into the page.

        Not by nbconvert's `embed_images`, which also closes each tag of HTML before the Markdown in it.
        """
        if urlsplit(url).netloc:
            return text
        return super().image(text, self._src_to_base64(url) or url, title)

    def link(self, text: str, url: str, title: str | None = None) -> str:
        """One that leads nowhere is its words, and a badge for a repository without an address is nothing."""
        if NO_ADDRESS in url:
            return ""
        # Apostrophes as they are in nbconvert's names of headings.
        place = self.place(url.replace("%27", "'"))
        return text if place is None else super().link(text, place, title)


def page_of(notebook: NotebookNode, path: Path, out: Path, course: Collection[Path] = ()) -> str:
    """A notebook as a page.

    Args:
        notebook: with its outputs.
        path: its file; links in it are relative to the file's folder.
        out: the folder that the page will lie in.
        course: the notebooks whose pages lie there too, as links lead to them.

    Returns:
        HTML, with pictures and styles in it.

    Raises:
        FormulaError: a formula cannot be written as MathML.
    """
    # Pages lie in one folder: where two notebooks have one name, as lessons and solutions, this one has the page.
    pages = {path.resolve(), *(other.resolve() for other in course if other.stem != path.stem)}

    def markdown(source: str, attachments: dict | None = None) -> str:
        renderer = PageRenderer(
            path.name,
            lambda url: link_place(url, path.parent, out, pages),
            escape=False,
            attachments=attachments,
            path=str(path.parent),
        )
        return MarkdownWithMath(renderer).render(source)

    exporter = HTMLExporter(
        config=SETTINGS,
        extra_template_paths=[str(Path(__file__).parent)],
        template_file="page.html.j2",
        filters={"markdown2html": markdown, "summary": summary},
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    page, _ = exporter.from_notebook_node(notebook, {"title": title(notebook) or path.stem})
    return page


def link_place(url: str, folder: Path, out: Path, pages: Collection[Path]) -> str | None:
    """Where a notebook's link leads from its page.

    Args:
        url: as the notebook has it: an address, an anchor, or a path from the notebook's folder.
        folder: the notebook's.
        out: the page's folder.
        pages: notebooks whose pages lie there too, as resolved paths.

    Returns:
        A notebook's page, a file of the checkout as seen from a page that is in it too, or `url` itself, which leads
        elsewhere; None for what is not there, and for a notebook without a page, which a browser does not show.
    """
    parts = urlsplit(url)
    if parts.scheme or parts.netloc or not parts.path:
        return url
    target, anchor = (folder / unquote(parts.path)).resolve(), url.partition("#")[1] + parts.fragment
    if target in pages:
        return quote(f"{target.stem}.html") + anchor
    checkout, out = root(), out.resolve()
    inside = checkout is not None and all(place.is_relative_to(checkout.resolve()) for place in (target, out))
    if inside and target.exists() and target.suffix != ".ipynb":
        return quote(Path(os.path.relpath(target, out)).as_posix()) + anchor
    return None


def summary(source: str) -> str:
    """What stands for a code cell that is folded: its title, as Colab has it in the first line."""
    found = re.match(r"#\s*@title\s+(.+?)\s*(?:\{.*\})?\s*$", source.partition("\n")[0])
    return found[1] if found else "Show the set-up code"


def title(notebook: NotebookNode) -> str:
    """The first heading of a notebook."""
    sources = (cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    found = next(filter(None, (re.search(r"^# (.+)$", source, re.MULTILINE) for source in sources)), None)
    return re.sub(r"[`*$]", "", found[1]) if found else ""


def caption(notebook: NotebookNode, number: int) -> str:
    """The caption of a cell's pictures: the sentences in italics with which the Markdown cell after it begins."""
    following = notebook.cells[number + 1].source if number + 1 < len(notebook.cells) else ""
    found = re.match(r"\*(?!\*)(.+?)\*(?:\s|$)", following, re.DOTALL)
    return found[1] if found else ""


def describe_pictures(notebook: NotebookNode) -> None:
    """Gives each picture its caption as alternative text, for those who cannot see it."""
    for number, cell in enumerate(notebook.cells):
        pictures = [output for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
        text = re.sub(r"[`*$]", "", caption(notebook, number))
        for i, output in enumerate(pictures if text else [], 1):
            which = f"Picture {i} of {len(pictures)}. " if len(pictures) > 1 else ""
            output.metadata.setdefault("image/png", {})["alt"] = which + text


def figures_page(paths: Iterable[Path]) -> str:
    """An HTML page of all pictures of executed notebooks, at half their size, on white and on dark ground, with their
    captions: to be looked at together.

    Raises:
        FormulaError: a formula of a caption cannot be written as MathML.
    """
    parts = []
    for path in filter(Path.is_file, paths):
        notebook = nbformat.read(path, as_version=4)
        markdown = MarkdownWithMath(PageRenderer(path.name, lambda url: None))
        parts.append(f"<h2>{html.escape(path.name)}</h2>")
        for number, cell in enumerate(notebook.cells):
            for output in cell.get("outputs", []):
                if picture := output.get("data", {}).get("image/png"):
                    words = html.escape(output.metadata.get("image/png", {}).get("alt", "no caption"))
                    image = f'<div><img src="data:image/png;base64,{picture.strip()}" alt="{words}"></div>'
                    text = markdown.render(caption(notebook, number)) or "no caption"
                    parts.append(f"<figure>{image}{image}<figcaption>{text}</figcaption></figure>")
    style = (
        "body{font:15px sans-serif;max-width:1300px;margin:auto}figure{margin:2em 0}"
        "figure div{display:inline-block;padding:8px;vertical-align:top}div+div{background:#111}img{zoom:0.5}"
    )
    head = f'<meta charset="utf-8"><title>All figures</title><style>{style}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'
