(() => {
  const figure = document.getElementById("cells");
  if (!figure) return;
  const data = JSON.parse(document.getElementById("cells-data").textContent);
  const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  const n = data.names.length;
  const layouts = Object.fromEntries(Object.entries(data.layouts).map(([dims, text]) => {
    const words = new DataView(bytes(text).buffer), places = new Float32Array(n * dims);
    for (let i = 0; i < places.length; i++) places[i] = words.getUint16(2 * i, true) / 65535 - 0.5;
    return [dims, places];
  }));
  data.colours.forEach(colour => { colour.bytes = bytes(colour.values); });
  const canvas = figure.querySelector("canvas"), pen = canvas.getContext("2d");
  const hover = figure.querySelector(".hover"), legend = figure.querySelector(".legend");
  const select = document.getElementById("colour");
  const grey = "#bbbbbb", mix = 0x9e3779b1;
  const shuffled = Uint32Array.from({length: n}, (_, i) => i).sort((a, b) => Math.imul(a, mix) - Math.imul(b, mix));
  const screen = new Float32Array(2 * n);
  let dims = 2, zoom = 1, moved = [0, 0], turned = [0.5, -0.35], alone = -1, colour = null, order = shuffled, waiting = 0;

  const colourOf = i => {
    const value = colour.bytes[i];
    if (value === 255) return grey;
    if (colour.kind === "category") return colour.categories[value][1];
    return data.ramp[Math.round(value / 254 * (data.ramp.length - 1))];
  };
  const valueOf = (each, i) => {
    const value = each.bytes[i];
    if (value === 255) return "–";
    if (each.kind === "category") return each.categories[value][0];
    return (each.low + value / 254 * (each.high - each.low)).toPrecision(3);
  };
  const radius = () => Math.max(0.8, Math.min(4, 60 / Math.sqrt(n))) * Math.sqrt(zoom) * canvas.clientWidth / 520;

  function project() {
    const width = canvas.clientWidth, height = canvas.clientHeight, size = Math.min(width, height) * 0.94 * zoom;
    const places = layouts[dims], [x0, y0] = [width / 2 + moved[0], height / 2 + moved[1]];
    if (dims === 2) {
      for (let i = 0; i < n; i++) {
        screen[2 * i] = x0 + places[2 * i] * size;
        screen[2 * i + 1] = y0 - places[2 * i + 1] * size;
      }
      order = colour.order;
      return;
    }
    const [ca, sa, cb, sb] = [Math.cos(turned[0]), Math.sin(turned[0]), Math.cos(turned[1]), Math.sin(turned[1])];
    const depth = new Float32Array(n);
    for (let i = 0; i < n; i++) {
      const [x, y, z] = [places[3 * i], places[3 * i + 1], places[3 * i + 2]];
      const [u, w] = [x * ca + z * sa, z * ca - x * sa];
      depth[i] = y * sb + w * cb;
      const near = size / (1.6 - depth[i]) * 1.3;
      screen[2 * i] = x0 + u * near;
      screen[2 * i + 1] = y0 - (y * cb - w * sb) * near;
    }
    order = shuffled.slice().sort((a, b) => depth[a] - depth[b]);
  }

  function draw() {
    waiting = 0;
    const width = canvas.clientWidth, height = canvas.clientHeight, sharp = devicePixelRatio || 1;
    if (!width) return;
    if (canvas.width !== Math.round(width * sharp)) {
      canvas.width = Math.round(width * sharp);
      canvas.height = Math.round(height * sharp);
    }
    pen.setTransform(sharp, 0, 0, sharp, 0, 0);
    pen.clearRect(0, 0, width, height);
    project();
    const r = radius(), round = n <= 8000;
    for (const faded of [true, false]) {
      if (faded && alone < 0) continue;
      pen.globalAlpha = faded ? 0.25 : 1;
      for (const i of order) {
        if ((alone >= 0 && colour.bytes[i] !== alone) !== faded) continue;
        const x = screen[2 * i], y = screen[2 * i + 1];
        if (x < -r || y < -r || x > width + r || y > height + r) continue;
        pen.fillStyle = faded ? grey : colourOf(i);
        if (round) { pen.beginPath(); pen.arc(x, y, r, 0, 7); pen.fill(); }
        else pen.fillRect(x - r, y - r, 2 * r, 2 * r);
      }
    }
    pen.globalAlpha = 1;
  }
  const redraw = () => { waiting = waiting || requestAnimationFrame(draw); };

  function choose(position) {
    colour = data.colours[position];
    alone = -1;
    if (!colour.order)
      colour.order = colour.kind === "category" ? shuffled
        : shuffled.slice().sort((a, b) => (colour.bytes[a] + 1) % 256 - (colour.bytes[b] + 1) % 256);
    legend.replaceChildren();
    if (colour.kind === "number") {
      const ramp = document.createElement("span"), bar = document.createElement("i");
      ramp.className = "ramp";
      bar.style.background = `linear-gradient(90deg, ${data.ramp.join(",")})`;
      ramp.append(colour.low.toPrecision(3), bar, colour.high.toPrecision(3));
      legend.append(ramp);
    } else colour.categories.forEach(([name, fill, size], code) => {
      if (!size) return;
      const button = document.createElement("button"), dot = document.createElement("i");
      button.type = "button";
      dot.style.background = fill;
      const number = document.createElement("small");
      number.textContent = size.toLocaleString("en");
      button.append(dot, name, number);
      button.setAttribute("aria-pressed", "false");
      button.addEventListener("click", () => {
        alone = alone === code ? -1 : code;
        [...legend.children].forEach(each => each.setAttribute("aria-pressed", String(each === button && alone === code)));
        redraw();
      });
      legend.append(button);
    });
    redraw();
  }

  function zoomAt(factor, x, y) {
    const next = factor ? Math.max(0.5, Math.min(60, zoom * factor)) : 1;
    if (!factor) { moved = [0, 0]; turned = [0.5, -0.35]; }
    else moved = [[x, canvas.clientWidth], [y, canvas.clientHeight]].map(([at, size], side) =>
      (at - size / 2) - (at - size / 2 - moved[side]) * next / zoom);
    zoom = next;
    redraw();
  }
  const pan = (dx, dy) => {
    if (dims === 3) turned = [turned[0] + dx / 120, Math.max(-1.6, Math.min(1.6, turned[1] - dy / 120))];
    else moved = [moved[0] + dx, moved[1] + dy];
    redraw();
  };

  function point(event) {
    const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    let best = -1, least = 100;
    for (let i = 0; i < n; i++) {
      if (alone >= 0 && colour.bytes[i] !== alone) continue;
      const distance = (screen[2 * i] - x) ** 2 + (screen[2 * i + 1] - y) ** 2;
      if (distance < least) { least = distance; best = i; }
    }
    hover.hidden = best < 0;
    if (best < 0) return;
    const name = document.createElement("b");
    name.textContent = data.names[best];
    hover.replaceChildren(name, ...data.colours.slice(0, 8).map(each => {
      const row = document.createElement("div");
      row.textContent = `${each.title}: ${valueOf(each, best)}`;
      return row;
    }));
    hover.style.left = `${Math.min(x + 14, canvas.clientWidth - hover.offsetWidth - 4)}px`;
    hover.style.top = `${Math.max(4, Math.min(y + 14, canvas.clientHeight - hover.offsetHeight - 4))}px`;
  }

  const held = new Map();
  canvas.addEventListener("pointerdown", event => {
    held.set(event.pointerId, [event.clientX, event.clientY]);
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", event => {
    const before = held.get(event.pointerId);
    if (!before) return point(event);
    hover.hidden = true;
    const now = [event.clientX, event.clientY];
    if (held.size === 2) {
      const other = [...held].find(([id]) => id !== event.pointerId)[1];
      const apart = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]) || 1;
      const box = canvas.getBoundingClientRect();
      zoomAt(apart(now, other) / apart(before, other), (now[0] + other[0]) / 2 - box.left, (now[1] + other[1]) / 2 - box.top);
    } else pan(now[0] - before[0], now[1] - before[1]);
    held.set(event.pointerId, now);
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, event => held.delete(event.pointerId));
  canvas.addEventListener("pointerleave", () => { hover.hidden = true; });
  canvas.addEventListener("dblclick", event => zoomAt(2, event.offsetX, event.offsetY));
  // a page that is only passed over must scroll
  canvas.addEventListener("wheel", event => {
    if (document.activeElement !== canvas && !event.ctrlKey) return;
    event.preventDefault();
    zoomAt(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
  }, {passive: false});
  canvas.addEventListener("keydown", event => {
    const steps = {ArrowLeft: [-20, 0], ArrowRight: [20, 0], ArrowUp: [0, -20], ArrowDown: [0, 20]};
    const zooms = {"+": 1.4, "=": 1.4, "-": 1 / 1.4, "0": 0};
    if (steps[event.key]) pan(...steps[event.key]);
    else if (event.key in zooms) zoomAt(zooms[event.key], canvas.clientWidth / 2, canvas.clientHeight / 2);
    else return;
    event.preventDefault();
  });

  const save = (text, kind, name) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], {type: kind}));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const quoted = text => /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  const escaped = text => text.replace(/[&<>"]/g, letter => `&#${letter.charCodeAt(0)};`);
  const savers = {
    csv() {
      const axes = Array.from({length: dims}, (_, side) => `UMAP${side + 1}_scaled`);
      const rows = [["cell", ...axes, ...data.colours.map(each => each.title)]];
      for (let i = 0; i < n; i++) {
        const place = axes.map((_, side) => layouts[dims][dims * i + side].toFixed(4));
        rows.push([data.names[i], ...place, ...data.colours.map(each => valueOf(each, i))]);
      }
      save(rows.map(row => row.map(quoted).join(",")).join("\n"), "text/csv", "cells.csv");
    },
    svg() {
      const width = canvas.clientWidth, height = canvas.clientHeight, r = radius().toFixed(2), parts = [];
      for (const i of order) {
        const x = screen[2 * i], y = screen[2 * i + 1];
        if (x < 0 || y < 0 || x > width || y > height || (alone >= 0 && colour.bytes[i] !== alone)) continue;
        parts.push(`<circle cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="${r}" fill="${colourOf(i)}"/>`);
      }
      const names = colour.kind === "number"
        ? [[`${colour.title}: ${colour.low.toPrecision(3)} to ${colour.high.toPrecision(3)}`, data.ramp[data.ramp.length - 1]]]
        : colour.categories.filter(each => each[2]);
      names.forEach(([name, fill], line) => parts.push(
        `<circle cx="${width + 12}" cy="${16 + 16 * line}" r="5" fill="${fill}"/>`
        + `<text x="${width + 22}" y="${20 + 16 * line}" font-family="sans-serif" font-size="11">${escaped(name)}</text>`));
      const tall = Math.max(height, 16 * names.length + 20);
      save(`<svg xmlns="http://www.w3.org/2000/svg" width="${width + 240}" height="${tall}">${parts.join("")}</svg>`, "image/svg+xml", "cells.svg");
    },
  };
  figure.querySelectorAll("[data-save]").forEach(button => button.addEventListener("click", () => savers[button.dataset.save]()));
  figure.querySelectorAll("[data-zoom]").forEach(button => button.addEventListener("click", () =>
    zoomAt(Number(button.dataset.zoom), canvas.clientWidth / 2, canvas.clientHeight / 2)));
  const layoutButtons = [...figure.querySelectorAll("[data-layout]")];
  layoutButtons.forEach(button => button.addEventListener("click", () => {
    dims = Number(button.dataset.layout);
    layoutButtons.forEach(each => each.setAttribute("aria-pressed", String(each === button)));
    zoomAt(0);
  }));
  select.addEventListener("change", () => choose(Number(select.value)));
  new ResizeObserver(redraw).observe(canvas);
  choose(0);
  draw();
})();
