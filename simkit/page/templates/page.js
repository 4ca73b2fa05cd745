// Draws the heatmaps and the profiles of a report. The tables of best matches are there without it.
(() => {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";
  const data = JSON.parse(document.getElementById("simkit-data").textContent);
  const rows = data.rows, columns = data.columns; // [short, whole]
  const R = rows.length, C = columns.length;
  const SQUARE = R === C;
  // Sizes of cells in pixels, and the letters of labels and of marked labels.
  const WIDEST_CELL = 58, TALLEST = 640, FONT = "12px system-ui, sans-serif", BOLD = `600 ${FONT}`;
  const state = { index: 0, row: 0, column: 0 };

  // --- small things -------------------------------------------------------------------------------------------------------

  const pen = document.createElement("canvas").getContext("2d");
  const width = (text, font = FONT) => { pen.font = font; return pen.measureText(text).width; };
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  function svg(name, attributes = {}, parent = null, text = null) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== null) made.textContent = text;
    if (parent) parent.append(made);
    return made;
  }

  function tag(name, parent, text = null, className = "") {
    const made = document.createElement(name);
    if (text !== null) made.textContent = text;
    if (className) made.className = className;
    if (parent) parent.append(made);
    return made;
  }

  /** The text without its middle, if it is wider than so many pixels. */
  function fitted(text, most, font = FONT) {
    if (width(text, font) <= most) return text;
    const letters = Array.from(text);
    let low = 0, high = letters.length;
    const cut = (kept) => `${letters.slice(0, Math.ceil(kept / 2)).join("")}…${letters.slice(letters.length - Math.floor(kept / 2)).join("")}`;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (width(cut(middle), font) <= most) low = middle; else high = middle - 1;
    }
    return cut(low);
  }

  /** Names below a picture, as many as there is room for, and turned where they are wider than their room. */
  function namesBelow(parent, names, { x, y, room, flat, longest }) {
    for (let at = 0, step = Math.ceil((flat ? 1 : 15) / room); at < names.length; at += step) {
      const [short, whole] = names[at], middle = x(at);
      const most = flat ? room : Math.min(longest, (middle - 4) / 0.71);
      const turned = flat ? { "text-anchor": "middle" } : { "text-anchor": "end", transform: `rotate(-45 ${middle} ${y})`, dy: "0.35em" };
      svg("title", {}, svg("text", { x: middle, y, class: "dim", ...turned }, parent, fitted(short, most)), whole);
    }
  }

  function unpacked({ bytes, base64 }) {
    const raw = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    return bytes === 4 ? new Float32Array(raw.buffer) : new Float64Array(raw.buffer);
  }

  // --- one index ----------------------------------------------------------------------------------------------------------

  class Index {
    constructor(given, section) {
      this.given = given;
      this.spec = given.spec;
      this.values = unpacked(given.values);
      this.chances = given.chance === null ? null : unpacked(given.chance);
      this.intervals = new Map((given.intervals || []).map(([i, j, low, high]) => [i * C + j, [low, high]]));
      this.best = given.best;
      this.colours = given.scale.colours;
      this.section = section;
      this.plot = section.querySelector(".heat .plot");
      this.drawnWidth = 0;
    }

    value(i, j) { return this.values[i * C + j]; }
    chance(i, j) { return this.chances ? this.chances[i * C + j] : NaN; }
    interval(i, j) { return this.intervals.get(i * C + j); }

    text(value) {
      if (Number.isNaN(value)) return "nan";
      if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
      const { decimals } = this.given;
      const text = decimals === null || Math.abs(value) >= 1e6 ? value.toExponential(2).replace(/e([+-])(\d)$/, "e$10$2") : value.toFixed(decimals);
      return Number(text) === 0 ? text.replace("-", "") : text;
    }

    /** Place of a score on the scale, from 0 to 1. */
    share(value) {
      const { low, high } = this.given.scale;
      return clamp((value - low) / (high - low), 0, 1);
    }

    colour(value) {
      const at = this.share(value) * (this.colours.length - 1);
      const below = Math.min(Math.floor(at), this.colours.length - 2);
      return this.colours[below].map((part, c) => Math.round(part + (at - below) * (this.colours[below + 1][c] - part)));
    }

    /** Black or white, whichever is read better on the colour of a score. */
    ink(value) {
      const [r, g, b] = this.colour(value).map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff";
    }

    range(i, j) {
      const found = this.interval(i, j);
      return found ? `${this.text(found[0])} to ${this.text(found[1])}` : null;
    }

    isBest(i, j) { return this.best[i].includes(j); }

    /** A pair in one sentence, for screen readers. */
    sentence(i, j) {
      const value = this.value(i, j);
      const parts = [`${rows[i][0]} and ${columns[j][0]}: ${Number.isNaN(value) ? "undefined" : this.text(value)}`];
      if (this.chances) parts.push(`chance ${this.text(this.chance(i, j))}`);
      if (this.interval(i, j)) parts.push(`${this.given.confidence} interval ${this.range(i, j)}`);
      if (this.isBest(i, j)) parts.push("best match of the row");
      return parts.join(", ");
    }

    // --- the heatmap ------------------------------------------------------------------------------------------------------

    layout(whole) {
      const most = Math.min(whole * 0.34, 170);
      const left = Math.ceil(Math.min(most, Math.max(...rows.map(([short]) => width(short, BOLD)))) + 14);
      const cw = Math.min(WIDEST_CELL, (whole - left - 2) / C);
      const ch = clamp(cw, Math.min(28, 170 / R), TALLEST / R);
      const widest = Math.max(...columns.map(([short]) => width(short)));
      const flat = widest + 8 <= cw;
      const below = flat ? 22 : Math.min(widest, 140) * 0.71 + 18;
      return { left, cw, ch, flat, below, wide: C * cw, tall: R * ch };
    }

    draw(whole) {
      this.drawnWidth = whole;
      const at = (this.at = this.layout(whole));
      const again = this.field && document.activeElement === this.field;
      this.plot.replaceChildren();
      this.plot.style.height = `${at.tall + at.below}px`;
      this.field = tag("div", this.plot, null, "field");
      Object.assign(this.field.style, { left: `${at.left}px`, top: "0", width: `${at.wide}px`, height: `${at.tall}px` });
      this.field.tabIndex = 0;
      this.field.setAttribute("role", "application");
      this.field.setAttribute("aria-roledescription", "heatmap");
      this.field.setAttribute("aria-label", `Heatmap of ${this.spec}, ${R} rows and ${C} columns. Arrow keys move from cell to cell; all scores are in the table below.`);
      this.field.append(this.picture());
      this.over = svg("svg", { class: "over", width: at.left + at.wide, height: at.tall + at.below, "aria-hidden": "true" }, this.plot);
      this.labels();
      this.marks();
      this.cross = svg("g", { class: "cross" }, this.over);
      this.tip = tag("div", this.plot, null, "tip");
      this.tip.hidden = true;
      this.tip.setAttribute("aria-hidden", "true");
      this.listen();
      this.bar();
      this.show();
      if (again) this.field.focus({ preventScroll: true });
    }

    /** The colours, with gaps between large cells; what is undefined is hatched. */
    picture() {
      const { cw, ch } = this.at;
      const sharp = 2;
      const kx = clamp(Math.round(cw * sharp), 1, Math.max(1, Math.floor(4096 / C)));
      const ky = clamp(Math.round(ch * sharp), 1, Math.max(1, Math.floor(4096 / R)));
      const small = document.createElement("canvas");
      small.width = C;
      small.height = R;
      const inside = small.getContext("2d"), image = inside.createImageData(C, R);
      const undefinedCells = new Path2D();
      let some = false;
      for (let at = 0; at < R * C; at++) {
        const value = this.values[at];
        if (Number.isNaN(value)) {
          undefinedCells.rect((at % C) * kx, Math.floor(at / C) * ky, kx, ky);
          some = true;
        } else {
          image.data.set([...this.colour(value), 255], 4 * at);
        }
      }
      inside.putImageData(image, 0, 0);
      const canvas = document.createElement("canvas");
      canvas.width = C * kx;
      canvas.height = R * ky;
      const ctx = canvas.getContext("2d");
      ctx.imageSmoothingEnabled = false;
      ctx.drawImage(small, 0, 0, canvas.width, canvas.height);
      if (some) {
        ctx.save();
        ctx.clip(undefinedCells);
        ctx.fillStyle = "#c9ced4";
        ctx.fillRect(0, 0, canvas.width, canvas.height);
        ctx.strokeStyle = "#4a525b";
        ctx.lineWidth = 2;
        ctx.beginPath();
        for (let x = -canvas.height; x < canvas.width; x += 10) {
          ctx.moveTo(x, canvas.height);
          ctx.lineTo(x + canvas.height, 0);
        }
        ctx.stroke();
        ctx.restore();
      }
      if (Math.min(cw, ch) >= 9) {
        for (let j = 1; j < C; j++) ctx.clearRect(j * kx - 1, 0, 2, canvas.height);
        for (let i = 1; i < R; i++) ctx.clearRect(0, i * ky - 1, canvas.width, 2);
      }
      return canvas;
    }

    labels() {
      const { left, cw, ch, flat, tall } = this.at;
      for (let i = 0, step = Math.ceil(14 / ch); i < R; i += step) {
        const text = svg("text", { x: left - 8, y: (i + 0.5) * ch, dy: "0.35em", "text-anchor": "end", class: "dim" }, this.over, fitted(rows[i][0], left - 12));
        svg("title", {}, text, rows[i][1]);
      }
      namesBelow(this.over, columns, { x: (j) => left + (j + 0.5) * cw, y: tall + (flat ? 15 : 10), room: cw, flat, longest: 140 });
    }

    /** Numbers where there is room for them, and an outline around the best match of each row. */
    marks() {
      const { left, cw, ch } = this.at;
      const short = (value) => {
        if (!Number.isFinite(value)) return this.text(value);
        if (this.given.decimals === 3 || this.given.decimals === 4) {
          const text = value.toFixed(2).replace(/^(-?)0\./, "$1.");
          return text === "-.00" ? ".00" : text;
        }
        return this.text(value);
      };
      const font = "11px system-ui, sans-serif";
      const texts = R * C > 2500 ? null : Array.from(this.values, short);
      if (texts && ch >= 17 && Math.max(...texts.map((text) => width(text, font))) + 7 <= cw) {
        texts.forEach((text, at) => {
          const value = this.values[at], j = at % C, i = Math.floor(at / C);
          if (Number.isNaN(value)) svg("rect", { x: left + (j + 0.5) * cw - 13, y: (i + 0.5) * ch - 8, width: 26, height: 16, fill: "#fff" }, this.over);
          const cell = svg("text", { x: left + (j + 0.5) * cw, y: (i + 0.5) * ch, dy: "0.35em", "text-anchor": "middle", class: "cell" }, this.over, text);
          cell.style.fill = Number.isNaN(value) ? "#000" : this.ink(value);
        });
      }
      this.best.forEach((places, i) => places.forEach((j) => {
        if (places.length === C && C > 1) return; // all the same
        const x = left + j * cw, y = i * ch, ink = this.ink(this.value(i, j));
        if (Math.min(cw, ch) >= 9) svg("rect", { x: x + 3, y: y + 3, width: cw - 6, height: ch - 6, fill: "none", stroke: ink, "stroke-width": 1.5 }, this.over);
        else if (Math.min(cw, ch) >= 2) svg("circle", { cx: x + cw / 2, cy: y + ch / 2, r: Math.max(0.7, Math.min(cw, ch) / 4), fill: ink }, this.over);
      }));
    }

    /** The scale of colours, with the chosen score and the mean of chance on it. */
    bar() {
      const { low, high, beyond: [below, above] } = this.given.scale;
      const ramp = this.section.querySelector(".ramp");
      ramp.style.background = `linear-gradient(to right, ${this.colours.map((colour) => `rgb(${colour.join(" ")})`).join(", ")})`;
      const ticks = this.section.querySelector(".ticks");
      ticks.replaceChildren();
      const round = (value) => this.text(value).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
      const ends = [round(low) + (below ? " or less" : ""), round(high) + (above ? " or more" : "")];
      ends[this.given.distance ? 0 : 1] += ", most alike";
      svg("text", { x: 0, y: 15 }, ticks, ends[0]);
      svg("text", { x: "100%", y: 15, "text-anchor": "end" }, ticks, ends[1]);
      this.pointer = svg("g", { class: "cross" }, ticks);
      if (this.chances) {
        const known = this.chances.filter(Number.isFinite);
        if (known.length) {
          const mean = known.reduce((sum, each) => sum + each, 0) / known.length, x = 100 * this.share(mean);
          svg("line", { x1: `${x}%`, x2: `${x}%`, y1: -14, y2: 4, stroke: "var(--ink)", "stroke-width": 2 }, ticks);
          const anchor = x < 20 ? "start" : x > 80 ? "end" : "middle";
          svg("text", { x: `${clamp(x, 0, 100)}%`, y: 29, "text-anchor": anchor }, ticks, `chance ${this.text(mean)}`);
        }
      }
    }

    listen() {
      const { cw, ch } = this.at;
      const cell = (event) => {
        const box = this.field.getBoundingClientRect();
        return [clamp(Math.floor((event.clientY - box.top) / ch), 0, R - 1), clamp(Math.floor((event.clientX - box.left) / cw), 0, C - 1)];
      };
      this.field.addEventListener("pointermove", (event) => {
        if (event.pointerType !== "touch") this.point(...cell(event));
      });
      this.field.addEventListener("pointerleave", () => { this.tip.hidden = true; this.show(); });
      this.field.addEventListener("click", (event) => {
        const [i, j] = cell(event);
        choose(i, j, true);
        if (event.pointerType === "touch") return;
        this.point(i, j);
      });
      this.field.addEventListener("keydown", (event) => {
        const { row: i, column: j } = state;
        const to = {
          ArrowUp: [i - 1, j], ArrowDown: [i + 1, j], ArrowLeft: [i, j - 1], ArrowRight: [i, j + 1],
          Home: [event.ctrlKey ? 0 : i, 0], End: [event.ctrlKey ? R - 1 : i, C - 1], PageUp: [i - 10, j], PageDown: [i + 10, j],
          Enter: [i, this.best[i].length ? this.best[i][0] : j],
        }[event.key];
        if (!to || event.altKey || event.metaKey) return;
        event.preventDefault();
        this.tip.hidden = true;
        choose(clamp(to[0], 0, R - 1), clamp(to[1], 0, C - 1), true);
      });
    }

    /** Show a cell that the pointer is on, beside it. */
    point(i, j) {
      this.show(i, j);
      const { left, cw, ch, wide } = this.at;
      this.tip.replaceChildren();
      tag("div", this.tip, `${rows[i][0]}, ${columns[j][0]}`);
      tag("b", this.tip, this.text(this.value(i, j)));
      if (this.chances) this.tip.append(` chance ${this.text(this.chance(i, j))}`);
      this.tip.hidden = false;
      const box = this.tip.getBoundingClientRect(), middle = left + (j + 0.5) * cw;
      const above = i * ch - box.height - 8;
      this.tip.style.left = `${clamp(middle - box.width / 2, 0, Math.max(0, left + wide - box.width))}px`;
      this.tip.style.top = `${above < -60 ? (i + 1) * ch + 8 : above}px`;
    }

    /** Mark a cell, its labels and its place on the scale, and say its numbers. */
    show(i = state.row, j = state.column) {
      if (!this.at) return;
      const { left, cw, ch, flat, tall, wide } = this.at;
      const x = left + j * cw, y = i * ch, value = this.value(i, j);
      this.cross.replaceChildren();
      const size = { x: x - 1, y: y - 1, width: cw + 2, height: ch + 2 };
      svg("rect", { ...size, class: "mark-out" }, this.cross);
      svg("rect", { ...size, class: "mark-in" }, this.cross);
      this.pill(fitted(rows[i][0], left - 12, BOLD), left - 8, clamp(y + ch / 2, 8, tall - 8), "end");
      this.pill(fitted(columns[j][0], 200, BOLD), x + cw / 2, tall + (flat ? 11 : 12), "middle", wide);
      this.pointer.replaceChildren();
      if (Number.isFinite(value)) {
        const at = `${100 * this.share(value)}%`;
        const inner = svg("svg", { x: at, y: 0, overflow: "visible" }, this.pointer);
        svg("path", { d: "M0 -13 L-5 -21 L5 -21 Z", fill: "var(--ink)" }, inner);
      }
      this.tell(i, j);
    }

    pill(text, x, y, anchor, wide = 0) {
      const size = width(text, BOLD), pad = 5;
      let start = anchor === "end" ? x - size : x - size / 2;
      if (wide) start = clamp(start, pad, Math.max(pad, this.at.left + wide - size - pad));
      const group = svg("g", { class: "pill" }, this.cross);
      svg("rect", { x: start - pad, y: y - 9, width: size + 2 * pad, height: 18, rx: 3 }, group);
      svg("text", { x: start, y, dy: "0.35em" }, group, text);
    }

    /** The numbers of a pair, beside the heatmap. */
    tell(i, j) {
      const section = this.section;
      section.querySelector("select.row").value = String(i);
      section.querySelector("select.column").value = String(j);
      const list = section.querySelector(".numbers");
      list.replaceChildren();
      const line = (what, text, big = "") => { tag("dt", list, what); tag("dd", list, text, big); };
      line("Score", this.text(this.value(i, j)), "big");
      line("Chance", this.chances ? this.text(this.chance(i, j)) : "not computed");
      if (this.given.confidence) line(`${this.given.confidence} interval`, this.range(i, j) || "not for this pair");
      line("Best of the row", this.best[i].length ? (this.isBest(i, j) ? "this one" : columns[this.best[i][0]][0]) : "none");
      const mini = section.querySelector(".mini");
      mini.hidden = indexes.length < 2;
      if (mini.hidden) return;
      const body = mini.tBodies[0];
      body.replaceChildren();
      for (const other of indexes) {
        const tr = tag("tr", body);
        const head = tag("th", tr, other.spec);
        head.scope = "row";
        tag("td", tr, other.text(other.value(i, j)), "n");
        tag("td", tr, other.chances ? other.text(other.chance(i, j)) : "-", "n");
      }
    }

    // --- the profile ------------------------------------------------------------------------------------------------------

    profile(whole) {
      const plot = this.section.querySelector(".profile .plot"), key = this.section.querySelector(".key");
      plot.replaceChildren();
      key.replaceChildren();
      const top = 10, tall = 210, left = 46, right = 10;
      const wide = whole - left - right, step = wide / R;
      const x = (i) => left + (i + 0.5) * step;
      const same = SQUARE ? rows.map((_, i) => [i, i]) : [];
      const best = this.best.map((places, i) => [i, places.includes(i) && SQUARE ? i : places[0]]).filter(([, j]) => j !== undefined);
      const shown = [...same, ...best];
      const numbers = shown.flatMap(([i, j]) => [this.value(i, j), this.chance(i, j), ...(this.interval(i, j) || [])]).filter(Number.isFinite);
      const from = numbers.length ? [Math.min(0, ...numbers), Math.max(...numbers)] : [0, 1];
      const ticks = this.nice(from[0], from[1]);
      const low = ticks[0], high = ticks[ticks.length - 1];
      const y = (value) => top + tall * (1 - (clamp(value, low, high) - low) / (high - low));
      const widest = Math.max(...rows.map(([short]) => width(short)));
      const flat = widest + 8 <= step, below = flat ? 24 : Math.min(widest, 120) * 0.71 + 18;
      const label = `Profile of ${this.spec}: ${SQUARE ? "scores of layers in the same place, and best matches" : "best matches"}, as in the table of best matches.`;
      const picture = svg("svg", { width: whole, height: top + tall + below, viewBox: `0 0 ${whole} ${top + tall + below}`, role: "img", "aria-label": label }, plot);
      for (const tick of ticks) {
        svg("line", { x1: left, x2: whole - right, y1: y(tick), y2: y(tick), class: "grid" }, picture);
        const text = this.given.decimals === null ? tick.toExponential(1) : String(Number(tick.toPrecision(6)));
        svg("text", { x: left - 8, y: y(tick), dy: "0.35em", "text-anchor": "end", class: "dim" }, picture, text);
      }
      namesBelow(picture, rows, { x, y: top + tall + (flat ? 17 : 12), room: step, flat, longest: 120 });
      const lines = (pairs, of) => {
        let path = "", pen = "M";
        for (const [i, j] of pairs) {
          const value = of(i, j);
          if (Number.isFinite(value)) { path += `${pen}${x(i).toFixed(1)} ${y(value).toFixed(1)}`; pen = "L"; } else pen = "M";
        }
        return path;
      };
      const small = step < 9;
      const offset = step > 20 ? 5 : 0;
      const error = (pairs, kind, dx) => pairs.forEach(([i, j]) => {
        const found = this.interval(i, j);
        if (found) svg("path", { d: `M${x(i) + dx} ${y(found[0])}V${y(found[1])}`, class: kind }, picture);
      });
      const main = SQUARE ? same : best;
      if (this.chances) svg("path", { d: lines(main, (i, j) => this.chance(i, j)), class: "chance" }, picture);
      const apart = best.filter(([i, j]) => !SQUARE || i !== j);
      error(apart, "best-error", SQUARE ? offset : 0);
      if (SQUARE) {
        error(same, "same-error", 0);
        svg("path", { d: lines(same, (i, j) => this.value(i, j)), class: "same" }, picture);
        for (const [i, j] of same) {
          if (Number.isFinite(this.value(i, j))) svg("circle", { cx: x(i), cy: y(this.value(i, j)), r: small ? 1.8 : 4, class: "same-dot" }, picture);
        }
      }
      const size = small ? 2.5 : 5;
      for (const [i, j] of SQUARE ? apart : best) {
        const at = x(i) + (SQUARE ? offset : 0), value = y(this.value(i, j));
        const mark = svg("path", { d: `M${at} ${value - size}l${size} ${size}l${-size} ${size}l${-size} ${-size}z`, class: "best-dot" }, picture);
        svg("title", {}, mark, `${rows[i][1]}, ${columns[j][1]}: ${this.text(this.value(i, j))}`);
      }
      const entry = (text, draw) => {
        const item = tag("li", key), sign = svg("svg", { width: 26, height: 14, "aria-hidden": "true" }, item);
        draw(sign);
        tag("span", item, text);
      };
      if (SQUARE) entry("same place", (sign) => { svg("path", { d: "M0 7H26", class: "same" }, sign); svg("circle", { cx: 13, cy: 7, r: 4, class: "same-dot" }, sign); });
      if (!SQUARE || apart.length) entry(SQUARE ? "best match, where it is another layer" : "best match", (sign) => svg("path", { d: "M13 2l5 5l-5 5l-5 -5z", class: "best-dot" }, sign));
      if (this.chances) entry("chance", (sign) => svg("path", { d: "M0 7H26", class: "chance" }, sign));
      if (this.intervals.size) entry(`${this.given.confidence} interval`, (sign) => svg("path", { d: "M13 0V14", class: SQUARE ? "same-error" : "best-error" }, sign));
    }

    /** Some five round numbers that hold all from low to high. */
    nice(low, high) {
      if (!(high > low)) high = low + 1;
      const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
      const step = [1, 2, 2.5, 5, 10].map((each) => each * power).find((each) => each >= rough * 0.999);
      const ticks = [];
      for (let k = Math.floor(low / step + 1e-9); k * step < high + step * (1 - 1e-9); k++) ticks.push(k * step);
      return ticks.length > 1 ? ticks : [low, high];
    }

    // --- the table of all scores ------------------------------------------------------------------------------------------

    /** Built when it is asked for, some rows at a time, so that the page stays alive. */
    table() {
      const box = this.section.querySelector(".all .scroll");
      if (box.firstChild) return;
      const table = tag("table", box);
      tag("caption", table, `${this.spec}: ${data.rowLabel} (rows) and ${data.columnLabel} (columns)`);
      const head = tag("tr", tag("thead", table));
      tag("td", head);
      for (const [short, whole] of columns) {
        const cell = tag("th", head, short);
        cell.scope = "col";
        cell.title = whole;
      }
      const body = tag("tbody", table);
      const some = (i) => {
        const fragment = document.createDocumentFragment();
        const end = Math.min(R, i + Math.max(1, Math.floor(2000 / C)));
        for (; i < end; i++) {
          const line = tag("tr", fragment), name = tag("th", line, rows[i][0]);
          name.scope = "row";
          name.title = rows[i][1];
          for (let j = 0; j < C; j++) tag("td", line, this.text(this.value(i, j)));
        }
        body.append(fragment);
        if (i < R) requestAnimationFrame(() => some(i));
        else table.dataset.done = "yes";
      };
      some(0);
    }
  }

  // --- the page -------------------------------------------------------------------------------------------------------------

  const sections = [...document.querySelectorAll("section.index")];
  const indexes = data.indexes.map((given, k) => new Index(given, sections[k]));

  function choose(i, j, aloud) {
    state.row = i;
    state.column = j;
    const index = indexes[state.index];
    index.show();
    if (aloud) index.section.querySelector(".said").textContent = index.sentence(i, j);
  }

  function drawn(index, heat, whole) {
    index.draw(heat);
    index.profile(whole);
  }

  function draw() {
    const index = indexes[state.index];
    const heat = index.plot.clientWidth, whole = index.section.querySelector(".scroll").clientWidth;
    if (heat > 0 && heat !== index.drawnWidth) drawn(index, heat, whole);
    else index.show();
  }

  function change(k) {
    state.index = k;
    sections.forEach((section, at) => { section.hidden = at !== k; });
    draw();
  }

  document.querySelectorAll(".needs-script").forEach((part) => { part.hidden = part.matches(".profile") && R === 1; });
  for (const index of indexes) {
    const select = (kind, names, pick) => {
      const made = index.section.querySelector(`select.${kind}`);
      names.forEach(([short, whole], at) => {
        const option = tag("option", made, short);
        option.value = String(at);
        option.title = whole;
      });
      made.addEventListener("change", () => pick(Number(made.value)));
    };
    select("row", rows, (i) => choose(i, state.column, true));
    select("column", columns, (j) => choose(state.row, j, true));
    index.section.querySelector(".all").addEventListener("toggle", (event) => { if (event.target.open) index.table(); });
  }
  const chooser = document.querySelector(".switch");
  if (chooser) {
    chooser.hidden = false;
    chooser.addEventListener("change", (event) => change(Number(event.target.value)));
  }
  if (indexes[0].best[0].length) state.column = indexes[0].best[0][0];
  const checked = document.querySelector(".switch input:checked"); // a browser may remember it
  change(checked ? Number(checked.value) : 0);

  let waiting = 0;
  new ResizeObserver(() => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(draw);
  }).observe(document.querySelector("main"));

  // On paper all indexes are there, each at the width of a page.
  addEventListener("beforeprint", () => indexes.forEach((index) => drawn(index, 500, 660)));
  addEventListener("afterprint", () => { indexes.forEach((index) => { index.drawnWidth = 0; }); draw(); });

  const copy = document.querySelector(".copy");
  copy.addEventListener("click", async () => {
    const source = document.getElementById("bibtex");
    let done = false;
    try {
      await navigator.clipboard.writeText(source.textContent);
      done = true;
    } catch {
      getSelection().selectAllChildren(source);
      done = document.execCommand("copy");
    }
    copy.textContent = done ? "Copied" : "Select the text and copy it";
    setTimeout(() => { copy.textContent = "Copy BibTeX"; }, 2500);
  });
})();
