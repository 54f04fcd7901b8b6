"use strict";
// How the page shows masks, self-similarity, and the attention of segmenting networks.
// Each kind draws the three canvases "source", "translation" and "map", says what is seen, and
// names the controls that it needs.
/** Return the kinds of views besides "attention", by name. */
const Kinds = (page, paint) => {
  const { element, picture, moment, state } = page;
  const { colours } = paint;
  const { similarityRow, positionRow, cosine, quantile } = Attention;

  /** Draw both pictures with a map over them, as opaque as the reader wants. */
  function drawOver(shown, values, table) {
    const opacity = element("opacity").value / 100;
    const small = paint.colourMap(shown, values, table, () => opacity);
    for (const side of ["source", "translation"]) {
      const context = paint.prepare(element(side));
      paint.backdrop(context, side === "source" ? picture().source : moment().translation);
      if (opacity > 0) paint.overlay(context, small);
      paint.mark(context, shown);
    }
  }

  function drawMap(shown, values, table, size = shown) {
    const context = paint.prepare(element("map"));
    paint.overlay(context, paint.colourMap(size, values, table, () => 1));
    paint.mark(context, shown);
  }

  const range = (values) => {
    let low = Infinity, high = -Infinity;
    for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
    return [low, high];
  };

  /** Write a number in two digits, without zeros that say nothing. */
  const brief = (value) => String(Number(value.toPrecision(2)));

  const mask = {
    mapTitle: (shown) => shown.name[0].toUpperCase() + shown.name.slice(1),
    controls: ["opacity-box"],
    home: (shown) => shown.mask.indexOf(range(shown.mask)[1]),
    legend: (shown) => `The ${shown.name} has a value from 0 to 1 for every pixel: 0 (dark) means ` +
      `${shown.low}, 1 (bright) means ${shown.high}. The slider lays it over both pictures.`,
    draw(shown) {
      drawOver(shown, shown.mask, colours.mask);
      drawMap(shown, shown.mask, colours.mask);
      page.facts("map", `above 0.5 in ${page.percent(shown.share)} of the picture`);
      const value = shown.mask[state.place];
      page.readOut(`${this.mapTitle(shown)} ${value.toFixed(2)}`,
        ` (mostly ${value > 0.5 ? shown.high : shown.low}) at ${page.where(shown)}`);
      page.bars([["mask", `0: ${shown.low}`, "", `1: ${shown.high}`]]);
    },
    row: (shown) => shown.mask,
  };

  const similarity = {
    mapTitle: () => "Agreement of both rows",
    controls: [],
    home: (shown) => Math.floor(shown.height / 2) * shown.width + Math.floor(shown.width / 2),
    legend: (shown) => "What the circled place resembles in its own picture: red is alike, blue " +
      "opposite, clear neither. Colours that a whole picture shares drop out, so that where the " +
      "translation keeps the structure of the source both rows look alike. Their agreement is " +
      "the cosine of both rows, 1 where they are the same" +
      (shown.form === "tanh" ? "; a similarity is the tanh of a product of features." : "."),
    draw(shown) {
      const rows = {};
      for (const side of ["source", "translation"]) {
        rows[side] = similarityRow(shown, side, state.place);
      }
      for (const side of ["source", "translation"]) {
        const context = paint.prepare(element(side));
        const url = side === "source" ? picture().source : moment().translation;
        paint.backdrop(context, url, "pale");
        const full = Math.max(1e-6, quantile(rows[side].map(Math.abs), 0.98));
        const scaled = rows[side].map((value) => 0.5 + 0.5 * value / full);
        paint.overlay(context, paint.colourMap(shown, scaled, colours.similarity,
          (t) => Math.min(0.95, 3 * Math.abs(t - 0.5))));
        paint.mark(context, shown);
        const [low, high] = range(rows[side]);
        page.facts(side, `similarity ${low.toFixed(2)} to ${high.toFixed(2)}, full colour at ` +
          brief(full));
      }
      const [height, width] = shown.agreement_size, [low] = range(shown.agreement);
      const floor = Math.min(low, 0.99);
      drawMap(shown, shown.agreement.map((value) => (value - floor) / (1 - floor)),
        colours.agreement, { width, height });
      page.facts("map", "cosine of the rows of source and translation");
      page.readOut(`Agreement ${cosine(rows.source, rows.translation).toFixed(3)}`,
        ` between the rows of source and translation at ${page.where(shown)}`);
      page.bars([
        ["similarity", "opposite", `${shown.name}, to full colour`, "alike"],
        ["agreement", floor.toFixed(2), "agreement", "1"],
      ]);
    },
    row: similarityRow,
  };

  const position = {
    mapTitle: () => "Gathered from each place",
    controls: [],
    home: (shown) => Math.floor(shown.height / 2) * shown.width + Math.floor(shown.width / 2),
    legend: () => "Every place gathers features from all places, by weights that sum to 1. The " +
      "bright cells are where the circled place gathers from. The third map says how much " +
      "all places together gather from each one: 1 is an equal share.",
    draw(shown) {
      const row = positionRow(shown, state.place), [low, high] = range(row);
      const share = row.map((weight) => Math.sqrt((weight - low) / Math.max(high - low, 1e-12)));
      const small = paint.colourMap(shown, share, colours.heat,
        (t) => Math.min(0.9, 0.08 + 1.5 * t));
      for (const side of ["source", "translation"]) {
        const context = paint.prepare(element(side));
        const url = side === "source" ? picture().source : moment().translation;
        paint.backdrop(context, url, "dark");
        paint.overlay(context, small);
        paint.frame(context, shown, row.indexOf(high));
        paint.mark(context, shown);
      }
      page.facts("source",
        `${page.percent(row[state.place])} from itself, largest weight ${page.percent(high)}`);
      page.facts("translation", "the same weights");
      const [least, most] = range(shown.received);
      drawMap(shown, shown.received.map((value) =>
        Math.sqrt((value - least) / Math.max(most - least, 1e-12))), colours.received);
      page.facts("map", `from ${brief(least)} to ${brief(most)} equal shares`);
      page.readOut(`Gathers ${page.percent(high)} from one place`,
        `, ${page.where(shown, row.indexOf(high))}, and gives ` +
        `${brief(shown.received[state.place])} equal shares, at ${page.where(shown)}`);
      page.bars([
        ["heat", page.percent(low), "weight, square root scale", page.percent(high)],
        ["received", brief(least), "equal shares, square root scale", brief(most)],
      ]);
    },
    row: (shown, _side, place) => positionRow(shown, place),
  };

  const cellOf = (shown, number) => Math.floor(number / shown.block);
  const channelsOf = (shown, cell) => {
    const first = cell * shown.block, last = Math.min(shown.total, first + shown.block) - 1;
    return first === last ? `channel ${first}` : `channels ${first} to ${last}`;
  };

  const channel = {
    mapTitle: () => "Weights between channels",
    controls: ["opacity-box", "choice-box"],
    choices: (shown) => shown.numbers.map((number) => `channel ${number}`),
    home: (shown) => Math.floor(shown.height / 2) * shown.width + Math.floor(shown.width / 2),
    legend: (shown) => "Every channel (a row of the matrix) gathers from all channels (its " +
      "columns), by weights that sum to 1: point at the matrix to read them" +
      (shown.block > 1 ? `, the largest of ${shown.block} x ${shown.block} channels a cell. ` : ". ") +
      "Over both pictures lies the response of one channel, chosen above or by a click on its " +
      "column, from dark (lowest) to bright (highest).",
    draw(shown) {
      const places = shown.width * shown.height, number = shown.numbers[state.choice];
      const response = shown.channels.subarray(state.choice * places, (state.choice + 1) * places);
      drawOver(shown, response, colours.response);
      page.facts("source", `channel ${number} gives ` +
        `${brief(shown.shares[state.choice])} equal shares`);
      this.drawMatrix(shown, number);
      const [by, from] = state.cell.map((at) => Math.min(at, shown.cells - 1));
      const weight = shown.top * shown.matrix[by * shown.cells + from] ** 2;
      page.readOut(
        `Response ${response[state.place].toFixed(2)} of channel ${number}`,
        ` at ${page.where(shown)}. ${shown.block > 1 ? "Largest weight" : "Weight"} ` +
        `${brief(weight)}: ` +
        `${channelsOf(shown, by)} from ${channelsOf(shown, from)}`);
      page.facts("map", `${shown.total} channels, largest weight ${brief(shown.top)}`);
      page.bars([
        ["response", "lowest", "response of the channel", "highest"],
        ["matrix", "0", "weight, square root scale", brief(shown.top)],
      ]);
    },
    drawMatrix(shown, number) {
      const size = { width: shown.cells, height: shown.cells };
      const context = paint.prepare(element("map"), size);
      context.imageSmoothingEnabled = false;
      context.drawImage(paint.colourMap(size, shown.matrix, colours.matrix, () => 1), 0, 0);
      context.lineWidth = shown.cells / Math.max(1, element("map").clientWidth);
      context.strokeStyle = "rgba(255,255,255,.75)";
      context.strokeRect(cellOf(shown, number), 0, 1, shown.cells);
      context.lineWidth *= 2;
      context.strokeStyle = paint.QUERY;
      context.strokeRect(state.cell[1] - 0.5, state.cell[0] - 0.5, 2, 2);
    },
    /** Take a point of the matrix; others are for the page. */
    point(shown, canvas, x, y, pressed) {
      if (canvas !== "map") return false;
      const at = (part) => Math.min(shown.cells - 1, Math.max(0, Math.floor(part * shown.cells)));
      state.cell = [at(y), at(x)];
      const chosen = shown.numbers.findIndex((number) => cellOf(shown, number) === state.cell[1]);
      if (pressed && chosen >= 0) page.choose(chosen);
      return true;
    },
    row: (shown) => shown.channels,
  };

  const scale = {
    mapTitle: () => "Heaviest scale",
    controls: ["opacity-box", "choice-box"],
    choices: (shown) => shown.scales.map((size) => `scale ${size}`),
    home: (shown) => Math.floor(shown.height / 2) * shown.width + Math.floor(shown.width / 2),
    legend: () => "The network looks at the picture in several sizes and decides at every pixel " +
      "how much to trust each: the weights sum to 1. Scale 1 is the picture as it is. Over both " +
      "pictures lie the weights of the scale chosen above, bright where it says most.",
    draw(shown) {
      const places = shown.width * shown.height;
      const of = (number, place) => shown.weights[number * places + place];
      drawOver(shown, shown.weights.subarray(state.choice * places, (state.choice + 1) * places),
        colours.weight);
      const heaviest = Int32Array.from({ length: places }, (_, place) => shown.scales.reduce(
        (best, _scale, number) => (of(number, place) > of(best, place) ? number : best), 0));
      const context = paint.prepare(element("map"));
      paint.overlay(context, paint.cells(shown, places,
        (place) => [...shown.colours[heaviest[place]], 255]));
      paint.mark(context, shown);
      page.key(shown.scales.map((size, number) =>
        [shown.colours[number], `${size}: ${Math.round(100 * shown.shares[number])} %`]));
      const each = shown.scales.map(
        (size, number) => `scale ${size}: ${of(number, state.place).toFixed(2)}`);
      page.readOut(`Scale ${shown.scales[heaviest[state.place]]} weighs most`,
        ` at ${page.where(shown)}: ${each.join(", ")}`);
      page.bars([["weight", "0", `weight of scale ${shown.scales[state.choice]}`, "1"]]);
    },
    row: (shown) => shown.weights,
  };

  return { mask, similarity, position, channel, scale };
};
