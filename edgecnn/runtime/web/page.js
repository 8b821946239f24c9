// Fetches the figures and the picture again and again, each with a request of its own and a time-out. What cannot be
// fetched is said at once: a page that stands still must not look alive.

import {bars, histogram, lines, seconds} from "./plots.js";

const STATE_MS = 500, PICTURE_MS = 100, RETRY_MS = 1000, TIMEOUT_MS = 4000;
const LOST_MS = 3000;     // without an answer from the server
const SILENT_S = 10;      // without news from the loop; as the server's /healthz
const SLOTS = 150;        // samples of the server's history

const $ = (id) => document.getElementById(id);
const clock = new Intl.DateTimeFormat(undefined, {hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false});
const figures = new Intl.NumberFormat("en");
const time = (milliseconds) => clock.format(new Date(milliseconds));

// As in the pictures: Python rounds half to even, toFixed rounds it up.
function hundredths(value) {
  const scaled = 100 * value;
  return (scaled % 1 === 0.5 ? 2 * Math.round(scaled / 2) / 100 : value).toFixed(2);
}

let state = null;         // the last that was fetched
let heard = null;         // when, by this device's clock
let problem = "";         // why the last request failed
let run = null;           // when the loop began: numbers start anew with it
let shown = "";           // the events in the strip

// Text is only ever set as text: nothing that comes from elsewhere becomes HTML.
function put(id, text) {
  const element = $(id);
  if (element.textContent !== text) element.textContent = text;
}

async function ask(path, headers) {
  const answer = await fetch(path, {cache: "no-store", headers, signal: AbortSignal.timeout(TIMEOUT_MS)});
  if (answer.status === 401) throw new Error("access has ended: open the address with ?token=… again");
  if (!answer.ok && answer.status !== 304) throw new Error(`the server answers ${answer.status}`);
  return answer;
}

async function fetchState() {
  try {
    state = await (await ask("state.json")).json();
    heard = Date.now();
    problem = "";
  } catch (error) {
    problem = error instanceof TypeError || error.name === "TimeoutError" ? "" : error.message;
  }
  render();
}

let tag = "";
let pictured = null;      // what was said about the picture that is seen, and when it was fetched
let seen = 0;
async function fetchPicture() {
  const answer = await ask("live.jpg", tag ? {"If-None-Match": tag} : {});
  seen = Date.now();
  if (answer.status !== 200) return;
  tag = answer.headers.get("ETag") ?? "";
  const image = $("picture"), before = image.src;
  image.src = URL.createObjectURL(await answer.blob());
  await image.decode().catch(() => {});
  pictured = JSON.parse(answer.headers.get("X-Edgecnn-Moment") ?? "null");
  render();
  if (before) URL.revokeObjectURL(before);
  image.hidden = false;
  $("no-picture").hidden = true;
}

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

async function repeat(step, milliseconds) {
  for (;;) {
    let rest = milliseconds;
    if (!document.hidden) await step().catch(() => { rest = RETRY_MS; });
    await pause(rest);
  }
}

function link() {
  if (heard === null) return "connecting";
  if (Date.now() - heard > LOST_MS) return "lost";
  return state.silence === null || state.silence > SILENT_S ? "silent" : "live";
}

// Word, score and caption are those of the picture that is seen, as long as pictures come.
function shownMoment() {
  return pictured !== null && Date.now() - seen < LOST_MS ? pictured : state?.now ?? null;
}

function render() {
  const now = link();
  document.body.dataset.link = now;
  document.body.dataset.source = state === null || state.figures.connected ? "there" : "lost";
  alarm(now);
  broken(now);
  verdict(now);
  if (state === null) return;
  const counted = state.figures;
  const alive = counted.connected ? `live · ${counted.fps.toFixed(1)}/s` : "no camera";
  put("link-text", {live: alive, lost: "no connection", silent: "no news"}[now] ?? now);
  if (now === "lost") return;
  put("bundle", state.bundle);
  put("about", [state.station, state.task, state.engine, state.source].filter(Boolean).join(" · "));
  if (run !== counted.started) { run = counted.started; shown = ""; tag = ""; pictured = null; }
  caption();
  counters(counted);
  events();
  plots();
  health(counted);
}

function alarm(now) {
  const texts = {
    connecting: problem && `No connection: ${problem}`,
    lost: `No connection since ${time(heard)}. ${problem || "What you see is old."}`,
    silent: state?.silence == null ? "The loop has not said anything yet." :
      `No news from the loop since ${time(heard - 1000 * state.silence)}: it hangs or has ended.`,
    live: "",
  };
  const text = texts[now] || "";
  put("alarm", text);
  $("alarm").hidden = !text;
}

// A verdict that nobody gets, or that no camera stands behind, must not look like one.
function broken(now) {
  const known = state !== null && now !== "lost";
  const failing = known ? state.sinks.filter((one) => one.failing) : [];
  const lost = known && state.figures.source_failing;
  const words = [lost && "CAMERA LOST", failing.length && "NOT DELIVERED"].filter(Boolean);
  const why = failing.map((one) => `${one.address}: ${one.error || one.last_error}`);
  if (lost) why.unshift(`${state.source}: ${state.figures.source_error}`);
  put("broken-word", words.join(" · "));
  put("broken-why", why.join("\n"));
  $("broken").hidden = words.length === 0;
  document.body.toggleAttribute("data-broken", words.length > 0);
}

function verdict(now) {
  const moment = shownMoment(), known = (moment === null ? state?.state : moment.state) || "";
  if (now !== "live") {
    document.body.dataset.verdict = now === "connecting" ? "none" : "lost";
    say({connecting: "CONNECTING", lost: "NO CONNECTION", silent: "NO NEWS"}[now], known ? `Last known: ${known}` : "");
    $("score").hidden = true;
    return;
  }
  const decides = known !== "";
  document.body.dataset.verdict = decides ? known : "none";
  say(decides ? known : moment?.label ?? "RUNNING", reason(known, moment));
  document.title = `${$("broken").hidden ? "" : "⚠ "}${decides ? known : moment?.label ?? "running"} · ${state.bundle}`;
  score(moment);
}

function say(word, why) {
  // Screen readers hear the verdict when it changes; the numbers of its reason move all the time.
  if ($("word").textContent !== word) put("spoken", `${word}. ${why}`);
  put("word", word);
  $("word").classList.toggle("long", word.length > 9);
  put("why", why);
}

function reason(known, moment) {
  const reasons = moment?.findings.map((finding) => finding.reason) ?? [];
  if (known === "INVALID") return reasons.join(" ") || "Waiting for pictures that can be trusted.";
  return !["defect", "anomaly"].includes(state.task) ? "" : {REJECT: "A defect was found.", PASS: "No defect was found."}[known] ?? "";
}

function score(moment) {
  const has = moment !== null && moment.score !== null;
  $("score").hidden = !has;
  if (!has) return;
  put("label", moment.label ?? "score");
  put("value", moment.score_text);
  $("fill").style.width = `${100 * Math.min(Math.max(moment.score, 0), 1)}%`;
  $("mark").hidden = moment.threshold === null;
  if (moment.threshold !== null) $("mark").style.left = `${100 * moment.threshold}%`;
  put("limit", moment.threshold === null ? "" : `rejects from ${hundredths(moment.threshold)} on`);
}

function caption() {
  const moment = shownMoment();
  put("caption", moment === null ? "" :
    `turn ${figures.format(moment.turn)}${moment.name && ` · ${moment.name}`} · ${seconds(moment.age)} from frame to verdict`);
}

function counters(counted) {
  const parts = Object.values(counted.parts).reduce((sum, count) => sum + count, 0) > 0;
  const source = parts ? counted.parts : counted.verdicts;
  put("counters-title", parts ? "Parts since the start" : "Turns since the start");
  for (const name of ["pass", "reject", "invalid"]) put(name, compact(source[name.toUpperCase()] ?? 0));
  put("frames", compact(counted.frames));
  put("dropped", compact(counted.dropped));
  put("uptime", duration(counted.uptime));
}

function compact(number) {
  return number < 1e6 ? figures.format(number) : `${(number / 1e6).toFixed(2)} M`;
}

function duration(length) {
  const days = Math.floor(length / 86400), hours = Math.floor(length / 3600) % 24, minutes = Math.floor(length / 60) % 60;
  if (days) return `${days}d ${hours}h`;
  return hours ? `${hours}h ${minutes}m` : minutes ? `${minutes} min` : `${Math.floor(length)} s`;
}

// Events

const address = (event) => `events/${event.number}.jpg?run=${run}`;

function events() {
  const key = `${run}:${state.events.map((event) => event.number).join(",")}`;
  if (key === shown) return;
  shown = key;
  $("no-events").hidden = state.events.length > 0;
  const past = $("strip").scrollLeft;
  const old = new Map([...$("strip").children].map((item) => [item.dataset.key, item]));
  $("strip").replaceChildren(...state.events.map((event) => old.get(`${run}:${event.number}`) ?? item(event)));
  $("strip").scrollLeft = past;
}

function make(kind, className, text) {
  const element = document.createElement(kind);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function item(event) {
  const entry = make("li"), button = make("button"), text = make("span", "text"), head = make("span", "head");
  entry.dataset.key = `${run}:${event.number}`;
  button.type = "button";
  button.setAttribute("aria-label", `${event.verdict} at ${time(1000 * event.time)}: ${event.title}. ${event.reason}`);
  button.addEventListener("click", () => open(event.number));
  const picture = make(event.picture ? "img" : "span", event.picture ? "" : "blank", event.picture ? undefined : "no picture");
  if (event.picture) { picture.alt = ""; picture.loading = "lazy"; picture.src = address(event); }
  head.append(make("span", `tag ${event.verdict}`, event.verdict), make("time", "", time(1000 * event.time)));
  const score = event.score === null ? "" : hundredths(event.score);
  const line = make("span", "head");
  line.append(make("span", "", event.title), make("span", "score", score));
  text.append(head, line, make("span", "why", event.reason));
  button.append(picture, text);
  entry.append(button);
  return entry;
}

let opened = null;        // number of the event in the dialog

function open(number) {
  const event = state.events.find((one) => one.number === number);
  if (!event) return;
  opened = number;
  const score = event.score === null ? "" : ` · ${hundredths(event.score)}`;
  put("large-title", `${event.verdict} · ${event.title}${score} · ${time(1000 * event.time)}`);
  put("large-why", event.reason);
  $("large-picture").hidden = !event.picture;
  if (event.picture) $("large-picture").src = address(event);
  $("large-picture").alt = `${event.verdict}: ${event.title}`;
  const place = state.events.indexOf(event);
  $("newer").disabled = place === 0;
  $("older").disabled = place === state.events.length - 1;
  if (!$("large").open) $("large").showModal();
}

function step(by) {
  const next = state.events[state.events.findIndex((one) => one.number === opened) + by];
  if (next) open(next.number);
}

$("newer").addEventListener("click", () => step(-1));
$("older").addEventListener("click", () => step(1));
$("close").addEventListener("click", () => $("large").close());
$("large").addEventListener("click", (event) => { if (event.target === $("large")) $("large").close(); });
$("large").addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});

// Plots and health

function plots() {
  const past = state.history, last = past.p50.length - 1;
  const text = last < 0 ? "nothing measured yet" : `now median ${seconds(past.p50[last])}, 99 % ${seconds(past.p99[last])}`;
  const series = [{name: "p50", values: past.p50}, {name: "p99", values: past.p99}];
  lines($("ages"), series, past.step, SLOTS, `Age of a verdict over the last minutes: ${text}`);
  const sum = past.dropped.reduce((total, count) => total + count, 0);
  bars($("drops"), past.dropped, past.step, SLOTS, `Dropped frames over the last minutes: ${sum}`);
  for (const name of ["age", "inference"]) {
    const told = `median ${seconds(state[name].p50)}, 99 % ${seconds(state[name].p99)}`;
    put(`${name}-text`, told);
    histogram($(name), state.bounds, state[name].counts, `Histogram of ${figures.format(state[name].count)} values: ${told}`);
  }
}

function health(counted) {
  const again = `opened ${counted.connects} time${counted.connects === 1 ? "" : "s"}`;
  const stuck = counted.stuck ? ` · ${counted.stuck} read${counted.stuck === 1 ? "" : "s"} abandoned` : "";
  const past = counted.source_error ? ` · ${counted.connected ? "last lost: " : ""}${counted.source_error}` : "";
  const source = [counted.connected && !counted.source_failing ? "good" : "bad", state.source || "source", `${counted.connected ? "gives frames" : "lost"} · ${again}${stuck}${past}`];
  const findings = Object.entries(counted.findings).filter(([, count]) => count);
  const told = findings.map(([kind, count]) => `${kind.replaceAll("_", " ")} ${compact(count)}`).join(" · ");
  const pictures = [told ? "warn" : "good", "Pictures", told ? `not to be trusted: ${told}` : "all could be trusted"];
  const all = [source, pictures, ...state.sinks.map(sink)];
  $("parts-of-it").replaceChildren(...all.map(row));
  const broken = all.filter(([level]) => level === "bad").length;
  put("problems", `✕ ${broken} problem${broken === 1 ? "" : "s"}`);
  $("problems").hidden = broken === 0;
}

function sink(one) {
  const lost = one.lost ? ` · lost ${compact(one.lost)}` : "";
  const waiting = one.waiting ? ` · waiting ${one.waiting}` : "";
  const error = one.error ? ` · ${one.error}` : one.last_error ? ` · before: ${one.last_error}` : "";
  const level = one.error || one.failing ? "bad" : one.lost ? "warn" : "good";
  return [level, one.address, `delivered ${compact(one.delivered)}${lost}${waiting} · 99 % within ${seconds(one.p99)}${error}`];
}

function row([level, name, text]) {
  const entry = make("li", level), mark = make("span", "mark", {good: "✓", warn: "▲", bad: "✕"}[level]);
  mark.setAttribute("aria-label", {good: "good:", warn: "attention:", bad: "broken:"}[level]);
  mark.setAttribute("role", "img");
  entry.append(mark, make("b", "", name), make("span", "", text));
  return entry;
}

const isKiosk = new URLSearchParams(location.search).has("kiosk");
document.body.classList.toggle("kiosk", isKiosk);
put("view", isKiosk ? "All" : "Large");
$("view").href = isKiosk ? "./" : "?kiosk";

// After a phone's sleep the first thing that is seen is that everything is old, then it is fetched.
document.addEventListener("visibilitychange", () => { if (!document.hidden) { render(); fetchState(); } });
setInterval(() => { if (link() !== "live") render(); }, 500);
repeat(fetchState, STATE_MS);
repeat(fetchPicture, PICTURE_MS);
