// The course's brush: a photograph, a user's strokes on it, and the mask that a network made of them.
//
// One module for three places. In a notebook, anywidget calls `render`, and Python answers each stroke with a mask. In
// the page, `openPage` shows the same surface, and a worker, which runs this file too, answers with the same masks: what
// stands under "Sums" follows seglib/brush/session.py and seglib/reports/neural_segmentello/play.py step by step.
//
// A stroke is {sign: 1 or -1, width, points: [[x, y], …]} in pixels of the photograph, the centre of whose first pixel
// is at (0.5, 0.5).

const OBJECT = 1;
const BACKGROUND = -1;
const COLOURS = { [OBJECT]: "#0072b2", [BACKGROUND]: "#d55e00" }; // told apart with every kind of colour vision
const NAMES = { [OBJECT]: "object", [BACKGROUND]: "background" };
const PATIENCE = 10_000; // milliseconds after which an answer is missed
const LARGEST = 100e6; // pixels of a photograph

// ---- Sums -----------------------------------------------------------------------------------------------------------

const KEPT = 32; // masks of earlier strokes, which undoing goes back to at once
const LEAST_RADIUS = 0.75;

/** Strokes as a hint, or `onto` one: Int8Array (height × width) of 1, −1 and 0; `scale` of its pixels are one. */
export function rasterise(strokes, height, width, scale = [1, 1], onto = null) {
  const hint = onto ? onto.slice() : new Int8Array(height * width);
  for (const { sign, width: thickness, points } of strokes) {
    const radius = Math.max(LEAST_RADIUS, (thickness / 2) * Math.max(...scale));
    let [x0, y0] = [points[0][0] * scale[1], points[0][1] * scale[0]];
    for (const point of points) {
      const [x1, y1] = [point[0] * scale[1], point[1] * scale[0]];
      const [top, bottom] = range(y0, y1, radius, height);
      const [left, right] = range(x0, x1, radius, width);
      const [dx, dy] = [x1 - x0, y1 - y0];
      const length = dx * dx + dy * dy;
      for (let row = top; row < bottom; row++) {
        for (let column = left; column < right; column++) {
          const [px, py] = [column + 0.5 - x0, row + 0.5 - y0];
          const along = length ? Math.min(1, Math.max(0, (px * dx + py * dy) / length)) : 0;
          const [offX, offY] = [px - along * dx, py - along * dy];
          if (offX * offX + offY * offY <= radius * radius) hint[row * width + column] = sign;
        }
      }
      [x0, y0] = [x1, y1];
    }
  }
  return hint;
}

function range(a, b, radius, length) {
  const first = Math.min(Math.max(0, Math.floor(Math.min(a, b) - radius)), length);
  return [first, Math.max(first, Math.min(length, Math.ceil(Math.max(a, b) + radius)))];
}

/** The square {top, left, height, width} around the pixels for which `about(i)` holds. */
export function square(about, height, width, margin) {
  let [top, bottom, left, right] = [height, -1, width, -1];
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      if (!about(row * width + column)) continue;
      if (row < top) top = row;
      bottom = row;
      if (column < left) left = column;
      if (column > right) right = column;
    }
  }
  if (bottom < 0) return { top: 0, left: 0, height, width };
  const longer = Math.max(bottom - top, right - left) + 1;
  const side = longer + 2 * Math.floor(margin * (0.25 * longer + 0.05 * Math.sqrt(height * height + width * width)) + 0.5);
  const start = (first, last, length) =>
    Math.min(Math.max(0, Math.floor((first + last + 1 - side) / 2)), Math.max(0, length - side));
  return {
    top: start(top, bottom, height),
    left: start(left, right, width),
    height: Math.min(side, height),
    width: Math.min(side, width),
  };
}

/** Of each of `count` pixels of a result, what pixels of a line of `length` it is made of, from where, and how much. */
function triangles(length, count) {
  const scale = length / count;
  const support = Math.max(1, scale);
  return Array.from({ length: count }, (_, i) => {
    const centre = scale * (i + 0.5);
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(length, Math.trunc(centre + support + 0.5));
    const weights = new Float64Array(end - first);
    let sum = 0;
    for (let j = 0; j < weights.length; j++) {
      weights[j] = Math.max(0, 1 - Math.abs((j + first - centre + 0.5) / support));
      sum += weights[j];
    }
    return { first, weights: weights.map((weight) => weight / sum) };
  });
}

/** A plane at another size: enlarged bilinearly; reduced, by means with weights that fall linearly to both sides. */
export function resample(plane, height, width, newHeight, newWidth) {
  const across = triangles(width, newWidth);
  const down = triangles(height, newHeight);
  const narrow = new Float32Array(height * newWidth);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < newWidth; column++) {
      const { first, weights } = across[column];
      let sum = 0;
      for (let j = 0; j < weights.length; j++) sum += weights[j] * plane[row * width + first + j];
      narrow[row * newWidth + column] = sum;
    }
  }
  const result = new Float32Array(newHeight * newWidth);
  for (let row = 0; row < newHeight; row++) {
    const { first, weights } = down[row];
    for (let column = 0; column < newWidth; column++) {
      let sum = 0;
      for (let j = 0; j < weights.length; j++) sum += weights[j] * narrow[(first + j) * newWidth + column];
      result[row * newWidth + column] = sum;
    }
  }
  return result;
}

/** How likely each pixel's colour is the object's, whose pixels `inside(i)` are: Bayes' rule on smoothed histograms. */
export function likelihood(red, green, blue, inside, bins) {
  const count = red.length;
  const bin = (value) => Math.min(bins - 1, Math.trunc(value * bins));
  const code = new Int32Array(count);
  const [object, others] = [new Float64Array(bins ** 3), new Float64Array(bins ** 3)];
  let many = 0;
  for (let i = 0; i < count; i++) {
    code[i] = (bin(red[i]) * bins + bin(green[i])) * bins + bin(blue[i]);
    (inside(i) ? object : others)[code[i]]++;
    if (inside(i)) many++;
  }
  const f = smoothed(object.map((value) => value / Math.max(1, many)), bins);
  const b = smoothed(others.map((value) => value / Math.max(1, count - many)), bins);
  const unknown = 1e-6;
  const likely = Float32Array.from(f, (value, i) => (value + unknown) / (value + b[i] + 2 * unknown));
  const found = new Float32Array(count);
  for (let i = 0; i < count; i++) found[i] = likely[code[i]];
  return found;
}

/** A cube of numbers, smoothed along its three axes by a normal distribution of σ = 1, mirrored at its faces. */
function smoothed(cube, bins) {
  const weights = Array.from({ length: 9 }, (_, i) => Math.exp(-((i - 4) ** 2) / 2));
  const sum = weights.reduce((a, b) => a + b);
  for (const step of [bins * bins, bins, 1]) {
    cube = cube.map((_, i) => {
      const place = Math.trunc(i / step) % bins;
      let value = 0;
      for (let j = -4; j <= 4; j++) {
        let at = place + j;
        while (at < 0 || at >= bins) at = at < 0 ? -1 - at : 2 * bins - 1 - at;
        value += (weights[j + 4] / sum) * cube[i + (at - place) * step];
      }
      return value;
    });
  }
  return cube;
}

function cut(plane, width, part) {
  const piece = new Float32Array(part.height * part.width);
  for (let row = 0; row < part.height; row++) {
    const start = (part.top + row) * width + part.left;
    piece.set(plane.subarray(start, start + part.width), row * part.width);
  }
  return piece;
}

/** A photograph that a user brushes over, and the masks of strokes. `network(input)` gives the logits of an input. */
export class Session {
  /** `pixels` are red, green, blue and alpha, row by row; `settings` are those that the network is used with. */
  constructor(pixels, height, width, settings, network) {
    [this.fullHeight, this.fullWidth, this.settings, this.network] = [height, width, settings, network];
    const factor = Math.min(1, settings.longest / Math.max(height, width));
    this.height = Math.max(1, Math.floor(height * factor + 0.5));
    this.width = Math.max(1, Math.floor(width * factor + 0.5));
    this.scale = [this.height / height, this.width / width];
    this.states = []; // of each stroke: as text, and with those before it as a hint and as what was found
    this.colours = [0, 1, 2].map((channel) => {
      let plane = new Uint8Array(height * width);
      for (let i = 0; i < plane.length; i++) plane[i] = pixels[4 * i + channel];
      if (factor < 1) {
        plane = resample(plane, height, width, this.height, this.width);
        for (let i = 0; i < plane.length; i++) plane[i] = Math.floor(plane[i] + 0.5);
      }
      const shares = new Float32Array(plane.length);
      for (let i = 0; i < plane.length; i++) shares[i] = plane[i] / 255;
      return shares;
    });
  }

  /** How likely each pixel of the reduced photograph is the object's: Float32Array; null without strokes. */
  async probability(strokes) {
    const texts = strokes.map((stroke) => JSON.stringify(stroke));
    let done = 0;
    while (done < Math.min(texts.length, this.states.length) && this.states[done].text === texts[done]) done++;
    while (done && !this.states[done - 1].found) done--;
    this.states.length = done;
    let { hint = null, found = null } = this.states.at(-1) ?? {};
    for (let number = done; number < strokes.length; number++) {
      hint = rasterise([strokes[number]], this.height, this.width, this.scale, hint);
      found = await this.move(hint, found);
      this.states.push({ text: texts[number], hint, found });
      if (number >= KEPT) this.states[number - KEPT] = { text: texts[number - KEPT] };
    }
    return found;
  }

  async move(hint, mask) {
    const found = await this.look(hint, mask);
    return mask ? found : await this.look(hint, found, 1);
  }

  async look(hint, mask, margin = mask ? 1 : this.settings.firstMargin) {
    const about = mask ? (i) => hint[i] > 0 || mask[i] >= 0.5 : (i) => hint[i] > 0;
    const part = square(about, this.height, this.width, margin);
    const side = this.settings.side;
    const planes = [new Float32Array(hint), mask ?? new Float32Array(hint.length), ...this.colours];
    const view = planes.map((plane) =>
      resample(cut(plane, this.width, part), part.height, part.width, side, side),
    );
    const drawn = view[0].some((value) => value > 0.3);
    const inside = drawn ? (i) => view[0][i] > 0.3 : (i) => view[1][i] >= 0.5;
    view.push(likelihood(view[2], view[3], view[4], inside, this.settings.bins));
    const input = new Float32Array(view.length * side * side);
    view.forEach((plane, channel) => input.set(plane, channel * side * side));
    const logits = await this.network(input);
    const likely = logits.map((value) => 1 / (1 + Math.exp(-value)));
    const said = resample(likely, side, side, part.height, part.width);
    const found = new Float32Array(hint.length);
    for (let row = 0; row < part.height; row++) {
      const piece = said.subarray(row * part.width, (row + 1) * part.width);
      found.set(piece, (part.top + row) * this.width + part.left);
    }
    for (let i = 0; i < hint.length; i++) if (hint[i]) found[i] = hint[i] > 0 ? 1 : 0;
    return found;
  }

  /** The mask at the reduced size, to be shown: Uint8Array of 0 and 1. */
  async small(strokes) {
    const [found, mask] = [await this.probability(strokes), new Uint8Array(this.height * this.width)];
    if (found) for (let i = 0; i < mask.length; i++) mask[i] = found[i] >= 0.5;
    return mask;
  }

  /** The mask at the photograph's own size, as the strokes say where there are any: Uint8Array of 0 and 1. */
  async full(strokes) {
    const [height, width] = [this.fullHeight, this.fullWidth];
    let found = await this.probability(strokes);
    if (!found) return new Uint8Array(height * width);
    if (height !== this.height || width !== this.width) found = resample(found, this.height, this.width, height, width);
    const [hint, mask] = [rasterise(strokes, height, width), new Uint8Array(height * width)];
    for (let i = 0; i < mask.length; i++) mask[i] = (found[i] >= 0.5 && hint[i] >= 0) || hint[i] > 0;
    return mask;
  }
}

/** A mask as an annotation of COCO's: lengths of runs of 0 and 1 down the columns, in turn, beginning with 0. */
export function annotation(mask, height, width) {
  const counts = [];
  let [last, run, area] = [0, 0, 0];
  let [left, top, right, bottom] = [width, height, -1, -1];
  for (let column = 0; column < width; column++) {
    for (let row = 0; row < height; row++) {
      const value = mask[row * width + column];
      if (value !== last) {
        counts.push(run);
        [last, run] = [value, 0];
      }
      run++;
      if (!value) continue;
      area++;
      if (column < left) left = column;
      right = column;
      if (row < top) top = row;
      if (row > bottom) bottom = row;
    }
  }
  counts.push(run);
  const bbox = area ? [left, top, right - left + 1, bottom - top + 1] : [0, 0, 0, 0];
  return { segmentation: { size: [height, width], counts }, area, bbox, iscrowd: 0 };
}

// ---- Surface --------------------------------------------------------------------------------------------------------

/** An element with attributes (those that begin with "on" are listeners) and children. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** A photograph to draw on. `onStrokes(strokes)` is called when a stroke has ended, is undone, or all are cleared. */
export class Surface {
  constructor(host, onStrokes) {
    this.onStrokes = onStrokes;
    this.strokes = [];
    this.drawing = null; // the stroke that is being drawn, by pointer or keys
    this.cursor = null; // where the keys' brush is, in pixels of the photograph
    this.size = null; // height and width of the photograph
    this.mask = null;
    this.sign = OBJECT;

    this.photograph = element("canvas", { "aria-hidden": "true" });
    this.overlay = element("canvas", { "aria-hidden": "true" });
    this.lines = element("canvas", {
      tabindex: "0",
      role: "application",
      "aria-roledescription": "drawing surface",
      "aria-label":
        "Photograph to draw on. Arrow keys move the brush, space puts it down and lifts it, X changes between object " +
        "and background, plus and minus change its width, Z takes the last stroke back.",
      onpointerdown: (event) => this.begin(event),
      onpointermove: (event) => this.go(event),
      onpointerup: (event) => this.end(event),
      onpointercancel: () => this.drop(),
      onkeydown: (event) => this.key(event),
      onblur: () => this.leave(),
    });
    this.status = element("p", { role: "status" });
    this.board = element("div", { class: "board" }, this.photograph, this.overlay, this.lines);
    // JupyterLab keeps its own keys (X would cut the cell) out of elements with this attribute.
    this.host = element("div", { class: "brush", "data-lm-suppress-shortcuts": "true" });
    this.host.append(this.toolbar(), this.board, this.status);
    host.append(this.host);
    this.refresh();
  }

  toolbar() {
    const group = `sign-${Math.random().toString(36).slice(2)}`;
    const choice = (sign) => {
      const radio = element("input", { type: "radio", name: group, onchange: () => this.choose(sign) });
      this.radios[sign] = radio;
      return element("label", { class: NAMES[sign] }, radio, NAMES[sign]);
    };
    this.radios = {};
    this.width = element("input", { type: "range", min: "1", max: "100", value: "24", oninput: () => this.draw() });
    this.undoButton = element("button", { type: "button", onclick: () => this.undo() }, "Undo");
    this.clearButton = element("button", { type: "button", onclick: () => this.clear() }, "Clear");
    this.shown = element("input", { type: "checkbox", onchange: () => this.draw() });
    this.shown.checked = true;
    const bar = element(
      "div",
      { class: "tools", role: "group", "aria-label": "Brush" },
      element("span", { class: "signs", role: "radiogroup", "aria-label": "What a stroke means" }, choice(OBJECT), choice(BACKGROUND)),
      element("label", {}, "width", this.width),
      this.undoButton,
      this.clearButton,
      element("label", {}, this.shown, "mask"),
    );
    this.radios[this.sign].checked = true;
    return bar;
  }

  /** Shows a photograph: something that can be drawn into a canvas, and the height and width that strokes are in. */
  show(picture, height, width) {
    const [across, down] = [picture.naturalWidth ?? picture.width, picture.naturalHeight ?? picture.height];
    for (const canvas of [this.photograph, this.overlay, this.lines]) [canvas.width, canvas.height] = [across, down];
    this.photograph.getContext("2d").drawImage(picture, 0, 0);
    this.size = [height, width];
    [this.strokes, this.drawing, this.cursor] = [[], null, null];
    this.setMask(null);
    this.refresh();
  }

  /** Shows a mask: Uint8Array of 0 and 1 of the canvas's size; null: none. */
  setMask(mask) {
    this.mask = mask;
    const { width, height } = this.overlay;
    const context = this.overlay.getContext("2d");
    context.clearRect(0, 0, width, height);
    if (!mask) return;
    const picture = context.createImageData(width, height);
    const thick = Math.max(1, Math.round(Math.max(width, height) / 400));
    const inside = (row, column) => row >= 0 && column >= 0 && row < height && column < width && mask[row * width + column];
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        if (!mask[row * width + column]) continue;
        const edge = (by) => !(inside(row - by, column) && inside(row + by, column) && inside(row, column - by) && inside(row, column + by));
        // A white line, a dark one inside it, and a light blue: a mask that is seen on any photograph.
        const colour = edge(thick) ? [255, 255, 255, 255] : edge(2 * thick) ? [0, 0, 0, 200] : [86, 180, 233, 90];
        picture.data.set(colour, 4 * (row * width + column));
      }
    }
    context.putImageData(picture, 0, 0);
  }

  say(words) {
    this.status.textContent = words;
  }

  choose(sign) {
    this.sign = sign;
    this.radios[sign].checked = true;
    this.draw();
  }

  /** The brush's width in pixels of the photograph: the slider goes from a five-hundredth to a fifth of its size. */
  get thickness() {
    return Math.max(1, (this.width.value / 500) * Math.max(...this.size));
  }

  /** Where an event is, in pixels of the photograph. */
  at(event) {
    const box = this.lines.getBoundingClientRect();
    const [height, width] = this.size;
    const round = (value) => Math.round(100 * value) / 100;
    return [round(((event.clientX - box.left) / box.width) * width), round(((event.clientY - box.top) / box.height) * height)];
  }

  begin(event) {
    if (!this.size || !event.isPrimary || event.button > 0) return;
    this.lines.setPointerCapture(event.pointerId);
    this.cursor = null;
    this.drawing = { sign: this.sign, width: this.thickness, points: [this.at(event)] };
    this.draw();
  }

  go(event) {
    if (!this.drawing || this.cursor || !event.isPrimary) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const one of events.length ? events : [event]) this.extend(this.at(one));
    this.draw();
  }

  end(event) {
    if (!this.drawing || this.cursor || !event.isPrimary) return;
    this.extend(this.at(event), 0);
    this.finish();
  }

  /** Adds a point that is at least `apart` of the brush's width from the last one. */
  extend(point, apart = 1 / 8) {
    const [x, y] = this.drawing.points.at(-1);
    const away = Math.hypot(point[0] - x, point[1] - y);
    if (away > 0 && away >= apart * this.drawing.width) this.drawing.points.push(point);
  }

  finish() {
    this.strokes = [...this.strokes, this.drawing];
    this.drawing = null;
    this.changed();
  }

  drop() {
    this.drawing = null;
    if (this.size) this.draw();
  }

  /** Takes the keys' brush away, and the stroke that it has begun. */
  leave() {
    if (this.cursor && this.drawing) this.say("The stroke that was begun is dropped.");
    this.cursor = null;
    this.drop();
  }

  undo() {
    if (!this.strokes.length) return;
    this.strokes = this.strokes.slice(0, -1);
    this.changed();
  }

  clear() {
    if (!this.strokes.length) return;
    this.strokes = [];
    this.changed();
  }

  changed() {
    this.refresh();
    this.onStrokes(this.strokes);
  }

  key(event) {
    const pressed = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (!this.size || event.altKey || ((event.ctrlKey || event.metaKey) && pressed !== "z")) return;
    const [height, width] = this.size;
    const step = Math.max(1, this.thickness / (event.shiftKey ? 8 : 2));
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    const others = {
      " ": () => this.press(),
      Escape: () => this.leave(),
      x: () => (this.choose(-this.sign), this.say(`Strokes mean ${NAMES[this.sign]} now.`)),
      z: () => this.undo(),
      "+": () => this.widen(4),
      "-": () => this.widen(-4),
    };
    if (pressed in moves) {
      const [x, y] = this.cursor ?? [width / 2, height / 2];
      const [dx, dy] = moves[pressed];
      this.cursor = [Math.min(width, Math.max(0, x + dx)), Math.min(height, Math.max(0, y + dy))];
      if (this.drawing) this.extend(this.cursor, 0);
      const percent = this.cursor.map((value, axis) => Math.round((100 * value) / this.size[1 - axis]));
      this.say(`Brush ${this.drawing ? "down" : "up"}, ${percent[0]} % from the left, ${percent[1]} % from the top.`);
    } else if (pressed in others) {
      others[pressed]();
    } else return;
    event.preventDefault();
    event.stopPropagation();
    this.draw();
  }

  widen(steps) {
    this.width.stepUp(steps);
    this.say(`The brush is ${Math.round(this.thickness)} pixels wide.`);
  }

  /** Puts the keys' brush down, or lifts it, which ends a stroke. */
  press() {
    this.cursor ??= [this.size[1] / 2, this.size[0] / 2];
    if (this.drawing) return this.finish();
    this.drawing = { sign: this.sign, width: this.thickness, points: [this.cursor] };
    this.say(`Brush down: ${NAMES[this.sign]}.`);
  }

  refresh() {
    this.undoButton.disabled = this.clearButton.disabled = !this.strokes.length;
    this.draw();
  }

  draw() {
    this.overlay.hidden = !this.shown.checked;
    if (!this.size) return;
    const context = this.lines.getContext("2d");
    const scale = this.lines.width / this.size[1];
    context.clearRect(0, 0, this.lines.width, this.lines.height);
    for (const stroke of [...this.strokes, ...(this.drawing ? [this.drawing] : [])]) this.line(context, stroke, scale);
    if (this.cursor) {
      context.beginPath();
      context.arc(this.cursor[0] * scale, this.cursor[1] * scale, Math.max(3, (this.thickness / 2) * scale), 0, 7);
      for (const [colour, thick] of [["white", 4], [COLOURS[this.sign], 2]]) {
        [context.strokeStyle, context.lineWidth] = [colour, thick];
        context.stroke();
      }
    }
  }

  /** Background has a broken white line along its middle, so that it is not told by its colour alone. */
  line(context, { sign, width, points }, scale) {
    const path = new Path2D();
    points.forEach(([x, y], i) => (i ? path.lineTo(x * scale, y * scale) : path.moveTo(x * scale, y * scale)));
    if (points.length === 1) path.lineTo(points[0][0] * scale + 0.01, points[0][1] * scale);
    const thick = Math.max(2, width * scale);
    context.lineCap = context.lineJoin = "round";
    context.globalAlpha = 0.75;
    [context.strokeStyle, context.lineWidth] = [COLOURS[sign], thick];
    context.stroke(path);
    if (sign === BACKGROUND) {
      context.globalAlpha = 1;
      context.setLineDash([thick / 2, thick]);
      [context.strokeStyle, context.lineWidth] = ["white", Math.max(1, thick / 5)];
      context.stroke(path);
      context.setLineDash([]);
    }
    context.globalAlpha = 1;
  }
}

/** In words, what a mask is and which strokes it came of. */
function told(strokes, mask) {
  const many = strokes.length === 1 ? "1 stroke" : `${strokes.length} strokes`;
  if (!strokes.length) return "Draw over the object.";
  const share = mask.reduce((sum, value) => sum + value, 0) / mask.length;
  return `${many}: the mask covers ${(100 * share).toFixed(1)} % of the photograph.`;
}

function loaded(source) {
  return new Promise((resolve, reject) => {
    const picture = new Image();
    picture.onload = () => resolve(picture);
    picture.onerror = () => reject(new Error("not a picture"));
    picture.src = source;
  });
}

// ---- In a notebook --------------------------------------------------------------------------------------------------

/** anywidget's entry. A request and its answer are text, {turn, strokes} and {turn, mask}; the mask is a PNG. */
async function render({ model, el }) {
  const surface = new Surface(el, ask);
  const [height, width] = model.get("size");
  let [turn, shown, timer] = [0, -1, null];

  function ask(strokes) {
    turn++;
    surface.say("…");
    clearTimeout(timer);
    timer = setTimeout(missed, PATIENCE);
    try {
      model.set("request", JSON.stringify({ turn, strokes }));
      model.save_changes();
    } catch {
      missed();
    }
  }

  function missed() {
    surface.say("No answer from Python: it is busy with a cell, or was restarted. After a restart, run this cell again.");
  }

  /** The strokes that were drawn in another view of the same widget. */
  function requested() {
    if (!model.get("request")) return;
    const request = JSON.parse(model.get("request"));
    if (request.turn <= turn) return;
    turn = request.turn;
    surface.strokes = request.strokes;
    surface.refresh();
  }

  async function answered() {
    if (!model.get("answer")) return;
    const answer = JSON.parse(model.get("answer"));
    const picture = answer.mask && (await loaded(answer.mask));
    if (answer.turn <= shown) return; // of a stroke before, overtaken while it was unpacked
    shown = answer.turn;
    if (answer.turn < turn && surface.strokes.length === 0) return; // cleared meanwhile
    surface.setMask(picture ? white(picture) : null);
    if (answer.turn < turn) return;
    clearTimeout(timer);
    surface.say(answer.error || told(surface.strokes, surface.mask));
  }

  surface.show(await loaded(model.get("photograph")), height, width);
  surface.say(told([]));
  model.on("change:request", requested);
  model.on("change:answer", answered);
  requested();
  answered();
  return () => {
    clearTimeout(timer);
    model.off("change:request", requested);
    model.off("change:answer", answered);
  };
}

/** What is white in a picture: Uint8Array of 0 and 1. */
function white(picture) {
  const canvas = element("canvas", { width: picture.naturalWidth, height: picture.naturalHeight });
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  return Uint8Array.from({ length: data.length / 4 }, (_, i) => data[4 * i] > 127);
}

export default { render };

// ---- In a page ------------------------------------------------------------------------------------------------------

/** The page: photographs of one's own, or those of the folder that is served, and masks to be saved. */
async function openPage(main) {
  const settings = await (await fetch("settings.json")).json();
  const [surfaceHost, open, choice, save, next, collection, list] = [
    "#surface", "#open", "#choice", "#save", "#next", "#collection", "#masks",
  ].map((name) => main.querySelector(name));
  surfaceHost.replaceChildren(); // what it says where this file is not run
  const surface = new Surface(surfaceHost, strokesChanged);
  const served = Boolean(settings.photographs);
  const worker = new Worker(import.meta.url, { type: "module" });
  const waiting = new Map(); // of each question to the worker, by its turn, who waits
  const masks = []; // that were saved: {photograph, object, height, width, ...annotation}
  const known = new Map(); // what the photographs are by which masks were saved: their names, and what tells them apart
  let [turn, writing, version] = [0, Promise.resolve(), ""];
  let [number, opening] = [0, 0]; // of the photograph that is open, and of the last one that was to be opened
  let photograph = null; // {name, identity, height, width}
  let object = 1; // the number of the one that is being drawn

  /** A question to the worker about the photograph that is open; it refuses one about another. */
  function ask(question, transfer = []) {
    turn++;
    worker.postMessage({ turn, number, ...question }, transfer);
    return new Promise((resolve, reject) => waiting.set(turn, { resolve, reject }));
  }
  worker.onmessage = ({ data }) => {
    const { resolve, reject } = waiting.get(data.turn);
    waiting.delete(data.turn);
    if (data.error) reject(new Error(data.error));
    else resolve(data);
  };
  worker.onerror = (event) => surface.say(`The network cannot run here: ${event.message ?? "the browser is too old"}.`);

  const saved = () => masks.findIndex((one) => one.photograph === photograph?.name && one.object === object);
  const free = (name) => 1 + Math.max(0, ...masks.filter((one) => one.photograph === name).map((one) => one.object));

  /** What can be done now. */
  function refreshButtons(settled) {
    save.disabled = !settled || !surface.strokes.length;
    next.disabled = !settled || saved() < 0; // a mask that is not saved would be lost
    save.textContent = `Save mask ${object}`;
    collection.disabled = !masks.length;
  }

  async function strokesChanged(strokes) {
    if (!strokes.length && saved() >= 0) object = free(photograph.name); // what comes is another object
    refreshButtons(false);
    surface.say("…");
    const [start, asked] = [performance.now(), photograph];
    try {
      const { mask } = await ask({ kind: "small", strokes });
      if (asked !== photograph) return;
      surface.setMask(strokes.length ? mask : null);
      performance.measure("brush", { start }); // for whoever wants to know how long it takes
      if (surface.strokes !== strokes) return;
      surface.say(told(strokes, mask));
      refreshButtons(true);
    } catch (error) {
      if (asked === photograph) surface.say(`The network failed: ${error.message}`);
    }
  }

  /** Opens what `load` gives, a file or what a server sends, unless another is to be opened meanwhile. Where that
   * fails, what was open stays so. */
  async function show(load, name) {
    const mine = ++opening;
    refreshButtons(false);
    surface.say(`Opening ${name} …`);
    try {
      const blob = await load();
      const { pixels, width, height } = await pixelsOf(blob);
      if (mine !== opening) return;
      const opened = await ask({ kind: "open", number: mine, pixels, height, width }, [pixels.buffer]);
      number = mine;
      const small = element("canvas", { width: opened.width, height: opened.height });
      small.getContext("2d").putImageData(new ImageData(opened.pixels, opened.width), 0, 0);
      surface.show(small, height, width);
      const identity = `${blob.size} ${width} ${height}`;
      photograph = { name: served ? name : unlike(name, identity), identity, height, width };
      object = free(photograph.name);
      surface.say(`${photograph.name}, ${width} × ${height}. ${told([])}`);
    } catch (error) {
      if (mine === opening) surface.say(`${name}: ${error.message}`);
    }
    refreshButtons(surface.mask !== null);
  }

  /** The name of a photograph, with a number where masks were saved of another one that is called the same. */
  function unlike(name, identity) {
    const [, stem, ending] = name.match(/^(.*?)(\.[^.]*)?$/s);
    for (let count = 1; ; count++) {
      const tried = count === 1 ? name : `${stem} (${count})${ending ?? ""}`;
      if ((known.get(tried) ?? identity) === identity) return tried;
    }
  }

  const given = (file) => file && show(async () => file, file.name);
  const chosen = (name) =>
    show(async () => {
      const answer = await fetch(`photographs/${encodeURIComponent(name)}`);
      if (!answer.ok) throw new Error(await answer.text());
      return answer.blob();
    }, name);

  save.addEventListener("click", () => {
    const [{ name, identity, height, width }, mine] = [photograph, object];
    const question = { kind: "full", strokes: surface.strokes, number };
    kept(async () => {
      const { mask } = await ask(question);
      const picture = await png(mask, height, width);
      let file = `${name.replace(/\.[^.]*$/, "")}_${mine}.png`;
      if (served) file = await put(`masks/${encodeURIComponent(name)}/${mine}`, picture);
      else download(picture, file);
      const before = masks.findIndex((one) => one.photograph === name && one.object === mine);
      const entry = { photograph: name, object: mine, height, width, ...annotation(mask, height, width) };
      masks.splice(before < 0 ? masks.length : before, before < 0 ? 0 : 1, entry);
      known.set(name, identity);
      refreshList();
      refreshButtons(true);
      return `Saved ${file}${served ? ` and ${await putMasks()}` : ""}.`;
    });
  });
  next.addEventListener("click", () => surface.clear());
  collection.addEventListener("click", () => download(collected(), "masks.json"));

  /** Does what writes something, one after the other, and says what it says, or why it could not. */
  function kept(write) {
    writing = writing.then(async () => {
      try {
        surface.say(await write());
      } catch (error) {
        const gone = served && error instanceof TypeError ? " Is seglib brush still running?" : "";
        surface.say(`Not saved: ${error.message}.${gone}`);
      }
    });
  }

  /** Sends something to be written into the folder; returns the file's name. */
  async function put(path, body, headers = {}) {
    const answer = await fetch(path, { method: "PUT", body, headers });
    if (!answer.ok) throw new Error(await answer.text());
    version = answer.headers.get("ETag") ?? version;
    return await answer.text();
  }

  /** Sends all masks, in place of those that this page has read or sent, and not of what another has written since. */
  const putMasks = () => put("masks", collected(), { "If-Match": version });

  /** All masks that were saved, in COCO's format. */
  function collected() {
    const names = [...new Set(masks.map((one) => one.photograph))];
    const images = names.map((name, i) => {
      const { height, width } = masks.find((one) => one.photograph === name);
      return { id: i + 1, file_name: name, height, width };
    });
    const annotations = masks.map(({ photograph: name, height, width, ...rest }, i) => {
      return { id: i + 1, image_id: 1 + names.indexOf(name), category_id: 1, ...rest };
    });
    const categories = [{ id: 1, name: "object", supercategory: "object" }];
    return new Blob([JSON.stringify({ images, annotations, categories })], { type: "application/json" });
  }

  function refreshList() {
    list.replaceChildren(
      ...masks.map((one) => {
        const words = `${one.photograph}, object ${one.object}`;
        const remove = element("button", { type: "button", "aria-label": `Remove ${words}` }, "Remove");
        remove.addEventListener("click", () => kept(() => takeOut(one)));
        return element("li", {}, `${words}: ${one.area} pixels `, remove);
      }),
    );
  }

  async function takeOut(one) {
    const place = masks.indexOf(one);
    masks.splice(place, 1);
    refreshList();
    refreshButtons(!save.disabled);
    (list.querySelectorAll("button")[Math.min(place, masks.length - 1)] ?? list).focus();
    return served ? `Taken out of ${await putMasks()}; its picture stays.` : "Taken out.";
  }

  if (!served) {
    open.addEventListener("change", () => given(open.files[0]));
    main.addEventListener("dragover", (event) => event.preventDefault());
    main.addEventListener("drop", (event) => {
      event.preventDefault();
      given(event.dataTransfer.files[0]);
    });
    refreshButtons(false);
    return surface.say("Open a photograph, or drop one here. It does not leave this browser.");
  }
  const before = await fetch("masks");
  if (!before.ok) return surface.say(await before.text());
  version = before.headers.get("ETag");
  const { annotations, images } = await before.json();
  for (const { image_id, object: which, id, category_id, ...rest } of annotations) {
    const { file_name, height, width } = images.find((image) => image.id === image_id);
    masks.push({ photograph: file_name, object: which, height, width, ...rest });
  }
  refreshList();
  choice.append(...settings.photographs.map((name) => element("option", { value: name }, name)));
  choice.addEventListener("change", () => chosen(choice.value));
  [choice.parentElement.hidden, open.parentElement.hidden] = [false, true];
  chosen(choice.value);
}

/** Red, green, blue and alpha of a picture's pixels, turned as its camera says. */
async function pixelsOf(blob) {
  let picture;
  try {
    picture = await createImageBitmap(blob);
  } catch {
    throw new Error("expected a picture that this browser can read, such as JPEG or PNG, got something else");
  }
  const { width, height } = picture;
  if (width * height > LARGEST) {
    throw new Error(`expected at most ${LARGEST / 1e6} million pixels, got ${width} × ${height}`);
  }
  const canvas = element("canvas", { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white"; // where a picture is transparent
  context.fillRect(0, 0, width, height);
  context.drawImage(picture, 0, 0);
  picture.close();
  const { data } = context.getImageData(0, 0, width, height);
  [canvas.width, canvas.height] = [0, 0]; // so that its memory is free now, and not some time
  if (data[3] !== 255) throw new Error(`${width} × ${height} pixels are more than this browser can draw`);
  return { pixels: data, width, height };
}

/** A mask as a grey PNG of 0 and 255. Not by way of a canvas: some browsers change what is read from one. */
async function png(mask, height, width) {
  const rows = new Uint8Array(height * (width + 1)); // each begins with 0: no filter
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) rows[row * (width + 1) + 1 + column] = 255 * mask[row * width + column];
  }
  const head = new DataView(new ArrayBuffer(13));
  head.setUint32(0, width);
  head.setUint32(4, height);
  head.setUint8(8, 8); // bits; and what follows, all 0: grey, deflate, no filter, no interlacing
  const packed = await new Response(new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate"))).arrayBuffer();
  const chunks = [["IHDR", new Uint8Array(head.buffer)], ["IDAT", new Uint8Array(packed)], ["IEND", new Uint8Array()]];
  const signature = new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10]);
  return new Blob([signature, ...chunks.flatMap(([kind, content]) => chunk(kind, content))], { type: "image/png" });
}

/** A part of a PNG file: its length, its kind, its content, and their checksum (CRC-32). */
function chunk(kind, content) {
  const named = new Uint8Array(4 + content.length);
  named.set(new TextEncoder().encode(kind));
  named.set(content, 4);
  let sum = ~0;
  for (const byte of named) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (0xedb88320 & -(sum & 1));
  }
  const [before, after] = [new DataView(new ArrayBuffer(4)), new DataView(new ArrayBuffer(4))];
  before.setUint32(0, content.length);
  after.setUint32(0, ~sum >>> 0);
  return [before.buffer, named, after.buffer];
}

function download(blob, name) {
  const address = URL.createObjectURL(blob);
  const link = element("a", { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

// ---- In the page's worker -------------------------------------------------------------------------------------------

/** Runs the network with ONNX Runtime Web and answers one question after the other. */
function serveWorker() {
  const ready = startNetwork();
  let [session, opened, last] = [null, 0, Promise.resolve()];
  const answers = {
    async open({ number, pixels, height, width }) {
      session = new Session(pixels, height, width, ...(await ready));
      opened = number;
      const count = session.height * session.width;
      const small = new Uint8ClampedArray(4 * count).fill(255);
      session.colours.forEach((plane, channel) => plane.forEach((value, i) => (small[4 * i + channel] = Math.round(255 * value))));
      return { pixels: small, height: session.height, width: session.width };
    },
    small: async ({ strokes }) => ({ mask: await session.small(strokes) }),
    full: async ({ strokes }) => ({ mask: await session.full(strokes) }),
  };
  self.onmessage = ({ data }) => {
    last = last.then(async () => {
      try {
        if (data.kind !== "open" && data.number !== opened) throw new Error("another photograph was opened");
        self.postMessage({ turn: data.turn, ...(await answers[data.kind](data)) });
      } catch (error) {
        self.postMessage({ turn: data.turn, error: error.message });
      }
    });
  };
}

async function startNetwork() {
  const settings = await (await fetch("settings.json")).json();
  const ort = await import("./runtime/ort.wasm.bundle.min.mjs");
  ort.env.wasm.numThreads = 1; // several need headers that a plain server does not send
  ort.env.wasm.wasmBinary = await unpacked("runtime/ort-wasm-simd-threaded.wasm.gz");
  const network = await ort.InferenceSession.create(new Uint8Array(await unpacked("network.onnx.gz")));
  const shape = [1, settings.channels, settings.side, settings.side];
  const run = async (input) => (await network.run({ image: new ort.Tensor("float32", input, shape) })).logits.data;
  return [settings, run];
}

async function unpacked(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path} is missing`);
  const content = await answer.blob();
  const [first, second] = new Uint8Array(await content.slice(0, 2).arrayBuffer());
  if (first !== 0x1f || second !== 0x8b) return await content.arrayBuffer(); // a server has had it unpacked already
  return await new Response(content.stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

if (typeof WorkerGlobalScope !== "undefined" && self instanceof WorkerGlobalScope) serveWorker();
else {
  const main = globalThis.document?.querySelector("main#brush-page");
  if (main) openPage(main);
}
