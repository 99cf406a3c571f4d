"""Drawn faces with masks: the embedded data of the face-mask report.

A head is an ellipsoid with a nose; a mask is a patch of its surface, lifted a little. Both are turned, projected and
lit, so that a mask narrows, wraps and darkens with the head's pose, and its true outline is known. Grounds, fabrics
and prints are crops of photographs that come with scikit-image and Matplotlib. Everything of a face is drawn from one
NumPy generator.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ...data import textures

CANVAS = 256  # faces are drawn at this height and width, in pixels, and reduced afterwards
GROUNDS = ("brick", "grass", "gravel", "coffee", "chelsea", "rocket", *textures.SURFACES[3:])
MASK_STYLES = ("surgical", "moulded", "cloth", "black", "patterned", "printed")
# Red, green, blue of the ten tones of the Monk Skin Tone Scale (Monk 2019, https://skintone.google).
SKIN = [
    (246, 237, 228), (243, 231, 219), (247, 234, 208), (234, 218, 186), (215, 189, 150),
    (160, 126, 86), (130, 92, 67), (96, 65, 52), (58, 49, 42), (41, 36, 32),
]  # fmt: skip
SKIN_SHARE = (0.08, 0.13, 0.14, 0.18, 0.17, 0.12, 0.08, 0.05, 0.03, 0.02)
HAIR = [(20, 16, 14), (38, 26, 20), (70, 44, 28), (110, 76, 46), (168, 130, 80), (150, 146, 142), (110, 45, 25)]
SURGICAL = [(150, 200, 225), (120, 180, 215), (170, 215, 205), (235, 238, 240), (240, 200, 210), (60, 110, 130)]
CLOTH = [(30, 45, 90), (120, 30, 40), (90, 95, 100), (225, 225, 220), (200, 160, 120), (60, 90, 60), (200, 120, 150)]


@dataclass(frozen=True)
class Head:
    """An ellipsoid seen from the front: where it is, how large, and how it is turned.

    Attributes:
        x, y: its centre, in pixels.
        width, height: half of its width and of its height, in pixels.
        yaw: turn to the side in degrees; 0 is frontal, ±90 a profile.
        pitch: nod in degrees; positive looks up.
        roll: tilt in the picture plane, in degrees.
    """

    x: float
    y: float
    width: float
    height: float
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0

    def project(self, azimuth, elevation, lift=0.0) -> np.ndarray:
        """Pixels (…, 2) as x, y of points of its surface.

        Azimuth is 0 on the nose and 90° at the left ear, elevation 0 below the eyes, −90° under the chin. `lift` is
        the height above the surface, relative to the radius. What lies behind the visible edge is put onto it.
        """
        azimuth, elevation = np.broadcast_arrays(np.asarray(azimuth, float), np.asarray(elevation, float))
        # The nose: a bump that stands out of the outline when the head is turned.
        lift = lift + 0.16 * np.exp(-((azimuth / 14) ** 2) - ((elevation + 12) / 13) ** 2)
        a, e = np.radians(np.clip(azimuth + self.yaw, -90, 90)), np.radians(np.clip(elevation + self.pitch, -90, 90))
        jaw = np.where(e < 0, 0.75, 0.9)  # an exponent below 1 makes a cheek fuller than an ellipse's
        x = self.width * (1 + lift) * np.cos(e) ** jaw * np.sin(a)
        y = -self.height * (1 + 0.3 * lift) * np.sin(e)
        roll = np.radians(self.roll)
        points = np.stack([x * np.cos(roll) - y * np.sin(roll), x * np.sin(roll) + y * np.cos(roll)], axis=-1)
        # Sixteenths of a pixel: sines differ in their last bit between machines.
        return np.round((points + np.array([self.x, self.y])) * 16) / 16

    def visible(self, azimuth) -> np.ndarray:
        """Which azimuths face the viewer."""
        return np.abs(np.asarray(azimuth) + self.yaw) < 90


@dataclass(frozen=True)
class Light:
    """One lamp and what comes from everywhere else.

    Attributes:
        direction: unit vector (x to the right, y down, z to the viewer) towards the lamp.
        ambient: share of the light that has no direction, 0 to 1.
    """

    direction: np.ndarray
    ambient: float

    def on(self, normal: np.ndarray) -> np.ndarray:
        """Brightness (H, W, 1) of a matt surface with unit normals (H, W, 3)."""
        return (self.ambient + (1 - self.ambient) * np.maximum(normal @ self.direction, 0))[..., None]


def draw_face(rng: np.random.Generator, people: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Draws one frame with masked people.

    Args:
        rng: where all randomness comes from.
        people: 1 or 2.

    Returns:
        RGB picture uint8 (256, 256, 3) and mask uint8 (256, 256) of 0 and 1.
    """
    canvas = texture(rng)
    canvas = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.5, 4)) * rng.uniform(0.4, 1)
    truth = np.zeros((CANVAS, CANVAS), np.uint8)
    light = Light(_unit(rng.uniform((-0.8, -0.8, 0.6), (0.8, 0.2, 1.2))), rng.uniform(0.35, 0.75))
    for head in heads(rng, people):
        canvas, covered = draw_person(canvas, head, light, rng)
        truth = np.where(covered >= 0, covered, truth).astype(np.uint8)
    return textures.as_photographed(canvas, rng), truth


def heads(rng: np.random.Generator, people: int) -> list[Head]:
    """Where the heads of a frame are: one that fills it as a face detector would crop it, or two side by side."""
    found = []
    for i in range(people):
        if people == 1:
            tight = rng.random() < 0.93
            width = rng.uniform(118, 160) if tight else rng.uniform(65, 100)
            x, y = CANVAS / 2 + rng.normal(0, 6), rng.uniform(84, 112) if tight else rng.uniform(105, 140)
        else:
            width, x, y = rng.uniform(54, 76), CANVAS * (0.27 + 0.46 * i) + rng.normal(0, 6), rng.uniform(115, 150)
        yaw = rng.uniform(-85, 85) if rng.random() < 0.2 else rng.normal(0, 20)
        # A turned head's face points to one side; the crop is centred on the face.
        x -= 0.45 * width * np.sin(np.radians(yaw)) * (people == 1)
        height = width * rng.uniform(1.08, 1.28)
        found.append(Head(x, y, width, height, yaw, rng.normal(0, 5), rng.normal(0, 6)))
    return found


def draw_person(
    canvas, head: Head, light: Light, rng: np.random.Generator, mask_style: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draws a masked person over a picture.

    Args:
        canvas: float32 picture (256, 256, 3) in [0, 1]; it is changed.
        head: where the person is.
        light: that falls on it.
        rng: of everything else.
        mask_style: one of MASK_STYLES; None: any.

    Returns:
        The picture, and where things are, (256, 256): 1 the mask, 0 anything else of the person, −1 neither.
    """
    before = canvas.copy()
    skin = np.array(SKIN[rng.choice(len(SKIN), p=SKIN_SHARE)]) / 255 * (0.95, 0.86, 0.78) * rng.uniform(0.95, 1.05, 3)
    hair = np.array(HAIR[rng.integers(len(HAIR))]) / 255
    style = rng.choice(["short", "long", "fringe", "bald", "cap", "scarf"], p=[0.34, 0.24, 0.17, 0.07, 0.08, 0.10])
    dress = np.array(CLOTH[rng.integers(len(CLOTH))]) / 255
    covering = {"cap": dress, "scarf": dress}.get(style, hair)

    shoulders = _polygon(
        head.x + head.width * np.array([-0.45, 0.45, 0.6, 2.0, 2.2, -2.2, -2.0, -0.6]),
        head.y + head.height * np.array([0.6, 0.6, 1.2, 1.5, 3, 3, 1.5, 1.2]),
    )
    if style in ("long", "scarf"):
        back = _polygon(
            head.x + head.width * np.array([-1.12, -0.8, 0, 0.8, 1.12, 1.2, -1.2]),
            head.y + head.height * np.array([-0.3, -1.0, -1.2, -1.0, -0.3, 2.5, 2.5]),
        )
        canvas = _paint(canvas, back, _strands(covering, rng) * 0.7)
    neck = _polygon(
        head.x + head.width * np.array([-0.5, 0.5, 0.55, -0.55]), head.y + head.height * np.array([0, 0, 2, 2])
    )
    canvas = _paint(canvas, neck, skin * 0.6)
    canvas = _paint(canvas, shoulders, dress * (0.5 + 0.5 * texture(rng)))
    if style not in ("long", "scarf"):
        for side in (-1, 1):
            if abs(head.yaw + 90 * side) > 60:  # the ear on the far side of a turned head is hidden
                canvas = _paint(canvas, _ellipse(head, 90 * side - head.yaw, 0, 9, 17), skin * 0.75)
    canvas = _draw_skin(canvas, head, skin, light, rng)
    canvas = _draw_eyes(canvas, head, skin, hair, rng)
    canvas, mask = draw_mask(canvas, head, light, rng, mask_style)
    if rng.random() < 0.28:
        canvas = _draw_glasses(canvas, head, rng)
    canvas, mask = _draw_hair(canvas, mask, head, style, covering, rng)
    if rng.random() < 0.1:
        canvas, mask = _draw_hand(canvas, mask, head, skin, light, rng)
    changed = (canvas != before).any(2)
    return canvas, np.where(mask > 0.5, 1, np.where(changed, 0, -1))


def draw_mask(canvas, head: Head, light: Light, rng: np.random.Generator, style: str | None = None):
    """Draws a mask onto a head.

    Args:
        canvas: float picture (H, W, 3) in [0, 1].
        head: whose mouth and nose it covers.
        light: that falls on it.
        rng: of cut, colour and, without `style`, style.
        style: one of MASK_STYLES.

    Returns:
        The picture, and where the mask is (with its straps): float (H, W) in [0, 1].
    """
    canvas = np.array(canvas, np.float32)
    style = style or rng.choice(MASK_STYLES, p=[0.34, 0.12, 0.16, 0.16, 0.13, 0.09])
    size = canvas.shape[:2]
    side = rng.uniform(64, 86) if style != "surgical" else rng.uniform(58, 74)
    nose, cheek, chin = rng.uniform(-6, 2), rng.uniform(-22, -8), rng.uniform(-88, -68)
    if rng.random() < 0.06:  # worn below the nose
        nose, cheek = nose - 26, cheek - 12
    corner = rng.uniform(-52, -38) if style == "surgical" else rng.uniform(-62, -40)
    lift = {"moulded": 0.16, "surgical": 0.07}.get(style, 0.04)

    # A grid over the patch: u runs from 0 at one side to 1 at the other, v from 0 at the top edge to 1 at the bottom.
    u, v = np.meshgrid(np.linspace(0, 1, 33), np.linspace(0, 1, 21))
    azimuth = (2 * u - 1) * side
    rim = np.abs(2 * u - 1) ** (1.5 if style == "surgical" else 1.2)
    top, bottom = nose + (cheek - nose) * rim, chin + (corner - chin) * np.abs(2 * u - 1) ** 2.5
    points = head.project(azimuth, top + (bottom - top) * v, lift * np.sin(np.pi * u) ** 0.7 * np.sin(np.pi * v) ** 0.5)
    seen = head.visible(azimuth)
    seen = seen[:-1, :-1] | seen[:-1, 1:]  # a cell, where one of its sides is
    place = np.zeros((*size, 3), np.float32)
    for i in range(20):
        for j in range(32):
            if seen[i, j]:
                quad = points[[i, i, i + 1, i + 1], [j, j + 1, j + 1, j]]
                cv2.fillConvexPoly(place, np.round(quad * 16).astype(np.int32), (u[i, j], v[i, j], 1), shift=4)
    patch = cv2.morphologyEx(place[..., 2], cv2.MORPH_CLOSE, np.ones((3, 3)))
    # Each cell holds one u and v; smoothed inside the patch they become a map for patterns and folds.
    smooth = cv2.GaussianBlur(place, (0, 0), max(1.0, head.width / 24))
    u, v = (smooth[..., k] / np.maximum(smooth[..., 2], 1e-6) for k in (0, 1))

    colour = _fabric(style, u, v, rng)
    across, down = 2 * u - 1, 2 * v - 1
    bulge = 1.3 if style == "moulded" else 0.9
    normal = _unit(
        np.stack([bulge * across + np.sin(np.radians(head.yaw)), 0.7 * down - 0.1, np.full_like(u, 0.9)], axis=-1)
    )
    shade = light.on(normal) * _folds(style, u, v, rng)[..., None]
    canvas, straps = _draw_straps(canvas, head, style, side, (cheek, corner), colour, rng)
    canvas = canvas * (1 - 0.35 * np.clip(cv2.GaussianBlur(patch, (0, 0), 3) - patch, 0, 1)[..., None])  # its shadow
    return _paint(canvas, patch, np.clip(colour * shade, 0, 1)), np.maximum(patch, straps)


def _fabric(style: str, u, v, rng: np.random.Generator) -> np.ndarray:
    """Colours (H, W, 3) of a mask before light falls on it."""
    ones = np.ones((*u.shape, 3))
    jitter = rng.uniform(0.9, 1.1, 3)
    if style == "surgical":
        return ones * np.clip(np.array(SURGICAL[rng.integers(len(SURGICAL))]) / 255 * jitter, 0, 1)
    if style == "black":
        weave = texture(rng).mean(2, keepdims=True)
        return ones * rng.uniform(0.04, 0.16) * (0.8 + 0.4 * weave)
    if style == "printed":
        photo = texture(rng)
        rows, columns = ((np.clip(k, 0, 0.999) * CANVAS).astype(int) for k in (v, u))
        return photo[rows, columns]
    if style == "patterned":
        first, second = (np.array(CLOTH[i]) / 255 for i in rng.choice(len(CLOTH), 2, replace=False))
        n = rng.uniform(5, 14)
        kind = rng.integers(4)
        x, y = u * n * 1.6, v * n
        if kind == 0:  # dots
            chosen = (x % 1 - 0.5) ** 2 + ((y + 0.5 * (np.floor(x) % 2)) % 1 - 0.5) ** 2 < rng.uniform(0.04, 0.12)
        elif kind == 1:  # stripes
            chosen = (x * rng.uniform(-1, 1) + y) % 1 < rng.uniform(0.3, 0.6)
        elif kind == 2:  # checks
            chosen = (np.floor(x) + np.floor(y)) % 2 == 0
        else:  # camouflage
            blobs = cv2.resize(rng.random((9, 12), np.float32), (CANVAS, CANVAS), interpolation=cv2.INTER_CUBIC)
            rows, columns = ((np.clip(k, 0, 0.999) * CANVAS).astype(int) for k in (v, u))
            chosen = blobs[rows, columns] > 0.5
        return np.where(chosen[..., None], first, second)
    colour = np.array([*CLOTH, (240, 240, 238)][rng.integers(len(CLOTH) + 1)]) / 255 * jitter
    weave = texture(rng).mean(2, keepdims=True)
    return np.clip(colour * (0.85 + 0.3 * weave), 0, 1)


def _folds(style: str, u, v, rng: np.random.Generator) -> np.ndarray:
    """Brightness factor (H, W) of pleats, seams and creases."""
    factor = 1 + 0.05 * np.sin(9 * u + 7 * v + rng.uniform(0, 6))
    if style == "surgical":  # three pleats, each bright above and dark below its edge
        factor -= 0.22 * np.clip(1 - np.abs((v * 4) % 1 - 0.12) / 0.12, 0, 1) * (v > 0.2) * (v < 0.9)
        factor += 0.06 * (v < 0.08)
    elif style == "moulded":
        factor -= 0.25 * np.exp(-(((u - 0.5) / 0.02) ** 2)) - 0.08 * np.exp(-(((v - 0.12) / 0.03) ** 2))
    elif style in ("cloth", "patterned", "printed", "black"):
        factor -= 0.18 * np.exp(-(((u - 0.5) / 0.015) ** 2)) * (rng.random() < 0.6)
        for _ in range(rng.integers(0, 4)):
            slope, offset = rng.uniform(-0.6, 0.6), rng.uniform(0.1, 0.9)
            factor -= 0.12 * np.exp(-(((v - offset - slope * (u - 0.5)) / 0.03) ** 2))
    return factor


def _draw_straps(canvas, head: Head, style: str, side: float, ends, colour, rng):
    """Ear loops from a mask's corners to the ears: (picture, where they are)."""
    covered = np.zeros(canvas.shape[:2], np.float32)
    wide = style == "black" and rng.random() < 0.5
    for sign in (-1, 1):
        for elevation in ends:
            if head.visible(sign * side):
                t = np.linspace(0, 1, 12)
                path = head.project(sign * (side + (95 - side) * t), elevation + (-2 - elevation) * t**1.3, 0.03)
                covered = np.maximum(covered, _stroke(path, head.width * (0.09 if wide else 0.018)))
    tint = np.median(colour.reshape(-1, 3), axis=0) if wide else np.full(3, rng.uniform(0.5, 0.95))
    if style == "black":
        tint = np.minimum(tint, 0.15)
    return _paint(canvas, covered, tint * 0.85), covered


def _draw_skin(canvas, head: Head, skin, light: Light, rng) -> np.ndarray:
    """The head's outline filled with lit skin."""
    elevation = np.linspace(-90, 90, 60) - head.pitch
    edges = [head.project(np.full(60, side * 90 - head.yaw), elevation) for side in (-1, 1)]
    outline = np.concatenate([edges[0], edges[1][::-1]])
    where = _polygon(*outline.T)
    ridge = head.project(np.zeros(20), np.linspace(10, -45, 20))  # the nose in profile stands out of the ellipse
    where = np.maximum(
        where, _polygon(*np.concatenate([ridge, head.project(np.full(20, -head.yaw), np.linspace(-45, 10, 20))]).T)
    )
    yy, xx = np.mgrid[: canvas.shape[0], : canvas.shape[1]]
    nx, ny = (xx - head.x) / head.width, (yy - head.y) / head.height
    normal = _unit(np.stack([nx, ny, np.sqrt(np.clip(1.15 - nx**2 - ny**2, 0.05, None))], axis=-1))
    mottle = cv2.GaussianBlur(rng.standard_normal((*canvas.shape[:2], 3), np.float32), (0, 0), 2) * 0.06
    nose = head.project([0, 7, 6, -6, -7], [12, -14, -22, -22, -14])
    shade = 1 - 0.13 * cv2.GaussianBlur(_polygon(*nose.T), (0, 0), head.width / 18)[..., None]
    return _paint(canvas, where, np.clip(skin * light.on(normal) * shade * (1 + mottle), 0, 1))


def _draw_eyes(canvas, head: Head, skin, hair, rng) -> np.ndarray:
    open_ = rng.uniform(2.4, 4.2)
    iris = np.array([(60, 40, 25), (40, 25, 15), (80, 110, 140), (80, 100, 70)][rng.integers(4)]) / 255
    brow = np.minimum(hair, 0.35)
    for side in (-1, 1):
        azimuth = 24 * side
        if not head.visible(azimuth + 14 * side):
            continue
        canvas = _paint(canvas, _ellipse(head, azimuth, 13, 12, 8), skin * 0.72, soft=2)
        canvas = _paint(
            canvas, _ellipse(head, azimuth, 13, 9.5, open_), np.array([0.88, 0.87, 0.85]) * (0.4 + 0.6 * skin)
        )
        look = rng.uniform(-2, 2)
        canvas = _paint(canvas, _ellipse(head, azimuth + look, 13, 3.8, open_), iris)
        canvas = _paint(canvas, _ellipse(head, azimuth + look, 13, 1.7, 2), np.zeros(3) + 0.02)
        canvas = _paint(canvas, _lashes(head, azimuth, open_), brow * 0.5, soft=0.8)
        line = head.project(azimuth + np.linspace(-12, 12, 9), 23 + 3 * np.cos(np.linspace(-1.5, 1.5, 9)))
        strokes = np.zeros(canvas.shape[:2], np.float32)
        cv2.polylines(
            strokes, [np.round(line * 16).astype(np.int32)], False, 1.0, max(1, round(head.width / 22)), cv2.LINE_AA, 4
        )
        canvas = _paint(canvas, np.clip(strokes / max(strokes.max(), 1e-6), 0, 1), brow, soft=0.7)
    return canvas


def _lashes(head: Head, azimuth: float, open_: float) -> np.ndarray:
    """The dark line of an upper lid, in a band one degree high."""
    t = np.linspace(-1, 1, 11)
    arch = 13 + open_ * np.sqrt(1 - 0.9 * t**2)
    lower, upper = (head.project(azimuth + 10.5 * t, arch + up) for up in (-0.3, 1.6))
    return _polygon(*np.concatenate([lower, upper[::-1]]).T)


def _draw_glasses(canvas, head: Head, rng) -> np.ndarray:
    """Frames, clear or dark lenses, and the sidepiece on a visible temple."""
    dark, frame = rng.random() < 0.35, np.full(3, rng.uniform(0.02, 0.25))
    rx, ry = rng.uniform(15, 19), rng.uniform(9, 13)
    width = head.width / rng.uniform(22, 45)
    lines = [head.project(np.linspace(rx - 24, 24 - rx, 5), np.full(5, 13.0), 0.08)]  # the bridge
    for side in (-1, 1):
        if head.visible(24 * side):
            lens = _ellipse(head, 24 * side, 11, rx, ry, lift=0.08)
            glint = 0.15 * cv2.GaussianBlur(texture(rng), (0, 0), 6)
            canvas = _paint(canvas, lens * (0.92 if dark else 0.12), glint if dark else np.full(3, 0.85))
            t = np.linspace(0, 2 * np.pi, 25)
            lines.append(head.project(24 * side + rx * np.cos(t), 11 + ry * np.sin(t), 0.08))
        lines.append(head.project(np.linspace(24 + rx, 90, 8) * side, np.linspace(13, 6, 8), 0.05))
    rims = np.max([_stroke(line, width) for line in lines], axis=0)
    return _paint(canvas, rims, frame)


def _draw_hair(canvas, mask, head: Head, style: str, colour, rng):
    """What lies on the head and before the face: hair, a cap or a head scarf. It may hide the mask's edges."""
    if style == "bald":
        return canvas, mask
    azimuth = np.linspace(-100, 100, 41)
    line = {"short": 48, "long": 46, "fringe": 27, "cap": 34, "scarf": 40}[style] + rng.normal(0, 3)
    edge = np.full(41, float(line))
    if style in ("short", "long", "fringe"):
        edge += 4 * np.sin(azimuth / rng.uniform(5, 12) + rng.uniform(0, 6)) * rng.random() - (azimuth / 100) ** 2 * 12
    lower = head.project(azimuth, np.clip(edge, -89, 89), 0.04)
    upper = head.project(azimuth[::-1], np.full(41, 88.0), 0.12)
    where = _polygon(*np.concatenate([lower, upper]).T)
    # The crown: everything above the line, a little higher than the skull.
    crown = [head.project(side * 90 - head.yaw, np.linspace(line, 90, 12), 0.12) for side in (-1, 1)]
    crown = np.concatenate([crown[0], crown[1][::-1]])
    crown[:, 1] -= head.height * 0.06
    where = np.maximum(where, _polygon(*crown.T))
    if style in ("long", "scarf", "short"):  # what hangs down beside the face, or ends at the temple
        inner = rng.uniform(68, 80)
        down = np.linspace(-0.55, {"long": 2.5, "scarf": 2.5, "short": rng.uniform(-0.2, 0.1)}[style], 14)
        for side in (-1, 1):
            start = head.project(side * inner, 0)[0] - head.x if head.visible(side * inner) else side * head.width
            wave = 0.03 * np.sin(down * rng.uniform(4, 9) + rng.uniform(0, 6))
            inside = start + head.width * wave + side * 0.1 * head.width * np.maximum(0, np.abs(down) - 0.6)
            outside = np.full(14, side * head.width * (1.16 if style != "short" else 1.04))
            y = head.y + head.height * down
            where = np.maximum(
                where, _polygon(head.x + np.concatenate([inside, outside]), np.concatenate([y, y[::-1]]))
            )
    look = _strands(colour, rng) if style in ("short", "long", "fringe") else colour * (0.6 + 0.5 * texture(rng))
    canvas = _paint(canvas, where, np.clip(look, 0, 1))
    if style == "cap":
        t = np.linspace(-70, 70, 15)
        inner = head.project(t, np.full(15, line + 3.0))
        outer = head.project(t[::-1], line - 12 * np.cos(np.radians(t)), 0.25)
        canvas = _paint(canvas, _polygon(*np.concatenate([inner, outer]).T), colour * 0.5)
    return canvas, mask * (1 - where)


def _draw_hand(canvas, mask, head: Head, skin, light: Light, rng):
    """Fingers of one's own hand in front of the mask: what they cover is not mask."""
    side = rng.choice([-1, 1])
    start = np.array([head.x + side * head.width * rng.uniform(0.5, 0.9), head.y + head.height * rng.uniform(0.7, 1.1)])
    angle = np.radians(rng.uniform(-120, -70) if side > 0 else rng.uniform(-110, -60))
    fingers = np.zeros(canvas.shape[:2], np.float32)
    thick = head.width * 0.14
    for k in range(rng.integers(1, 5)):
        direction = np.array([np.cos(angle + 0.12 * k), np.sin(angle + 0.12 * k)])
        base = start + np.array([thick * 1.05 * k * -side, 4 * k])
        tip = base + direction * head.width * rng.uniform(0.45, 0.7)
        fingers = np.maximum(fingers, _stroke(np.array([base - direction * head.width * 0.5, tip]), thick))
    round_ = cv2.GaussianBlur(fingers, (0, 0), thick / 4)[..., None]
    colour = skin * (light.ambient + (1 - light.ambient) * 0.8) * (0.35 + 0.65 * round_)
    return _paint(canvas, fingers, np.clip(colour, 0, 1)), mask * (1 - fingers)


def texture(rng: np.random.Generator) -> np.ndarray:
    """A crop of a photograph for a ground or a fabric: float (256, 256, 3) in [0, 1]."""
    return textures.texture(rng, CANVAS, CANVAS, GROUNDS)


def _strands(colour, rng) -> np.ndarray:
    """Hair: noise drawn out along one direction."""
    noise = cv2.resize(rng.random((CANVAS // 16, CANVAS // 2), np.float32), (CANVAS, CANVAS))
    return colour * (0.55 + 0.9 * noise[..., None]) + 0.02


def _polygon(x, y) -> np.ndarray:
    """A filled polygon, float (256, 256) of 0 and 1."""
    where = np.zeros((CANVAS, CANVAS), np.float32)
    points = np.round(np.stack([x, y], axis=-1) * 16).astype(np.int32)
    cv2.fillPoly(where, [points], 1.0, cv2.LINE_8, 4)
    return where


def _stroke(points: np.ndarray, width: float) -> np.ndarray:
    """A line through points (N, 2), float (256, 256) of 0 and 1; it is at least a pixel wide."""
    where = np.zeros((CANVAS, CANVAS), np.float32)
    cv2.polylines(where, [np.round(points * 16).astype(np.int32)], False, 1.0, max(1, round(width)), cv2.LINE_8, 4)
    return where


def _ellipse(head: Head, azimuth, elevation, rx, ry, lift=0.0) -> np.ndarray:
    """An ellipse on a head's surface, centre and radii in degrees."""
    t = np.linspace(0, 2 * np.pi, 25)
    return _polygon(*head.project(azimuth + rx * np.cos(t), elevation + ry * np.sin(t), lift).T)


def _paint(canvas, where, colour, soft: float = 0.6) -> np.ndarray:
    """Lays a colour or picture over `where`, with an edge as soft as a lens would make it (in pixels). In place."""
    left, top, width, height = cv2.boundingRect((where > 0).astype(np.uint8))
    margin = int(4 * soft) + 1
    rows = slice(max(0, top - margin), top + height + margin)
    columns = slice(max(0, left - margin), left + width + margin)
    if width:
        alpha = cv2.GaussianBlur(where[rows, columns], (0, 0), soft)[..., None]
        over = colour[rows, columns] if np.ndim(colour) == 3 else colour
        canvas[rows, columns] += alpha * (over - canvas[rows, columns])
    return canvas


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.sqrt((vectors**2).sum(-1, keepdims=True))
