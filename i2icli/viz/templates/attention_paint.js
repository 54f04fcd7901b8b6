"use strict";
// Draws pictures, maps and marks on canvases; what a map means is known in attention_kinds.js.
/** Return the brushes of a page, which knows its `picture`, its colours and how to redraw. */
const Paint = (page) => {
  const QUERY = "#00e5ff";
  const { picture, colours } = page;
  const images = new Map();

  function image(url) {
    if (!images.has(url)) {
      const loading = new Image();
      loading.onload = page.redraw;
      loading.src = url;
      images.set(url, loading);
    }
    return images.get(url);
  }

  function centre(shown, place) {
    const [height, width] = picture().covered;
    return [((place % shown.width) + 0.5) * width / shown.width,
            (Math.floor(place / shown.width) + 0.5) * height / shown.height];
  }

  /** Return a canvas with a map in colours, a pixel a place; values run from 0 to 1. */
  function colourMap(size, values, table, opacity) {
    return cells(size, values.length, (i) => {
      const index = 3 * Math.round(255 * Math.min(1, Math.max(0, values[i])));
      return [...table.subarray(index, index + 3), 255 * opacity(values[i])];
    });
  }

  /** Return a canvas whose pixels a function of their number colours, [red, green, blue, alpha]. */
  function cells(size, count, colourOf) {
    const small = document.createElement("canvas");
    small.width = size.width;
    small.height = size.height;
    const pixels = new ImageData(size.width, size.height);
    for (let i = 0; i < count; i++) pixels.data.set(colourOf(i), 4 * i);
    small.getContext("2d").putImageData(pixels, 0, 0);
    return small;
  }

  /** Size a canvas for the screen and return its context, in pixels of the picture. */
  function prepare(canvas, size = picture()) {
    const { width, height } = size;
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

  /** Draw a picture as it is, dark for bright colours, or pale for dark ones. */
  function backdrop(context, url, look = "plain") {
    const loaded = image(url), { width, height } = picture();
    if (!loaded.complete) return;
    if (look === "pale") {
      context.fillStyle = "#ffffff";
      context.fillRect(0, 0, width, height);
      context.globalAlpha = 0.42;
    }
    context.filter = {
      plain: "none", dark: "grayscale(0.75) brightness(0.72)", pale: "grayscale(1)",
    }[look];
    context.drawImage(loaded, 0, 0, width, height);
    context.filter = "none";
    context.globalAlpha = 1;
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

  /** Circle the place that the reader points at. */
  function mark(context, shown) {
    const unit = picture().covered[1] / shown.width;
    const line = 1.8 * screenPixel(context.canvas);
    circle(context, shown, page.state.place, Math.max(0.75 * unit, 3.5 * line), QUERY, line);
  }

  /** Draw a colour bar, 256 pixels wide. */
  function bar(canvas, table) {
    const pixels = new ImageData(256, 1);
    for (let i = 0; i < 256; i++) {
      pixels.data.set([...table.subarray(3 * i, 3 * i + 3), 255], 4 * i);
    }
    canvas.getContext("2d").putImageData(pixels, 0, 0);
  }

  return {
    QUERY, colours, centre, colourMap, cells, prepare, screenPixel, overlay, backdrop, frame, mark,
    bar,
  };
};
