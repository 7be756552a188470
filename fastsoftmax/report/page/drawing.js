// The canvas: strokes by mouse, finger, pen or keys; what the model sees of them; and its probabilities, as one draws.

const SHOWN = 12; // classes; of more the most probable ten
const STEP = 1 / 28; // of the canvas, by a key
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

class Drawing {
  constructor(model, part) {
    this.model = model;
    this.canvas = part.querySelector("#paper");
    this.seen = part.querySelector("#seen");
    this.bars = part.querySelector("#bars");
    this.said = part.querySelector("#said");
    this.told = part.querySelector("#told");
    this.about = part.querySelector("#about");
    this.strokes = [];
    this.pen = null; // where keys have moved it, and whether it is down
    this.chosen = null; // the class whose evidence is shown
    this.fixed = false; // whether that stays when the pointer leaves
    this.waiting = false;
    this.listen(part);
    this.makeBars();
    this.resize();
  }

  // ---- strokes

  listen(part) {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.go(event));
    canvas.addEventListener("pointerup", (event) => this.end(event));
    for (const name of ["pointercancel", "lostpointercapture"]) {
      canvas.addEventListener(name, (event) => this.drop(event)); // which may say no place
    }
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => this.lift());
    part.querySelector("#undo").addEventListener("click", () => this.undo());
    part.querySelector("#clear").addEventListener("click", () => this.clear());
    new ResizeObserver(() => this.resize()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.changed());
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const within = (share) => Math.min(1, Math.max(0, share)); // what is not seen is not read
    return [within((event.clientX - box.left) / box.width), within((event.clientY - box.top) / box.height)];
  }

  begin(event) {
    if (this.pointer !== undefined || event.button !== 0) return;
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.pointer = event.pointerId;
    this.pen = null;
    this.strokes.push([this.at(event)]);
    this.changed();
  }

  go(event) {
    if (event.pointerId !== this.pointer) return;
    if (event.type === "pointermove" && event.buttons === 0) return void this.drop(event); // its end was lost
    const between = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    for (const one of between.length ? between : [event]) this.strokes.at(-1).push(this.at(one));
    this.changed();
  }

  end(event) {
    if (event.pointerId !== this.pointer) return;
    this.go(event);
    this.drop(event);
  }

  drop(event) {
    if (event.pointerId !== this.pointer) return;
    this.pointer = undefined;
    this.changed();
  }

  key(event) {
    const undoes = event.key === "z" && (event.ctrlKey || event.metaKey) && !event.altKey;
    if (this.pointer !== undefined) return undefined;
    if ((event.ctrlKey || event.metaKey || event.altKey) && !undoes) return undefined;
    if (event.key in ARROWS) {
      const [dx, dy] = ARROWS[event.key];
      const [x, y] = this.pen ? this.pen.at : [0.5, 0.5];
      const bounded = (v) => Math.min(0.95, Math.max(0.05, v));
      const down = this.pen !== null && this.pen.down;
      this.pen = { at: [bounded(x + dx * STEP), bounded(y + dy * STEP)], down };
      if (down) this.strokes.at(-1).push(this.pen.at);
    } else if (event.key === " " || event.key === "Enter") {
      if (event.repeat) return event.preventDefault(); // a key that is held puts the pen down once
      this.pen = { at: this.pen ? this.pen.at : [0.5, 0.5], down: !(this.pen && this.pen.down) };
      if (this.pen.down) this.strokes.push([this.pen.at]);
    } else if (event.key === "Backspace" || undoes) {
      this.undo();
    } else if (event.key === "Delete" || event.key === "Escape") {
      this.clear();
    } else {
      return undefined;
    }
    event.preventDefault();
    return this.changed();
  }

  lift() {
    if (this.pen) this.pen.down = false;
    this.changed();
  }

  undo() {
    this.pointer = undefined;
    this.strokes.pop();
    this.lift();
  }

  clear() {
    this.pointer = undefined;
    this.strokes = [];
    this.lift();
  }

  // ---- what is shown

  changed() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.show();
    });
  }

  resize() {
    const sharp = Math.min(3, window.devicePixelRatio || 1);
    const side = Math.max(1, Math.round(this.canvas.clientWidth * sharp));
    if (this.canvas.width !== side) this.canvas.width = this.canvas.height = side;
    this.changed();
  }

  color(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  show() {
    const { model } = this;
    this.ink = imageOf(this.strokes, model.height, model.width);
    this.x = model.pixels(this.ink);
    this.P = model.probabilities(this.x);
    this.showStrokes();
    this.showBars();
    this.showSeen();
  }

  showStrokes() {
    const { width } = this.canvas;
    const brush = this.canvas.getContext("2d");
    brush.clearRect(0, 0, width, width);
    brush.lineCap = brush.lineJoin = "round";
    brush.lineWidth = width / 14;
    brush.strokeStyle = this.color("--text");
    for (const stroke of this.strokes) {
      brush.beginPath();
      brush.moveTo(stroke[0][0] * width, stroke[0][1] * width);
      for (const [x, y] of stroke) brush.lineTo(x * width, y * width);
      brush.stroke();
    }
    if (this.pen && document.activeElement === this.canvas) {
      const [x, y] = this.pen.at;
      brush.lineWidth = width / 100;
      brush.strokeStyle = this.color("--accent");
      brush.beginPath();
      brush.arc(x * width, y * width, width / (this.pen.down ? 40 : 20), 0, 2 * Math.PI);
      brush.stroke();
    }
  }

  makeBars() {
    const count = this.model.c <= SHOWN ? this.model.c : 10;
    const row = document.querySelector("#bar").content;
    for (let i = 0; i < count; i++) this.bars.append(row.cloneNode(true));
    [...this.bars.children].forEach((item) => {
      const button = item.querySelector("button");
      const choose = (fixed) => {
        this.fixed = fixed && !(this.fixed && this.chosen === item.place);
        this.chosen = item.place;
        this.showBars();
        this.showSeen();
      };
      const leave = () => {
        if (this.fixed) return;
        const focused = document.activeElement.closest("#bars li");
        this.chosen = focused && document.activeElement !== button ? focused.place : null;
        this.showSeen();
      };
      button.addEventListener("pointerenter", () => this.fixed || choose(false));
      button.addEventListener("pointerleave", leave);
      button.addEventListener("focus", () => this.fixed || choose(false));
      button.addEventListener("blur", leave);
      button.addEventListener("click", () => choose(true));
    });
  }

  showBars() {
    const empty = this.strokes.length === 0;
    const items = [...this.bars.children];
    const all = [...this.P.keys()];
    const best = [...all].sort((a, b) => this.P[b] - this.P[a]);
    const places = this.model.c <= SHOWN ? all : best.slice(0, items.length);
    if (this.fixed && !places.includes(this.chosen)) places[places.length - 1] = this.chosen;
    items.forEach((item, i) => {
      item.place = places[i];
      const share = empty ? 0 : this.P[item.place];
      item.querySelector(".label").textContent = this.model.classes[item.place];
      item.querySelector(".fill").style.width = `${(100 * share).toFixed(2)}%`;
      item.querySelector(".share").textContent = empty ? "–" : `${(100 * share).toFixed(1)} %`;
      item.classList.toggle("best", !empty && item.place === best[0]);
      const fixed = this.fixed && this.chosen === item.place;
      item.querySelector("button").setAttribute("aria-pressed", String(fixed));
    });
    const text = empty
      ? this.said.dataset.empty
      : `${this.model.classes[best[0]]}, ${(100 * this.P[best[0]]).toFixed(1)} %`;
    this.said.textContent = text;
    const drawing = this.pointer !== undefined || (this.pen !== null && this.pen.down);
    if (!drawing && this.told.textContent !== text) this.told.textContent = text; // read aloud, once a stroke
  }

  showSeen() {
    const { height, width } = this.model;
    const brush = this.seen.getContext("2d");
    const image = brush.createImageData(width, height);
    const drawn = this.chosen !== null && this.strokes.length > 0;
    const evidence = drawn ? this.model.evidence(this.x, this.chosen) : null;
    const most = evidence ? evidence.reduce((a, v) => Math.max(a, Math.abs(v)), 1e-300) : 1;
    for (let j = 0; j < height * width; j++) {
      const gray = evidence ? this.ink[j] * 0.25 : this.ink[j];
      let color = [gray, gray, gray];
      if (evidence) {
        const share = Math.sqrt(Math.abs(evidence[j]) / most);
        const full = evidence[j] > 0 ? [255, 140, 60] : [80, 160, 255];
        color = color.map((v, i) => v + (full[i] - v) * share);
      }
      image.data.set([...color, 255], 4 * j);
    }
    brush.putImageData(image, 0, 0);
    const { all, one } = this.about.dataset;
    this.about.textContent = drawn ? one.replace("{}", () => this.model.classes[this.chosen]) : all;
  }
}

const facts = JSON.parse(document.querySelector("#model").textContent);
const model = new Model(facts);
const drawing = new Drawing(model, document.querySelector("#draw"));
window.fastsoftmax = { model, drawing, imageOf, probabilities: (x) => [...model.probabilities(x)] };
