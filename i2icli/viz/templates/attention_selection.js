"use strict";
// Query-selected attention on the page: rows over both pictures, windows, and the entropy map.
/** Return how the page shows the kind "attention". */
const SelectedAttention = (page, paint) => {
  const { element, picture, moment, state } = page;
  const { mapRow, windowRow, shownRow } = Attention;
  const { colours } = paint;
  const SIDES = ["source", "translation"];

  function nats(value) {
    const number = Math.max(0, value);
    return number === 0 || number >= 0.005 ? number.toFixed(2) : number.toExponential(0);
  }

  function drawSelected(context, shown) {
    const unit = picture().covered[1] / shown.width;
    for (let i = shown.places.length - 1; i >= 0; i--) {
      const index = 3 * Math.round(255 * i / Math.max(1, shown.places.length - 1));
      const [r, g, b] = colours.rank.subarray(index, index + 3);
      const [x, y] = paint.centre(shown, shown.places[i]);
      context.beginPath();
      context.arc(x, y, 0.36 * unit, 0, 2 * Math.PI);
      context.fillStyle = `rgb(${r},${g},${b})`;
      context.fill();
      context.lineWidth = 0.08 * unit;
      context.strokeStyle = "rgba(0,0,0,.8)";
      context.stroke();
    }
  }

  function outlineWindow(context, shown) {
    if (shown.selection === "global") return;
    const unit = picture().covered[1] / shown.width, high = picture().covered[0] / shown.height;
    const [x, y] = paint.centre(shown, state.place);
    context.lineWidth = 1.8 * paint.screenPixel(context.canvas);
    context.strokeStyle = paint.QUERY;
    context.strokeRect(x - unit * shown.window / 2, y - high * shown.window / 2,
      unit * shown.window, high * shown.window);
  }

  function drawSide(shown, side) {
    const context = paint.prepare(element(side));
    paint.backdrop(context, side === "source" ? picture().source : moment().translation, "dark");
    const by = side === "source" ? "source" : element("routing").value;
    const row = shownRow(shown, by, state.place);
    let top = 0, strongest = 0;
    row.forEach((weight, i) => { if (weight > top) { top = weight; strongest = i; } });
    const share = row.map((weight) => Math.sqrt(weight / Math.max(top, 1e-12)));
    paint.overlay(context,
      paint.colourMap(shown, share, colours.heat, (t) => Math.min(0.9, 0.08 + 1.5 * t)));
    if (element("selected").checked) drawSelected(context, shown);
    if (top && strongest !== state.place) paint.frame(context, shown, strongest);
    paint.mark(context, shown);
    outlineWindow(context, shown);
    const near = drawWindow(element(`${side}-window`), shown, by);
    page.facts(side, top
      ? `${page.percent(row[state.place])} to itself, largest weight ${page.percent(top)}` : "");
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
      const [r, g, b] = colours.heat.subarray(index, index + 3);
      const x = cell * (i % shown.window), y = cell * Math.floor(i / shown.window);
      context.fillStyle = `rgb(${r},${g},${b})`;
      context.fillRect(x, y, cell, cell);
      context.fillStyle = share > 0.65 ? "#000" : "#fff";
      context.fillText(Math.round(100 * weight), x + cell / 2, y + cell / 2);
    });
    if (shown.layout === "released") return top;
    const middle = cell * (shown.window - 1) / 2;
    context.lineWidth = 3;
    context.strokeStyle = paint.QUERY;
    context.strokeRect(middle + 1, middle + 1, cell - 2, cell - 2);
    return top;
  }

  /** Draw the map of entropy; return its smallest and largest value. */
  function drawEntropy(shown) {
    const context = paint.prepare(element("map"));
    const values = shown.entropy.source;
    let low = Infinity, high = -Infinity;
    for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
    low = Math.max(0, low);
    const range = Math.max(high - low, 1e-6);
    const scaled = Float64Array.from(values, (value) => (value - low) / range);
    paint.overlay(context, paint.colourMap(shown, scaled, colours.entropy, () => 1));
    if (element("selected").checked) drawSelected(context, shown);
    paint.mark(context, shown);
    page.facts("map", `${shown.places.length} of ${values.length} places are selected`);
    return [low, high];
  }

  function readOut(shown) {
    const place = state.place, chosen = shown.places.indexOf(place) >= 0;
    page.readOut(
      `Entropy ${nats(shown.entropy.source[place])} nats, rank ${shown.rank[place]} of ` +
        `${shown.rank.length}`,
      ` (${chosen ? "selected" : "not selected"}) at ${page.where(shown)}; in the translation ` +
        `${nats(shown.entropy.translation[place])} nats`);
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

  return {
    mapTitle: () => "Entropy of the source",
    controls: ["selected-box", "routing-box"],
    homeName: "place of rank 1",
    home: (shown) => shown.rank.indexOf(1),
    legend: (shown) => LEGENDS[shown.selection] +
      (shown.selection !== "global" && shown.layout === "released" ? MIXED : ""),
    draw(shown) {
      const [top] = SIDES.map((side) => drawSide(shown, side));
      const [low, high] = drawEntropy(shown);
      readOut(shown);
      page.bars([
        ["heat", "0", "weight in the source, square root scale", page.percent(top)],
        ["rank", "1", "rank of selected places", shown.places.length],
        ["entropy", nats(low), "entropy, nats", `${nats(high)} (at most ${shown.bound.toFixed(2)})`],
      ]);
    },
    row: mapRow,
    numbers: (shown) => ({
      windowRow: (side, place) => Array.from(windowRow(shown, side, place)),
      rank: (place) => shown.rank[place],
      entropy: (side, place) => shown.entropy[side][place],
    }),
  };
};
