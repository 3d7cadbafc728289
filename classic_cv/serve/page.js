// Names, labels and errors come from others: they get into the page as text, never as markup.

const AT_ONCE = 2;
const TRIES = 6;
const TOP = 5;
const REASONS = {
  late: "the primary was too late",
  failed: "the primary failed",
  nonsense: "the primary's answer made no sense",
  open: "the primary failed often and is left alone for a moment",
  busy: "the primary has too much to do",
};

const $ = (id) => document.getElementById(id);

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function show(id, visible) {
  $(id).hidden = !visible;
}

function tell(text) {
  $("status").textContent = text;
}

function complain(text) {
  $("problem").textContent = text;
  show("problem", Boolean(text));
}

const percent = (share) => {
  const text = (100 * share).toFixed(1);
  if (text === "0.0" && share > 0) return "<0.1%";
  return text === "100.0" && share < 1 ? ">99.9%" : `${text}%`;
};
const milliseconds = (ms) => `${ms.toFixed(1)} ms`;
const number = (value) => String(Number(value.toPrecision(6)));
const images = (count) => (count === 1 ? "1 image" : `${count} images`);

// ---- Asking the server

/** An error whose message can be shown. */
class Refusal extends Error {}

let token = "";
let tokenGiven = null;

/** Resolves when another token than the one that was refused has been given. */
function anotherToken(refused) {
  if (token !== refused) return Promise.resolve();
  if (!tokenGiven) {
    tokenGiven = withResolvers();
    $("access-problem").textContent = refused ? "The server does not accept this token." : "";
    show("access-problem", Boolean(refused));
    show("access", true);
    // A link would be followed without the token.
    show("docs", false);
    $("token").focus();
  }
  return tokenGiven.promise;
}

function withResolvers() {
  let resolve;
  const promise = new Promise((done) => (resolve = done));
  return { promise, resolve };
}

$("access").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value.trim();
  $("token").value = "";
  show("access", false);
  $("files").focus();
  tokenGiven?.resolve();
  tokenGiven = null;
});

/** What `promise` gives; rejects as soon as `signal` says stop. */
function unless(signal, promise) {
  if (!signal) return promise;
  signal.throwIfAborted();
  const stopped = withRejection(signal);
  return Promise.race([promise, stopped.promise]).finally(stopped.forget);
}

function withRejection(signal) {
  let refuse;
  const promise = new Promise((_, reject) => (refuse = () => reject(signal.reason)));
  signal.addEventListener("abort", refuse);
  return { promise, forget: () => signal.removeEventListener("abort", refuse) };
}

const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

/** Seconds that a busy server wants to be left alone. */
function retryAfter(response) {
  const seconds = Number(response.headers.get("Retry-After") ?? 1);
  return Number.isFinite(seconds) ? Math.min(Math.max(seconds, 0.1), 30) : 1;
}

async function reasonOf(response) {
  try {
    const { error } = await response.json();
    if (typeof error === "string") return error.slice(0, 500).replace(/^image 0: /, "");
  } catch {
    // Not the server's own JSON: a proxy's page, say.
  }
  return `The server answered with status ${response.status}.`;
}

async function send(path, { file, signal }) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const request = { headers, signal, cache: "no-store" };
  if (file) {
    Object.assign(request, { method: "POST", body: file });
    headers["Content-Type"] = "application/octet-stream";
  }
  try {
    return await fetch(path, request);
  } catch (error) {
    signal?.throwIfAborted();
    if (file) await checkReadable(file);
    throw new Refusal(file ? "The server cannot be reached, or it refuses a file of this size." : "The server cannot be reached.");
  }
}

/** A folder that was dropped, or a file that has changed since, fails like a network does. */
async function checkReadable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    throw new Refusal("The file cannot be read. Is it a folder, or has it changed?");
  }
}

/** The server's answer; asks for a token where it wants one, and again where it is busy. */
async function ask(path, { file, signal } = {}) {
  for (let tries = 1; ; ) {
    const shown = token;
    const response = await send(path, { file, signal });
    if (response.ok) return response;
    if (response.status === 401) {
      await unless(signal, anotherToken(shown));
    } else if (response.status === 503 && tries < TRIES) {
      tries += 1;
      tell("The server is busy. Trying again.");
      await unless(signal, pause(retryAfter(response)));
    } else {
      throw new Refusal(await reasonOf(response));
    }
  }
}

function address(path, parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== null);
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}

async function classify(file, model, signal) {
  return (await ask(address("classify", { top: TOP, model }), { file, signal })).json();
}

async function explain(file, model, label, signal) {
  return (await ask(address("explain", { class: label, model }), { file, signal })).blob();
}

/** The text of an error; null for one that says that the user stopped it. */
function textOf(error, signal) {
  if (signal?.aborted) return null;
  if (error instanceof Refusal) return error.message;
  console.error(error);
  return "The server's answer cannot be read.";
}

// ---- The models

let descriptions = new Map();

const chosenModel = () => $("model").value || null;

function describe() {
  const about = descriptions.get(chosenModel());
  if (!about) return;
  const classes = about.parameters?.class_names?.length;
  const task = isRegression(chosenModel()) ? "estimates a number" : `${classes} classes`;
  const name = descriptions.size > 1 ? [] : [about.name];
  $("about").textContent = [...name, task, `version ${about.versions?.[0]}`].join(" · ");
}

const isRegression = (model) => descriptions.get(model)?.parameters?.task === "regression";

async function learnModels() {
  const server = await (await ask("v2")).json();
  const names = server.parameters?.models ?? [];
  const all = await Promise.all(names.map(async (name) => (await ask(`v2/models/${encodeURIComponent(name)}`)).json()));
  descriptions = new Map(names.map((name, index) => [name, all[index]]));
  $("model").replaceChildren(...names.map((name) => element("option", { value: name, textContent: name })));
  show("model", names.length > 1);
  show("model-label", names.length > 1);
  describe();
}

$("model").addEventListener("change", () => {
  describe();
  if (one && !$("one").hidden) showOne(one.file);
});

// ---- One image

let one = null;

/** Stops what is under way for the image that is shown, and shows another. */
function openOne(file) {
  one?.stop.abort();
  one?.urls.forEach((url) => URL.revokeObjectURL(url));
  one = { file, model: chosenModel(), stop: new AbortController(), urls: [], view: 0 };
  for (const id of ["value", "abstained", "labels-note", "explanation-note", "explained", "views", "blend", "image-note"]) show(id, false);
  $("labels").replaceChildren();
  $("facts").replaceChildren();
  $("one-title").textContent = file.name;
  setView("none");
  showPicture(file);
  show("one", true);
  show("close", Boolean(batch));
}

const addressOf = (blob) => {
  const url = URL.createObjectURL(blob);
  one.urls.push(url);
  return url;
};

function showPicture(file) {
  const url = addressOf(file);
  $("image").alt = `The image ${file.name}`;
  show("image", true);
  $("image").src = url;
  $("above").src = url;
}

/** Small images are enlarged, so that they can be seen and compared with the explanation. */
function size(picture) {
  const { naturalWidth: width, naturalHeight: height } = picture;
  picture.parentElement.style.setProperty("--aspect", width / height);
  picture.parentElement.style.setProperty("--natural", `${width}px`);
  picture.classList.toggle("small", Math.max(width, height) < 192);
}

$("image").addEventListener("load", () => size($("image")));
$("image").addEventListener("error", () => {
  show("image", false);
  $("image-note").textContent = "This browser cannot show images of this format.";
  show("image-note", true);
});

async function showOne(file) {
  openOne(file);
  const { model, stop: { signal } } = one;
  complain("");
  tell(`Classifying ${file.name}.`);
  try {
    const answer = await classify(file, model, signal);
    showAnswer(answer);
    tell(summary(file, answer));
    await showExplanation(answer.predictions?.[0].label ?? null);
  } catch (error) {
    const text = textOf(error, signal);
    if (text === null) return;
    show("one", false);
    tell("");
    complain(`${file.name}: ${text}`);
  }
}

function servedBy({ served_by: who, reason }) {
  if (!reason) return `the ${who}`;
  return `the ${who}, because ${REASONS[reason] ?? reason}`;
}

/** Why there is no label; empty where there is one. */
function abstention({ abstained, model }) {
  if (!abstained) return "";
  const threshold = descriptions.get(model)?.parameters?.abstain;
  const least = threshold === undefined ? "what is asked for" : `${number(100 * threshold)}%`;
  return `Unknown: no class is as probable as ${least}.`;
}

const candidate = ({ label, probability }) => `${label}, ${percent(probability)}`;

function summary(file, answer) {
  const [best] = answer.predictions ?? [];
  const label = answer.abstained ? `${answer.label} (perhaps ${candidate(best)})` : candidate(answer);
  const said = "value" in answer ? number(answer.value) : label;
  return `${file.name}: ${said}, in ${milliseconds(answer.ms)} by ${servedBy(answer)}.`;
}

function showAnswer(answer) {
  one.answer = answer;
  if ("value" in answer) {
    $("value").textContent = number(answer.value);
    show("value", true);
  } else {
    $("labels").replaceChildren(...answer.predictions.map(labelRow));
    $("abstained").textContent = abstention(answer);
    show("abstained", Boolean(answer.abstained));
  }
  const facts = [
    ["Answered by", servedBy(answer)],
    ["Time", milliseconds(answer.ms)],
    ["Model", `${answer.model}, version ${answer.version}`],
    ["Request", answer.request_id],
  ];
  $("facts").replaceChildren(...facts.flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text)]));
}

function labelRow({ label, probability }) {
  const filled = element("span");
  filled.style.width = `${100 * probability}%`;
  const bar = element("span", { className: "bar", ariaHidden: "true" }, filled);
  const name = element("span", { className: "name" }, label);
  const share = element("span", { className: "share" }, percent(probability));
  const button = element("button", { type: "button", ariaPressed: "false" }, name, share, bar);
  button.addEventListener("click", () => showExplanation(label));
  return element("li", {}, button);
}

/** The picture of what speaks for a label (null: for the number). */
async function showExplanation(label) {
  const { file, model, answer, stop: { signal } } = one;
  const view = (one.view += 1);
  const current = () => !signal.aborted && one.view === view;
  press(label);
  note("Explaining…");
  try {
    const drawing = await explain(file, model, label, signal);
    if (current()) showDrawing(drawing, label, answer);
  } catch (error) {
    const text = textOf(error, signal);
    if (text === null || !current()) return;
    for (const id of ["explained", "views", "blend", "labels-note"]) show(id, false);
    setView("none");
    note(`No explanation: ${text}`);
  }
}

function press(label) {
  one.answer.predictions?.forEach((prediction, index) => {
    $("labels").children[index].firstChild.ariaPressed = String(prediction.label === label);
  });
}

function note(text) {
  $("explanation-note").textContent = text;
  show("explanation-note", Boolean(text));
}

function showDrawing(drawing, label, answer) {
  const what = label === null ? "the number" : `“${label}”`;
  $("explanation").alt = `The image in gray: what speaks for ${what} is red, what speaks against it is blue.`;
  $("explanation").src = addressOf(drawing);
  const whose = answer.served_by === "primary" ? ` It is the explanation of ${answer.model}, not of the primary.` : "";
  note(`Red speaks for ${what}, blue speaks against it.${whose}`);
  show("explained", true);
  show("labels-note", label !== null);
}

$("explanation").addEventListener("load", () => {
  const shown = !$("image").hidden;
  size($("explanation"));
  if (shown) layOver();
  show("views", shown);
  setView(shown ? document.querySelector("#views :checked").value : "beside");
});

/** The longer side of the picture in a drawing has 384 to 1600 pixels; a narrower drawing is padded to 384. */
function layOver() {
  const { naturalWidth: width, naturalHeight: height } = $("image");
  const { naturalWidth: drawn, naturalHeight: drawnHeight } = $("explanation");
  const longest = Math.max(width, height);
  const scale = Math.min(Math.max(longest, 384), 1600) / longest;
  const wide = drawn > 384 ? drawn : Math.min(384, width * scale);
  const place = { left: (drawn - wide) / 2 / drawn, top: 0, width: wide / drawn, height: (wide * height) / width / drawnHeight };
  for (const [side, share] of Object.entries(place)) $("above").style[side] = `${100 * share}%`;
}

function setView(view) {
  $("pictures").dataset.view = view;
  show("blend", view === "over");
}

function blend() {
  $("above").style.opacity = 1 - $("strength").value / 100;
}

$("views").addEventListener("change", (event) => setView(event.target.value));
$("strength").addEventListener("input", blend);
$("close").addEventListener("click", () => {
  one.stop.abort();
  show("one", false);
  $("many-title").focus();
});

// ---- Many images

let batch = null;

const COLUMNS = {
  classification: ["File", "Label", "Probability", "Time", "Served by", "Error"],
  regression: ["File", "Number", "Time", "Served by", "Error"],
};
const NUMBERS = ["Number", "Probability", "Time"];

function cellsOf(answer) {
  const label = answer.abstained ? `${answer.label}, perhaps ${answer.predictions[0].label}` : answer.label;
  const said = "value" in answer ? [number(answer.value)] : [label, percent(answer.probability)];
  const who = answer.reason ? `${answer.served_by} (${answer.reason})` : answer.served_by;
  return [...said, milliseconds(answer.ms), who, ""];
}

function openBatch(files) {
  batch?.stop.abort();
  const model = chosenModel();
  const columns = COLUMNS[isRegression(model) ? "regression" : "classification"];
  batch = { files, model, columns, stop: new AbortController(), answers: [], next: 0, done: 0, failed: 0 };
  $("many-title").textContent = model ? `${images(files.length)}, model ${model}` : images(files.length);
  $("heads").replaceChildren(...columns.map((name) => element("th", { scope: "col", className: classOf(name) }, name)));
  $("rows").replaceChildren(...files.map((file) => rowOf(file, columns)));
  show("many", true);
  setGoing(true);
  count();
}

const classOf = (column) => (NUMBERS.includes(column) ? "number" : column.toLowerCase().replace(" ", "-"));

function rowOf(file, columns) {
  const open = element("button", { type: "button" }, file.name);
  open.addEventListener("click", () => {
    showOne(file);
    $("one-title").focus();
    $("one").scrollIntoView();
  });
  const cells = columns.slice(1).map((name) => element("td", { className: classOf(name) }));
  return element("tr", {}, element("th", { scope: "row", className: "file" }, open), ...cells);
}

function fill(index, cells) {
  const row = $("rows").children[index];
  cells.forEach((text, column) => (row.children[column + 1].textContent = text));
}

function count() {
  const { files, done, failed } = batch;
  const errors = failed ? `, ${failed} with an error` : "";
  $("count").textContent = `${done} of ${files.length} done${errors}`;
  $("progress").max = files.length;
  $("progress").value = done;
}

function setGoing(going) {
  const focused = [$("stop"), $("again")].includes(document.activeElement);
  show("stop", going);
  show("again", !going);
  $("table").ariaBusy = String(going);
  if (focused) $(going ? "stop" : "again").focus();
}

async function showMany(files) {
  one?.stop.abort();
  show("one", false);
  complain("");
  openBatch(files);
  const mine = batch;
  tell(`Classifying ${images(files.length)}.`);
  const start = performance.now();
  await Promise.all(Array.from({ length: AT_ONCE }, () => work(mine)));
  if (mine !== batch) return;
  setGoing(false);
  const { done, failed, stop } = mine;
  const errors = failed ? `, ${failed} with an error` : "";
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  tell(`${stop.signal.aborted ? "Stopped: " : ""}${images(done)} done in ${seconds} s${errors}.`);
}

async function work(mine) {
  while (mine.next < mine.files.length && !mine.stop.signal.aborted) {
    const index = mine.next;
    mine.next += 1;
    await classifyRow(mine, index);
  }
}

async function classifyRow(mine, index) {
  const { signal } = mine.stop;
  try {
    mine.answers[index] = await classify(mine.files[index], mine.model, signal);
  } catch (error) {
    const text = textOf(error, signal);
    if (text === null) return;
    mine.answers[index] = { error: text };
    mine.failed += 1;
  }
  mine.done += 1;
  // A newer batch has taken the table.
  if (mine !== batch) return;
  const answer = mine.answers[index];
  const empty = Array(mine.columns.length - 2).fill("");
  fill(index, answer.error ? [...empty, answer.error] : cellsOf(answer));
  count();
}

$("stop").addEventListener("click", () => batch.stop.abort());
$("again").addEventListener("click", () => showMany(batch.files));

// ---- The table as CSV

/** Spreadsheets run a text that starts like this as a formula. */
const FORMULA = /^[\s]*[=+\-@＝＋－＠]|^[\t\r\n]/;

function csvField(value) {
  if (typeof value !== "string") return String(value ?? "");
  const text = FORMULA.test(value) ? `'${value}` : value;
  return `"${text.replaceAll('"', '""')}"`;
}

function csvOf({ files, answers, columns }) {
  const said = columns.includes("Number") ? ["value"] : ["label", "probability"];
  const abstaining = answers.some((answer) => answer?.abstained !== undefined) ? ["abstained", "candidate"] : [];
  const fields = [...said, ...abstaining, "ms", "served_by", "reason", "model", "version", "error"];
  const rows = files.map((file, index) => {
    const answer = answers[index] ?? { error: "not classified" };
    const told = { ...answer, candidate: answer.predictions?.[0].label };
    return [file.name, ...fields.map((field) => told[field])];
  });
  return [["file", ...fields], ...rows].map((row) => `${row.map(csvField).join(",")}\r\n`).join("");
}

$("download").addEventListener("click", () => {
  // With the mark at the start spreadsheets know that it is UTF-8.
  const url = URL.createObjectURL(new Blob(["\ufeff", csvOf(batch)], { type: "text/csv" }));
  element("a", { href: url, download: "classification.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
});

// ---- Giving images

function give(files) {
  if (files.length === 1) showOne(files[0]);
  if (files.length > 1) showMany([...files]);
}

const hasFiles = (event) => event.dataTransfer?.types.includes("Files");

$("files").addEventListener("change", () => {
  give([...$("files").files]);
  // So that the same file can be chosen again.
  $("files").value = "";
});

// Anywhere: a browser would leave the page for a file that misses a small target.
document.addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = "copy";
  document.body.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  document.body.classList.remove("over");
  if (!hasFiles(event)) return;
  event.preventDefault();
  give(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => {
  if (!event.clipboardData.files.length) return;
  event.preventDefault();
  give(event.clipboardData.files);
});

// ---- The camera

let pictures = 0;

const CAMERA = {
  NotAllowedError: "The browser does not give the camera to this page.",
  NotFoundError: "There is no camera.",
  NotReadableError: "The camera is in use elsewhere.",
};

async function openCamera() {
  complain("");
  if (!navigator.mediaDevices?.getUserMedia) {
    complain("Browsers give the camera only to pages from https or from localhost.");
    return;
  }
  $("shoot").disabled = true;
  $("shot").showModal();
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    $("video").srcObject = stream;
    if (!$("shot").open) releaseCamera();
  } catch (error) {
    $("shot").close();
    complain(CAMERA[error.name] ?? "The camera cannot be used.");
  }
}

function releaseCamera() {
  $("video").srcObject?.getTracks().forEach((track) => track.stop());
  $("video").srcObject = null;
}

async function shoot() {
  const { videoWidth: width, videoHeight: height } = $("video");
  const canvas = element("canvas", { width, height });
  canvas.getContext("2d").drawImage($("video"), 0, 0);
  const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.95));
  $("shot").close();
  pictures += 1;
  give([new File([blob], `camera ${pictures}.jpg`, { type: blob.type })]);
}

$("camera").addEventListener("click", openCamera);
$("video").addEventListener("loadeddata", () => {
  $("shoot").disabled = false;
  $("shoot").focus();
});
$("shoot").addEventListener("click", shoot);
$("leave").addEventListener("click", () => $("shot").close());
$("shot").addEventListener("close", releaseCamera);

// ---- Start

blend();
learnModels().catch((error) => complain(textOf(error)));
