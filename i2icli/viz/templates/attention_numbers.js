"use strict";
// What the page holds, unpacked, and rows computed from its features. Nothing is drawn here.
const Attention = (() => {
  function bytes(text) {
    const raw = atob(text);
    const array = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) array[i] = raw.charCodeAt(i);
    return array;
  }
  const decoded = new Map();  // of the layer shown and those seen lately
  const KEPT = 8;

  const floats = (text) => new Float32Array(bytes(text).buffer);

  /** Return numbers of 0 to 255 as parts of one. */
  const parts = (text) => Float32Array.from(bytes(text), (value) => value / 255);

  /** Return vectors of whole numbers, a scale an axis. */
  function vectors(packed) {
    const raw = bytes(packed.values).buffer;
    return {
      rank: packed.rank,
      values: packed.bytes === 1 ? new Int8Array(raw) : new Int16Array(raw),
      scales: floats(packed.scales),
    };
  }

  const unpackers = {
    attention: unpackAttention,
    mask: (layer) => ({ ...layer, mask: parts(layer.mask) }),
    similarity: (layer) => ({
      ...layer,
      features: {
        source: vectors(layer.features.source), translation: vectors(layer.features.translation),
      },
      agreement: floats(layer.agreement),
    }),
    position: (layer) => ({
      ...layer, queries: vectors(layer.queries), keys: vectors(layer.keys),
      received: floats(layer.received),
    }),
    channel: (layer) => ({
      ...layer, matrix: parts(layer.matrix), channels: parts(layer.channels),
    }),
    scale: (layer) => ({ ...layer, weights: parts(layer.weights) }),
  };

  /** Return a layer with its numbers as arrays. */
  function unpack(layer) {
    if (decoded.has(layer)) return decoded.get(layer);
    const ready = unpackers[layer.kind](layer);
    if (decoded.size >= KEPT) decoded.delete(decoded.keys().next().value);
    decoded.set(layer, ready);
    return ready;
  }

  function unpackAttention(layer) {
    const ready = {
      ...layer,
      places: new Int32Array(bytes(layer.places).buffer),
      entropy: {}, features: {},
    };
    for (const side of ["source", "translation"]) {
      const packed = layer.features[side];
      ready.entropy[side] = floats(layer.entropy[side]);
      ready.features[side] = {
        ...vectors(packed), constant: packed.constant, bias: floats(packed.bias),
      };
    }
    ready.rank = ranks(ready.entropy.source);
    return ready;
  }

  /** Return every place's rank by entropy, from 1; ties in order of position. */
  function ranks(entropy) {
    const order = Array.from(entropy.keys()).sort((i, k) => entropy[i] - entropy[k] || i - k);
    const rank = new Int32Array(entropy.length);
    order.forEach((place, i) => { rank[place] = i + 1; });
    return rank;
  }

  function softmax(logits) {
    let top = -Infinity, sum = 0;
    for (const logit of logits) if (logit > top) top = logit;
    const weights = new Float64Array(logits.length);
    for (let i = 0; i < logits.length; i++) sum += weights[i] = Math.exp(logits[i] - top);
    for (let i = 0; i < logits.length; i++) weights[i] /= sum;
    return weights;
  }

  /** Return products of a place's features with those of every place, up to one constant. */
  function products(features, place) {
    const { rank, values, scales, bias } = features;
    const query = new Float64Array(rank);
    for (let j = 0; j < rank; j++) query[j] = values[place * rank + j] * scales[j] * scales[j];
    const out = new Float64Array(bias.length);
    for (let k = 0, at = 0; k < out.length; k++) {
      let sum = bias[k];
      for (let j = 0; j < rank; j++) sum += query[j] * values[at++];
      out[k] = sum;
    }
    return out;
  }

  /** Return a place's attention over the whole map. */
  function mapRow(layer, side, place) {
    return softmax(products(layer.features[side], place));
  }

  /** Return a place's attention in its window; what lies beyond the edge is zero features. */
  function windowRow(layer, side, place) {
    const near = around(layer, place);
    const features = layer.features[side];
    if (layer.layout === "released") return releasedRow(features, place, near);
    const all = products(features, place);
    return softmax(near.map((k) =>
      k < 0 ? 0 : all[k] + features.bias[place] + features.constant));
  }

  /** The released code reads the window, channel by channel, as if it lay place by place. */
  function releasedRow(features, place, near) {
    const { rank, values, scales } = features;
    const of = (k, channel) => (k < 0 ? 0 : values[k * rank + channel] * scales[channel]);
    const logits = near.map((_, key) => {
      let sum = 0;
      for (let channel = 0; channel < rank; channel++) {
        const i = key * rank + channel;
        sum += of(near[i % near.length], Math.floor(i / near.length)) * of(place, channel);
      }
      return sum;
    });
    return softmax(logits);
  }

  /** Return the places of a window row by row, -1 beyond the edge. */
  function around(layer, place) {
    const reach = (layer.window - 1) / 2, row = Math.floor(place / layer.width);
    const column = place % layer.width, found = [];
    for (let y = row - reach; y <= row + reach; y++) {
      for (let x = column - reach; x <= column + reach; x++) {
        const inside = x >= 0 && y >= 0 && x < layer.width && y < layer.height;
        found.push(inside ? y * layer.width + x : -1);
      }
    }
    return found;
  }

  /** Return what is drawn over a picture: weights over the map, those of a window at its place. */
  function shownRow(layer, side, place) {
    if (layer.selection !== "local") return mapRow(layer, side, place);
    const row = new Float64Array(layer.width * layer.height);
    if (layer.layout === "released") return row;  // its cells are no places
    const weights = windowRow(layer, side, place);
    around(layer, place).forEach((k, i) => { if (k >= 0) row[k] = weights[i]; });
    return row;
  }

  /** Return products of a place's vector of one kind with those of every place of another. */
  function pairProducts(ours, theirs, place, count) {
    const { rank } = ours, query = new Float64Array(rank);
    for (let j = 0; j < rank; j++) {
      query[j] = ours.values[place * rank + j] * ours.scales[j] * theirs.scales[j];
    }
    const out = new Float64Array(count);
    for (let k = 0, at = 0; k < count; k++) {
      let sum = 0;
      for (let j = 0; j < rank; j++) sum += query[j] * theirs.values[at++];
      out[k] = sum;
    }
    return out;
  }

  /** Return how alike a place is to every place of its own picture, -1 to 1. */
  function similarityRow(layer, side, place) {
    const features = layer.features[side];
    const row = pairProducts(features, features, place, layer.width * layer.height);
    return layer.form === "tanh" ? row.map(Math.tanh) : row;
  }

  /** Return what a place gathers from every place; sums to 1. */
  function positionRow(layer, place) {
    return softmax(pairProducts(layer.queries, layer.keys, place, layer.width * layer.height));
  }

  /** Return the cosine of two rows. */
  function cosine(a, b) {
    let product = 0, ours = 0, theirs = 0;
    for (let i = 0; i < a.length; i++) {
      product += a[i] * b[i];
      ours += a[i] * a[i];
      theirs += b[i] * b[i];
    }
    return product / Math.max(Math.sqrt(ours * theirs), 1e-30);
  }

  /** Return the value that a part of the numbers does not exceed. */
  function quantile(values, part) {
    const sorted = Float64Array.from(values).sort();
    return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))];
  }

  return {
    bytes, unpack, mapRow, windowRow, shownRow, similarityRow, positionRow, cosine, quantile,
  };
})();
