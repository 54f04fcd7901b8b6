"use strict";
document.documentElement.classList.add("js");
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);

  // Samples: one slider moves all pictures through the steps, one on each cuts it in two.
  const samples = document.getElementById("tiles");
  if (samples) {
    const data = read("samples-data");
    const images = [...samples.querySelectorAll(".after")];
    const last = images.map((image) => image.src);
    samples.classList.add("live");
    for (const knob of samples.querySelectorAll(".knob")) {
      const pair = knob.parentElement;
      const cut = () => {
        pair.style.setProperty("--cut", `${knob.value}%`);
        knob.setAttribute("aria-valuetext", `source left of ${knob.value} percent, translation right of it`);
      };
      knob.addEventListener("input", cut);
      cut();
    }
    const slider = document.getElementById("step");
    if (slider) {
      const output = document.getElementById("step-text");
      const play = document.getElementById("play");
      let timer = 0;
      const show = (index) => {
        const step = data.steps[index].toLocaleString("en");
        images.forEach((image, i) => {
          image.src = data.rows[i][index] || last[i];
          image.alt = `${image.dataset.title}, translation after ${step} steps`;
        });
        output.value = `${step} steps`;
        slider.setAttribute("aria-valuetext", `after ${step} steps`);
      };
      const stop = () => { clearInterval(timer); timer = 0; play.textContent = "Play"; };
      slider.addEventListener("input", () => { stop(); show(+slider.value); });
      play.addEventListener("click", () => {
        if (timer) { stop(); return; }
        if (+slider.value === +slider.max) { slider.value = 0; }
        show(+slider.value);
        play.textContent = "Pause";
        timer = setInterval(() => {
          slider.value = +slider.value + 1;
          show(+slider.value);
          if (+slider.value === +slider.max) { stop(); }
        }, Math.max(120, Math.min(700, 8000 / data.steps.length)));
      });
      document.getElementById("step-bar").hidden = false;
      show(+slider.value);
    }
  }

  // Charts: pointer or arrow keys read values off.
  const format = (value) =>
    value === null ? "-" : Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en") : String(+value.toPrecision(4));
  for (const plot of document.querySelectorAll(".plot")) {
    const data = JSON.parse(plot.querySelector("script").textContent);
    const rule = plot.querySelector(".rule");
    const tip = plot.querySelector(".tip");
    const svg = plot.querySelector("svg");
    let index = data.steps.length - 1;
    const position = (step) => data.left + (data.right - data.left) * (step - data.first) / (data.last - data.first);
    const show = () => {
      const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
      const x = position(data.steps[index]) * scale;
      rule.style.cssText = `display:block;left:${x}px;top:${data.top * scale}px;height:${(data.bottom - data.top) * scale}px`;
      tip.replaceChildren(Object.assign(document.createElement("b"), {
        textContent: `step ${data.steps[index].toLocaleString("en")}`,
      }));
      data.curves.forEach((curve, i) => {
        if (curve.values[index] === null) { return; }
        const row = document.createElement("div");
        const mark = document.createElement("span");
        mark.textContent = "\u25a0 ";
        mark.style.color = `var(--c${i})`;
        row.append(mark, `${curve.name} ${format(curve.values[index])}`);
        tip.append(row);
      });
      tip.style.display = "block";
      const width = tip.offsetWidth;
      const room = plot.clientWidth;
      tip.style.left = `${Math.max(0, Math.min(room - width, x > room / 2 ? x - width - 10 : x + 10))}px`;
    };
    const hide = () => { rule.style.display = tip.style.display = "none"; };
    plot.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const wanted = (event.clientX - box.left) * svg.viewBox.baseVal.width / box.width;
      index = data.steps.reduce((best, step, i) =>
        Math.abs(position(step) - wanted) < Math.abs(position(data.steps[best]) - wanted) ? i : best, 0);
      show();
    });
    plot.addEventListener("pointerleave", hide);
    plot.addEventListener("blur", hide);
    plot.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
      if (event.key === "Escape") { hide(); }
      if (move === undefined) { return; }
      event.preventDefault();
      index = Math.max(0, Math.min(data.steps.length - 1, index + move));
      show();
    });
  }
})();
