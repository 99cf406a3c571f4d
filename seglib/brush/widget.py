"""The brush in a notebook."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import cv2
import numpy as np
from pydantic import TypeAdapter
from torch import nn

from ..extras import need
from .session import Session, Stroke

need("brush")
import anywidget  # noqa: E402
import traitlets  # noqa: E402

HERE = Path(__file__).parent
MOST_STROKES = 500
STROKES = TypeAdapter(list[Stroke])


class Brush(anywidget.AnyWidget):
    """A photograph to draw on: at the end of each stroke the network's mask appears over it, and the next one corrects.

    Works where anywidget does: JupyterLab, and by its documentation Colab and VS Code. Requests and answers are plain
    text, which passes where binary messages do not.

    Args:
        image: uint8 RGB (H, W, 3).
        model: as for `Session`.

    Attributes:
        strokes: what has been drawn so far, a list of `Stroke`.
        mask: what came of it, bool (H, W).
    """

    _esm = HERE / "brush.js"
    _css = HERE / "brush.css"
    photograph = traitlets.Unicode().tag(sync=True)  # a PNG as a data URL
    size = traitlets.List(traitlets.Int()).tag(sync=True)  # height and width that strokes are in
    request = traitlets.Unicode().tag(sync=True)  # {"turn": …, "strokes": […]}
    answer = traitlets.Unicode().tag(sync=True)  # {"turn": …, "mask": a PNG as a data URL or null}

    def __init__(self, image: np.ndarray, model: nn.Module | None = None):
        self._session = Session(image, model)
        self.strokes: list[Stroke] = []
        picture = cv2.cvtColor(self._session.picture, cv2.COLOR_RGB2BGR)
        super().__init__(photograph=_data_url(picture), size=list(image.shape[:2]))

    @property
    def mask(self) -> np.ndarray:
        return self._session.mask(self.strokes)

    @traitlets.observe("request")
    def _asked(self, change) -> None:
        asked = json.loads(change.new)
        answer = {"turn": asked.get("turn"), "mask": None}
        try:
            if len(asked["strokes"]) > MOST_STROKES:
                raise ValueError(f"expected at most {MOST_STROKES} strokes, got {len(asked['strokes'])}")
            strokes = STROKES.validate_python(asked["strokes"])
            found = self._session.probability(strokes) >= 0.5
            self.strokes = strokes
            answer["mask"] = _data_url(found.astype(np.uint8) * 255) if strokes else None
        except Exception as error:  # of whatever kind: who draws has nothing but this to know it by
            answer["error"] = f"Python cannot make a mask of these strokes: {error}"
        self.answer = json.dumps(answer)


def _data_url(picture: np.ndarray) -> str:
    encoded = cv2.imencode(".png", picture)[1].tobytes()
    return f"data:image/png;base64,{base64.b64encode(encoded).decode()}"
