"use strict";
// The page itself: which picture, checkpoint and layer is shown, and what the reader's hand does.
(() => {
  const DATA = JSON.parse(document.getElementById("data").textContent);
  const CANVASES = ["source", "translation", "map"];
  const element = (id) => document.getElementById(id);
  const state = { picture: 0, step: 0, layer: 0, place: 0, held: false, choice: 0, cell: [0, 0] };

  const { bytes, unpack } = Attention;
  const picture = () => DATA.pictures[state.picture];
  const moment = () => picture().moments[state.step];
  const layer = () => unpack(moment().layers[state.layer]);
  const kind = () => KINDS[layer().kind];
  const percent = (value) =>
    (100 * value).toFixed(value >= 0.1 ? 1 : 2) + " %";

  // --- what kinds of views write on the page ----------------------------------------------------

  /** Say where a place is. */
  function where(shown, place = state.place) {
    return `column ${place % shown.width + 1}, row ${Math.floor(place / shown.width) + 1} of ` +
      `${shown.width} x ${shown.height}`;
  }

  function readOut(strong, rest) {
    const out = element("readout"), bold = document.createElement("b");
    bold.textContent = strong;
    out.replaceChildren(bold, `${rest}${state.held ? "; held" : ""}`);
  }

  function facts(canvas, text) {
    element(`${canvas}-facts`).textContent = text;
  }

  /** Write what colours mean that are no scale. */
  function key(entries) {
    element("map-facts").replaceChildren(...entries.flatMap(([rgb, text]) => {
      const patch = document.createElement("i");
      patch.style.background = `rgb(${rgb.join(",")})`;
      return [patch, `${text}   `];
    }));
  }

  /** Show up to three colour bars: colours, lowest, meaning, highest. */
  function bars(wanted) {
    for (const [i, box] of [...element("scales").children].entries()) {
      box.hidden = i >= wanted.length;
      if (box.hidden) continue;
      const [colours, ...texts] = wanted[i];
      paint.bar(box.querySelector("canvas"), COLOURS[colours]);
      for (const [k, span] of [...box.querySelectorAll("span")].entries()) {
        span.textContent = texts[k];
      }
    }
  }

  function choose(number) {
    state.choice = number;
    element("choice").value = number;
    redraw();
  }

  const COLOURS = Object.fromEntries(
    Object.entries(DATA.about.colours).map(([name, text]) => [name, bytes(text)]));
  const page = {
    element, picture, moment, state, percent, where, readOut, facts, key, bars, choose, redraw,
    colours: COLOURS,
  };
  const paint = Paint(page);
  const KINDS = { attention: SelectedAttention(page, paint), ...Kinds(page, paint) };

  // --- what is shown ---------------------------------------------------------------------------

  function draw() {
    const shown = layer();
    state.place = Math.min(state.place, shown.width * shown.height - 1);
    if (shown.kind !== "attention") hideWindows();
    for (const canvas of CANVASES) facts(canvas, "");
    kind().draw(shown);
    element("map-title").textContent = kind().mapTitle(shown);
    element("home").textContent = kind().homeName || "place that is shown at first";
    element("legend").textContent = kind().legend(shown);
    element("layer-name").value = shown.layer;
    element("step-name").value = `step ${moment().step}`;
    for (const id of CANVASES) {
      element(id).setAttribute("aria-label", `${id} of ${picture().name}. ` +
        element("readout").textContent);
    }
  }

  function hideWindows() {
    for (const side of ["source", "translation"]) element(`${side}-window`).hidden = true;
  }

  /** Show the controls that the layer's kind needs, and what can be chosen. */
  function setControls() {
    for (const id of ["selected-box", "routing-box", "opacity-box", "choice-box"]) {
      element(id).hidden = !kind().controls.includes(id);
    }
    const names = kind().choices ? kind().choices(layer()) : [];
    state.choice = Math.min(state.choice, Math.max(0, names.length - 1));
    element("choice").replaceChildren(...names.map((name, i) => new Option(name, i)));
    element("choice").value = state.choice;
  }

  let waiting = false;
  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  }

  // --- what the reader does --------------------------------------------------------------------

  function pointAt(event) {
    const canvas = event.currentTarget, box = canvas.getBoundingClientRect(), shown = layer();
    const partX = (event.clientX - box.left) / box.width;
    const partY = (event.clientY - box.top) / box.height;
    const pressed = event.type === "pointerdown";
    if (kind().point && kind().point(shown, canvas.id, partX, partY, pressed)) {
      redraw();
      return;
    }
    const [height, width] = picture().covered;
    const x = partX * picture().width, y = partY * picture().height;
    const column = Math.min(shown.width - 1, Math.max(0, Math.floor(x * shown.width / width)));
    const row = Math.min(shown.height - 1, Math.max(0, Math.floor(y * shown.height / height)));
    select(row * shown.width + column);
  }

  function select(place) {
    if (place === state.place) return;
    state.place = place;
    redraw();
  }

  function show(changes) {
    const before = layer(), at = [(state.place % before.width + 0.5) / before.width,
      (Math.floor(state.place / before.width) + 0.5) / before.height];
    Object.assign(state, changes);
    state.layer = Math.min(state.layer, moment().layers.length - 1);
    const after = layer();  // the same spot, where the map has another size
    state.place = Math.floor(at[1] * after.height) * after.width + Math.floor(at[0] * after.width);
    element("layer").max = moment().layers.length - 1;
    element("layer").value = state.layer;
    element("step").value = state.step;
    for (const [i, button] of [...element("pictures").children].entries()) {
      button.setAttribute("aria-pressed", String(i === state.picture));
    }
    element("made").textContent = picture().made[0].toUpperCase() + picture().made.slice(1);
    setControls();
    redraw();
  }

  function onKey(event) {
    const shown = layer(), stride = event.shiftKey ? 4 : 1;
    const row = Math.floor(state.place / shown.width), column = state.place % shown.width;
    const move = (y, x) => select(
      Math.min(shown.height - 1, Math.max(0, row + y)) * shown.width +
      Math.min(shown.width - 1, Math.max(0, column + x)));
    const actions = {
      ArrowUp: () => move(-stride, 0), ArrowDown: () => move(stride, 0),
      ArrowLeft: () => move(0, -stride), ArrowRight: () => move(0, stride),
      Home: () => select(kind().home(shown)),
      PageUp: () => show({ layer: Math.min(state.layer + 1, moment().layers.length - 1) }),
      PageDown: () => show({ layer: Math.max(state.layer - 1, 0) }),
      Enter: () => hold(!state.held), Escape: () => hold(false),
    };
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  }

  function hold(held) {
    state.held = held;
    redraw();
  }

  for (const id of CANVASES) {
    const canvas = element(id);
    canvas.addEventListener("pointermove", (event) => { if (!state.held) pointAt(event); });
    canvas.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "mouse") hold(!state.held);
      pointAt(event);
    });
    canvas.addEventListener("keydown", onKey);
  }
  element("layer").addEventListener("input", (e) => show({ layer: Number(e.target.value) }));
  element("step").addEventListener("input", (e) => show({ step: Number(e.target.value) }));
  element("choice").addEventListener("change", (e) => choose(Number(e.target.value)));
  for (const id of ["selected", "routing"]) element(id).addEventListener("change", redraw);
  element("opacity").addEventListener("input", redraw);
  window.addEventListener("resize", redraw);

  for (const [i, item] of DATA.pictures.entries()) {
    const button = document.createElement("button"), thumb = new Image();
    thumb.src = item.picture.source;
    thumb.alt = item.picture.name;
    button.title = item.picture.name;
    button.type = "button";
    button.append(thumb);
    button.addEventListener("click", () => show({ picture: i }));
    element("pictures").append(button);
  }
  // The picture's own facts lie beside its moments.
  DATA.pictures = DATA.pictures.map((item) => ({ ...item.picture, moments: item.moments }));
  element("pictures").hidden = DATA.pictures.length < 2;
  element("step").max = DATA.about.steps.length - 1;
  element("step-box").hidden = DATA.about.steps.length < 2;
  const values = DATA.pictures.every((item) => item.moments.every(
    (one) => one.layers.every((found) => found.kind === "attention"))) ? "Weights" : "Values";
  element("notes").textContent = [
    ...DATA.about.notes,
    `${values} differ from the exact ones by at most ${DATA.about.error.toPrecision(1)} ` +
      (values === "Weights" ? "(features in 16 bits; the largest difference in the rows tried)."
        : "(numbers in few bits; the largest difference in what was tried)."),
    `Method ${DATA.about.method}. Made by i2i ${DATA.about.version}.`,
  ].join(" ");
  show({ step: DATA.about.steps.length - 1 });
  state.place = kind().home(layer());
  draw();

  // For scripts and tests: the numbers behind the pictures.
  const numbers = (name) => (...wanted) => kind().numbers(layer())[name](...wanted);
  window.attention = {
    state, show, select,
    mapRow: (side, place) => Array.from(kind().row(layer(), side, place)),
    windowRow: numbers("windowRow"), rank: numbers("rank"), entropy: numbers("entropy"),
  };
})();
