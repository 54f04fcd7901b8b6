"use strict";
// Draws what attention_numbers.js computes and follows the reader's hand.
(() => {
  const DATA = JSON.parse(document.getElementById("data").textContent);
  const SIDES = ["source", "translation"];
  const QUERY = "#00e5ff";
  const element = (id) => document.getElementById(id);
  const state = { picture: 0, step: 0, layer: 0, place: 0, held: false };

  const { bytes, unpack, mapRow, windowRow, shownRow } = Attention;
  const COLOURS = Object.fromEntries(
    Object.entries(DATA.about.colours).map(([name, text]) => [name, bytes(text)]));

  // --- what is shown ---------------------------------------------------------------------------

  const picture = () => DATA.pictures[state.picture];
  const moment = () => picture().moments[state.step];
  const layer = () => unpack(moment().layers[state.layer]);
  const images = new Map();

  function image(url) {
    if (!images.has(url)) {
      const loading = new Image();
      loading.onload = draw;
      loading.src = url;
      images.set(url, loading);
    }
    return images.get(url);
  }

  function nats(value) {
    const number = Math.max(0, value);
    return number === 0 || number >= 0.005 ? number.toFixed(2) : number.toExponential(0);
  }
  const percent = (value) =>
    (100 * value).toFixed(value >= 0.1 ? 1 : 2) + " %";

  function centre(shown, place) {
    const [height, width] = picture().covered;
    return [((place % shown.width) + 0.5) * width / shown.width,
            (Math.floor(place / shown.width) + 0.5) * height / shown.height];
  }

  /** Return a canvas with a map in colours, a pixel a place. */
  function colourMap(shown, values, colours, opacity) {
    const small = document.createElement("canvas");
    small.width = shown.width;
    small.height = shown.height;
    const pixels = new ImageData(shown.width, shown.height);
    for (let i = 0; i < values.length; i++) {
      const index = 3 * Math.round(255 * Math.min(1, Math.max(0, values[i])));
      pixels.data.set(colours.subarray(index, index + 3), 4 * i);
      pixels.data[4 * i + 3] = 255 * opacity(values[i]);
    }
    small.getContext("2d").putImageData(pixels, 0, 0);
    return small;
  }

  /** Size a canvas for the screen and return its context, in pixels of the picture. */
  function prepare(canvas) {
    const { width, height } = picture();
    const scale = Math.max(1, Math.ceil(900 / Math.max(width, height)));
    if (canvas.width !== width * scale || canvas.height !== height * scale) {
      canvas.width = width * scale;
      canvas.height = height * scale;
    }
    const context = canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    return context;
  }

  /** Return a pixel of the screen in pixels of the picture, so that lines are as wide on any. */
  const screenPixel = (canvas) => picture().width / Math.max(1, canvas.clientWidth);

  function overlay(context, small) {
    const [height, width] = picture().covered;
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, width, height);
  }

  function circle(context, shown, place, radius, colour, width) {
    const [x, y] = centre(shown, place);
    for (const [line, style] of [[width * 2, "rgba(0,0,0,.65)"], [width, colour]]) {
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.lineWidth = line;
      context.strokeStyle = style;
      context.stroke();
    }
  }

  /** Frame one cell, which may be hard to find among thousands. */
  function frame(context, shown, place) {
    const [x, y] = centre(shown, place);
    const wide = 1.7 * picture().covered[1] / shown.width;
    const high = 1.7 * picture().covered[0] / shown.height;
    context.lineWidth = screenPixel(context.canvas);
    context.strokeStyle = "#ffffff";
    context.strokeRect(x - wide / 2, y - high / 2, wide, high);
  }

  function drawSelected(context, shown) {
    const unit = picture().covered[1] / shown.width;
    for (let i = shown.places.length - 1; i >= 0; i--) {
      const index = 3 * Math.round(255 * i / Math.max(1, shown.places.length - 1));
      const [r, g, b] = COLOURS.rank.subarray(index, index + 3);
      const [x, y] = centre(shown, shown.places[i]);
      context.beginPath();
      context.arc(x, y, 0.36 * unit, 0, 2 * Math.PI);
      context.fillStyle = `rgb(${r},${g},${b})`;
      context.fill();
      context.lineWidth = 0.08 * unit;
      context.strokeStyle = "rgba(0,0,0,.8)";
      context.stroke();
    }
  }

  function mark(context, shown, withWindow) {
    const unit = picture().covered[1] / shown.width;
    const line = 1.8 * screenPixel(context.canvas);
    circle(context, shown, state.place, Math.max(0.75 * unit, 3.5 * line), QUERY, line);
    if (!withWindow || shown.selection === "global") return;
    const [x, y] = centre(shown, state.place);
    const high = picture().covered[0] / shown.height;
    context.lineWidth = line;
    context.strokeStyle = QUERY;
    context.strokeRect(x - unit * shown.window / 2, y - high * shown.window / 2,
      unit * shown.window, high * shown.window);
  }

  function drawSide(side) {
    const shown = layer(), context = prepare(element(side));
    const url = side === "source" ? picture().source : moment().translation;
    const loaded = image(url), { width, height } = picture();
    if (loaded.complete) {
      context.filter = "grayscale(0.75) brightness(0.72)";
      context.drawImage(loaded, 0, 0, width, height);
      context.filter = "none";
    }
    const by = side === "source" ? "source" : element("routing").value;
    const row = shownRow(shown, by, state.place);
    let top = 0, strongest = 0;
    row.forEach((weight, i) => { if (weight > top) { top = weight; strongest = i; } });
    const share = row.map((weight) => Math.sqrt(weight / Math.max(top, 1e-12)));
    overlay(context, colourMap(shown, share, COLOURS.heat, (t) => Math.min(0.9, 0.08 + 1.5 * t)));
    if (element("selected").checked) drawSelected(context, shown);
    if (top && strongest !== state.place) frame(context, shown, strongest);
    mark(context, shown, true);
    const near = drawWindow(element(`${side}-window`), shown, by);
    element(`${side}-facts`).textContent =
      top ? `${percent(row[state.place])} to itself, largest weight ${percent(top)}` : "";
    return top || near;
  }

  /** Draw a window enlarged, weights in percent; return the largest. */
  function drawWindow(canvas, shown, side) {
    canvas.hidden = shown.selection === "global";
    if (canvas.hidden) return 0;
    const weights = windowRow(shown, side, state.place), cell = 40;
    canvas.width = canvas.height = cell * shown.window;
    const context = canvas.getContext("2d"), top = Math.max(...weights);
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.font = "13px system-ui, sans-serif";
    weights.forEach((weight, i) => {
      const share = Math.sqrt(weight / top), index = 3 * Math.round(255 * share);
      const [r, g, b] = COLOURS.heat.subarray(index, index + 3);
      const x = cell * (i % shown.window), y = cell * Math.floor(i / shown.window);
      context.fillStyle = `rgb(${r},${g},${b})`;
      context.fillRect(x, y, cell, cell);
      context.fillStyle = share > 0.65 ? "#000" : "#fff";
      context.fillText(Math.round(100 * weight), x + cell / 2, y + cell / 2);
    });
    if (shown.layout === "released") return top;
    const middle = cell * (shown.window - 1) / 2;
    context.lineWidth = 3;
    context.strokeStyle = QUERY;
    context.strokeRect(middle + 1, middle + 1, cell - 2, cell - 2);
    return top;
  }

  function drawEntropy() {
    const shown = layer(), context = prepare(element("entropy"));
    const values = shown.entropy.source;
    let low = Infinity, high = -Infinity;
    for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
    low = Math.max(0, low);
    const range = Math.max(high - low, 1e-6);
    const scaled = Float64Array.from(values, (value) => (value - low) / range);
    overlay(context, colourMap(shown, scaled, COLOURS.entropy, () => 1));
    if (element("selected").checked) drawSelected(context, shown);
    mark(context, shown, false);
    element("entropy-facts").textContent =
      `${shown.places.length} of ${values.length} places are selected`;
    element("entropy-low").textContent = nats(low);
    element("entropy-high").textContent = `${nats(high)} (at most ${shown.bound.toFixed(2)})`;
    element("rank-top").textContent = shown.places.length;
  }

  function readOut() {
    const shown = layer(), place = state.place, rank = shown.rank[place];
    const chosen = shown.places.indexOf(place) >= 0;
    const out = element("readout");
    out.textContent = "";
    const strong = document.createElement("b");
    strong.textContent =
      `Entropy ${nats(shown.entropy.source[place])} nats, rank ${rank} of ${shown.rank.length}`;
    out.append(strong, ` (${chosen ? "selected" : "not selected"}) at column ` +
      `${place % shown.width + 1}, row ${Math.floor(place / shown.width) + 1} of ${shown.width} x ` +
      `${shown.height}; in the translation ${nats(shown.entropy.translation[place])} nats` +
      `${state.held ? "; held" : ""}`);
  }

  const LEGENDS = {
    global: "Each place of the picture attends to all places by how alike their features are; where " +
      "attention is concentrated on few places its entropy is low, and the places of lowest entropy " +
      "are those that QS-Attn contrasts. The bright cells are what the circled place attends to: " +
      "in the source, and in the translation at the same place.",
    local: "Each place of the picture attends to a window around it by how alike the features are; " +
      "where attention is concentrated on few places its entropy is low, and the places of lowest " +
      "entropy are those that QS-Attn contrasts. The bright cells, enlarged below, are what the " +
      "circled place attends to: in the source, and in the translation at the same place.",
  };
  LEGENDS["local-global"] = "Entropy is measured in a window around each place, and the places of " +
    "lowest entropy are those that QS-Attn contrasts, with features gathered from the whole " +
    "picture. The bright cells are what the circled place attends to in all of the picture, and " +
    "enlarged below in its window: in the source, and in the translation at the same place.";

  const MIXED = " In the layout of the released code a cell of the window mixes channels of several " +
    "places: the cells are in reading order and are no places.";

  function draw() {
    const shown = layer();
    state.place = Math.min(state.place, shown.rank.length - 1);
    const top = SIDES.map(drawSide)[0];
    drawEntropy();
    readOut();
    element("heat-top").textContent = percent(top);
    element("legend").textContent = LEGENDS[shown.selection] +
      (shown.selection !== "global" && shown.layout === "released" ? MIXED : "");
    element("layer-name").value = shown.layer;
    element("step-name").value = `step ${moment().step}`;
    for (const id of [...SIDES, "entropy"]) {
      element(id).setAttribute("aria-label", `${id} of ${picture().name}. ` +
        element("readout").textContent);
    }
  }

  // --- what the reader does --------------------------------------------------------------------

  let waiting = false;
  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  }

  function pointAt(event) {
    const box = event.currentTarget.getBoundingClientRect(), shown = layer();
    const [height, width] = picture().covered;
    const x = (event.clientX - box.left) / box.width * picture().width;
    const y = (event.clientY - box.top) / box.height * picture().height;
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
      Home: () => select(shown.rank.indexOf(1)),
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

  for (const id of [...SIDES, "entropy"]) {
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
  element("selected").addEventListener("change", redraw);
  element("routing").addEventListener("change", redraw);
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
  for (const name of ["heat", "rank", "entropy"]) {
    const context = element(`${name}-bar`).getContext("2d"), bar = new ImageData(256, 1);
    for (let i = 0; i < 256; i++) {
      bar.data.set([...COLOURS[name].subarray(3 * i, 3 * i + 3), 255], 4 * i);
    }
    context.putImageData(bar, 0, 0);
  }
  element("notes").textContent = [
    ...DATA.about.notes,
    `Weights differ from the exact ones by at most ${DATA.about.error.toPrecision(1)} ` +
      `(features in 16 bits; the largest difference in the rows tried).`,
    `Method ${DATA.about.method}. Made by i2i ${DATA.about.version}.`,
  ].join(" ");
  show({ step: DATA.about.steps.length - 1 });
  state.place = layer().rank.indexOf(1);
  draw();

  // For scripts and tests: the numbers behind the pictures.
  window.attention = {
    state, show, select,
    mapRow: (side, place) => Array.from(mapRow(layer(), side, place)),
    windowRow: (side, place) => Array.from(windowRow(layer(), side, place)),
    rank: (place) => layer().rank[place],
    entropy: (side, place) => layer().entropy[side][place],
  };
})();
