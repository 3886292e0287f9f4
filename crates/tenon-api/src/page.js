// The script of the page: a picture goes to a service that sees, boxes or classes come back.
//
// What a server or a file says is only ever made text, never markup. A token stays in the memory of the page.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
/** Height of a label, pixels of the screen. */
const LABEL = 20;
/** A picture smaller than this is shown larger, so that its labels have room. */
const LEAST_SIDE = 560;

const form = document.getElementById("token");
let token = "";
let withToken = null;
let looks = [];
/** The one that a pasted picture is for. */
let latest = null;

const percent = (score) => `${Math.round(score * 100)} %`;
const nameOf = (one) => one.label || `class ${one.class}`;
// Neighbouring classes lie far apart on the circle of hues, and all colours are light enough for black letters.
const colourOf = (one) => `hsl(${Math.round((Math.abs(one.class) * 137.508) % 360)} 90% 70%)`;

function shape(name, attributes, text = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

/** Sends a request and gives the answer, or throws the server's words. Where a token is needed one is asked for. */
async function ask(path, options, again) {
  const headers = token ? { ...options.headers, authorization: `Bearer ${token}` } : options.headers;
  let answer, body;
  try {
    answer = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit" });
    body = await answer.text();
  } catch {
    throw new Error("The server does not answer.");
  }
  if (answer.ok) return { answer, body };
  const words = wordsOf(body) || `The server answers ${answer.status}.`;
  if (answer.status === 401 || answer.status === 403) askForToken(words, again);
  throw new Error(words);
}

function wordsOf(body) {
  try {
    return JSON.parse(body).error;
  } catch {
    return "";
  }
}

function askForToken(words, again) {
  withToken = again;
  form.hidden = false;
  form.querySelector("[role=alert]").textContent = words;
  form.querySelector("input").focus();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const input = form.querySelector("input");
  token = input.value.trim();
  input.value = "";
  form.hidden = true;
  withToken();
});

/** The page again, with a token: without one it was not shown. */
async function readAgain() {
  try {
    const { body } = await ask("/", { headers: { accept: "text/html" } }, readAgain);
    const whole = new DOMParser().parseFromString(body, "text/html");
    document.querySelector("main").replaceWith(whole.querySelector("main"));
    begin();
  } catch (error) {
    askForToken(error.message, readAgain);
  }
}

/** The place on the page of one operation that sees. */
class Look {
  constructor(place) {
    place.append(document.getElementById("look").content.cloneNode(true));
    const part = (selector) => place.querySelector(selector);
    this.place = place;
    this.path = place.dataset.path;
    this.finds = place.dataset.operation === "detect";
    this.parts = {
      picker: part("[type=file]"),
      said: part(".said"),
      seen: part(".seen"),
      figure: part("figure"),
      image: part("img"),
      svg: part("svg"),
      slider: part("[type=range]"),
      output: part("output"),
      caption: part("caption"),
      rows: part("tbody"),
    };
    this.file = null;
    this.found = null;
    this.turn = 0;
    part(".least").hidden = !this.finds;
    this.parts.picker.addEventListener("change", () => this.see(this.parts.picker.files));
    this.parts.slider.addEventListener("input", () => this.show());
    part("button").addEventListener("click", () => this.send());
    place.addEventListener("focusin", () => (latest = this));
    place.addEventListener("dragover", (event) => this.over(event, true));
    place.addEventListener("dragleave", (event) => this.over(event, place.contains(event.relatedTarget)));
    place.addEventListener("drop", (event) => {
      this.over(event, false);
      this.see(event.dataTransfer.files);
    });
    this.parts.image.addEventListener("load", () => this.fit());
    this.parts.image.addEventListener("error", () => (this.parts.figure.hidden = true));
    new ResizeObserver(() => this.show()).observe(this.parts.image);
  }

  over(event, isOver) {
    event.preventDefault();
    this.place.classList.toggle("over", isOver);
  }

  /** Takes the first of the files, a picture: shows it and asks what is on it. */
  see(files) {
    const file = files[0];
    if (!file) return;
    const { picker, figure, image, seen } = this.parts;
    if (picker.files !== files) picker.files = files;
    URL.revokeObjectURL(image.src);
    figure.hidden = false;
    image.removeAttribute("width");
    image.src = URL.createObjectURL(file);
    [this.file, this.found, latest] = [file, null, this];
    seen.hidden = false;
    this.send();
  }

  fit() {
    const { image } = this.parts;
    const { naturalWidth: width, naturalHeight: height } = image;
    const scale = Math.min(Math.max(1, LEAST_SIDE / Math.max(width, height)), (innerHeight * 0.75) / height);
    image.width = Math.max(1, Math.round(width * scale));
  }

  async send() {
    const turn = ++this.turn;
    this.say("Asking ...");
    const headers = { "content-type": this.file.type || "application/octet-stream", accept: "application/json" };
    const begun = performance.now();
    try {
      const { answer, body } = await ask(this.path, { method: "POST", headers, body: this.file }, () => this.send());
      const took = Math.max(1, Math.round(performance.now() - begun));
      if (turn !== this.turn) return;
      this.found = JSON.parse(body);
      this.say(`${answer.headers.get("tenon-version")} answered in ${took} ms.`);
    } catch (error) {
      if (turn !== this.turn) return;
      this.found = null;
      this.say(error.message, true);
    }
    this.show();
  }

  say(words, isFault = false) {
    this.parts.said.textContent = words;
    this.parts.said.classList.toggle("fault", isFault);
  }

  /** Shows what was found: on the picture, as large as that is now, and as a list. */
  show() {
    const { svg, slider, output, caption, rows } = this.parts;
    const all = (this.found && (this.found.detections || this.found.classes)) || [];
    const least = this.finds ? slider.valueAsNumber : 0;
    const shown = all.filter((one) => one.score >= least);
    output.textContent = percent(least);
    svg.replaceChildren();
    if (this.finds) this.draw(shown);
    caption.textContent = !this.found ? "" : this.finds ? `${shown.length} of ${all.length} found` : "Likeliest classes";
    rows.replaceChildren(...shown.map((one) => this.row(one)));
  }

  draw(shown) {
    const { svg, image } = this.parts;
    const size = [image.clientWidth, image.clientHeight];
    const [x, y] = this.found ? [size[0] / this.found.width, size[1] / this.found.height] : [0, 0];
    const boxes = shown.map((one) => ({
      one,
      left: one.x_min * x,
      top: one.y_min * y,
      width: (one.x_max - one.x_min) * x,
      height: (one.y_max - one.y_min) * y,
    }));
    // The most certain one lies on top of the others, and its label finds its place first.
    for (const { one, left, top, width, height } of boxes.toReversed()) {
      const edges = { x: left, y: top, width, height, fill: "none" };
      svg.append(shape("rect", { ...edges, stroke: "#000", "stroke-opacity": 0.7, "stroke-width": 5 }));
      svg.append(shape("rect", { ...edges, stroke: colourOf(one), "stroke-width": 2.5 }));
    }
    const taken = [];
    for (const box of boxes) this.label(box, size, taken);
  }

  /** A label above its box, or elsewhere on it where another one stands; none where there is no room: the list has it. */
  label({ one, left, top, height }, size, taken) {
    const text = shape("text", { "font-size": 13, "font-weight": 600 }, `${nameOf(one)} ${percent(one.score)}`);
    this.parts.svg.append(text);
    const width = text.getComputedTextLength() + 8;
    const x = Math.max(0, Math.min(left - 1, size[0] - width));
    const wished = [top - LABEL, top, top + height - LABEL, top + height];
    const places = wished.map((y) => Math.max(0, Math.min(y, size[1] - LABEL)));
    const isFree = (y) => taken.every(([from, to, at]) => x + width <= from || x >= to || Math.abs(y - at) >= LABEL);
    const y = places.find(isFree);
    if (y === undefined) return text.remove();
    taken.push([x, x + width, y]);
    text.before(shape("rect", { x, y, width, height: LABEL, fill: colourOf(one) }));
    text.setAttribute("x", x + 4);
    text.setAttribute("y", y + 15);
  }

  row(one) {
    const row = document.createElement("tr");
    const bar = document.createElement("progress");
    bar.value = one.score;
    const colour = shape("svg", { class: "colour", "aria-hidden": "true" });
    colour.append(shape("rect", { width: "100%", height: "100%", rx: 3, fill: colourOf(one) }));
    const cells = this.finds ? [colour, nameOf(one), bar, percent(one.score)] : [nameOf(one), bar, percent(one.score)];
    for (const content of cells) row.insertCell().append(content);
    return row;
  }
}

function begin() {
  looks = [...document.querySelectorAll(".look")].map((place) => new Look(place));
  latest = looks[0];
}

addEventListener("paste", (event) => {
  if (latest && event.clipboardData.files.length) latest.see(event.clipboardData.files);
});
// A picture that misses its place must not take the page away.
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());

const locked = document.querySelector("main").dataset.locked;
if (locked) askForToken(locked, readAgain);
else begin();
