// The studio: wires connection, player, controls and page together.

import { Api, download } from "./api.js";
import { Connection } from "./connection.js";
import { Controls } from "./controls.js";
import { Gallery, onPictures } from "./gallery.js";
import { bindKeys } from "./keys.js";
import { Overlay } from "./overlay.js";
import { Player } from "./player.js";
import { bindPointer } from "./pointer.js";
import { Prompt } from "./prompt.js";
import { Stats } from "./stats.js";
import { toast } from "./toasts.js";
import { bindTools } from "./tools.js";

const $ = (id) => document.getElementById(id);

function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem("motionstream-token", given);
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem("motionstream-token");
}

const token = takeToken();
const api = new Api(token);
const connection = new Connection(token);
const player = new Player($("video"));
const overlay = new Overlay($("overlay"));
const gallery = new Gallery($("gallery"));
const prompt = new Prompt($("prompt-form"), $("prompt"), $("chips"));
const stats = new Stats({ fps: $("stat-fps"), latency: $("stat-latency"), frame: $("stat-frame"), clock: $("clock") });
const tools = bindTools({ undo, clear });
const controls = new Controls({
  send: (message, timed) => {
    const seq = connection.send(message);
    if (timed && studio.state === "running") connection.time(seq);
    return seq;
  },
  clock: () => player.seconds,
  settings: tools.settings,
});

// state: none | ready | running | paused. startWhenReady: go on at once with what opens next.
const studio = { state: "none", entry: null, info: null, startWhenReady: false, recording: false, image: null };

function setState(state) {
  studio.state = state;
  document.body.dataset.state = state;
  player.playing = state === "running";
  controls.setLive(state === "running");
  const running = state === "running";
  const label = { none: "Start", ready: "Start", running: "Pause", paused: "Resume" }[state];
  $("play").querySelector("span").textContent = label;
  $("play").querySelector("use").setAttribute("href", running ? "#i-pause" : "#i-play");
  $("play").disabled = state === "none";
  $("stop").disabled = !running && state !== "paused";
  $("record").disabled = state === "none";
  $("save-gestures").disabled = state === "none";
  $("badge").hidden = state !== "paused";
  $("badge").textContent = "Paused";
  hint();
}

function hint() {
  const fresh = studio.state === "running" && controls.nextId === 0;
  const text = { drag: "Press on something and move it", pin: "Press to hold a place still", path: "Draw a movement" };
  $("hint").textContent = fresh ? text[tools.settings().tool] : "";
}

function open(entry) {
  studio.entry = entry;
  controls.forget();
  showPicture(entry);
  sendOpen();
}

function sendOpen() {
  const { source, picture } = studio.entry;
  connection.send({ type: "open", source, picture, prompt: prompt.text });
}

async function showPicture(entry) {
  const image = new Image();
  image.src = entry.url;
  await image.decode().catch(() => toast("This picture cannot be shown here.", "error"));
  if (studio.entry !== entry) return;
  studio.image = image;
  if (!player.shown) player.draw(image);
}

function start() {
  if (studio.state === "none") return;
  connection.send({ type: studio.state === "paused" ? "resume" : "start" });
}

function pause() {
  setState("paused"); // the display stops at once, whatever the connection does
  connection.send({ type: "pause" });
}

function toggle() {
  if (studio.state === "running") pause(); else start();
}

function startOrEnd() {
  if (studio.state === "ready") start();
  else if (studio.state !== "none") connection.send({ type: "stop" });
}

function undo() {
  if (!controls.undo()) toast("Nothing to undo: undo takes back pins and paths.");
}

function clear() {
  controls.clear();
}

function record() {
  if (studio.state === "none") return;
  connection.send({ type: "record", on: !studio.recording });
}

function setRecording(on) {
  studio.recording = on;
  $("record").setAttribute("aria-pressed", String(on));
  $("record").querySelector("span").textContent = on ? "Stop" : "Record";
}

const handlers = {
  opened(message) {
    player.reset(message.size, message.fps);
    stats.reset();
    setRecording(false);
    const entry = gallery.find(message.source, message.picture);
    if (entry && entry !== studio.entry) { studio.entry = entry; controls.forget(); gallery.mark(entry); showPicture(entry); }
    if (studio.image) player.draw(studio.image);
    if (message.replay) { prompt.set(message.prompt); controls.forget(); overlay.showPoints = true; studio.startWhenReady = true; }
    controls.setLive(false);
    controls.restore();
  },
  state({ state }) {
    setState(state);
    if (state === "ready" && studio.startWhenReady) { studio.startWhenReady = false; start(); }
  },
  async recording({ on, id, frames }) {
    setRecording(on);
    if (on || !id) return;
    showTake(await api.recording(id), frames);
  },
  async gestures({ id }) {
    download(await api.gestures(id), `motionstream-${studio.entry?.picture ?? "gestures"}.jsonl`);
  },
  error({ message, code, ref }) {
    controls.refused(ref);
    if (code === "gesture.refused" && /is in force/.test(message)) return; // it ended by itself a moment before
    toast(message, "error");
  },
};

function showTake(blob, frames) {
  const url = URL.createObjectURL(blob);
  URL.revokeObjectURL($("take-video").src);
  $("take-video").src = url;
  $("take-download").href = url;
  $("take-text").textContent = `${(frames / player.fps).toFixed(1)} s, ${Math.ceil(blob.size / 1024)} kB`;
  $("take").hidden = false;
}

connection.addEventListener("link", ({ detail }) => {
  const texts = { connecting: "Connecting", open: "Live", lost: "Reconnecting", refused: "No access" };
  $("link").dataset.link = detail;
  $("link").querySelector("span").textContent = texts[detail];
  if (detail === "open" && studio.entry) sendOpen();
  if (detail === "lost" && studio.state !== "none") {
    studio.startWhenReady = studio.state === "running";
    toast("The connection was lost. The video begins again once it is back.", "error");
    setState("none");
  }
});
connection.addEventListener("message", ({ detail }) => {
  Promise.resolve(handlers[detail.type]?.(detail)).catch((error) => toast(error.message, "error"));
});
connection.addEventListener("chunk", ({ detail }) => player.add(detail));

player.addEventListener("arrived", ({ detail }) => connection.send({ type: "ack", ...detail }));
player.addEventListener("frame", ({ detail }) => {
  controls.shown(detail, player.fps);
  stats.frame(detail.number, player.fps, detail.opens ? connection.latencies(detail.applied) : []);
  hint();
});

function drawOverlay() {
  controls.flush();
  overlay.draw(controls, player.shown, player.size, tools.settings());
  stats.rate(studio.state === "running" ? player.rate : null);
  requestAnimationFrame(drawOverlay);
}

// The largest frame of the model's shape that the stage has room for, at the screen's own resolution.
function fit() {
  const stage = $("stage").getBoundingClientRect();
  const [width, height] = studio.info?.size ?? [16, 9];
  const scale = Math.min(stage.width / width, stage.height / height);
  const box = [Math.floor(width * scale), Math.floor(height * scale)];
  $("frame").style.width = `${box[0]}px`;
  $("frame").style.height = `${box[1]}px`;
  for (const canvas of [$("video"), $("overlay")]) {
    [canvas.width, canvas.height] = box.map((side) => Math.max(1, Math.round(side * devicePixelRatio)));
  }
  player.redraw();
}

async function upload(file) {
  try {
    const { id } = await api.addPicture(file);
    const entry = { source: "upload", picture: id, url: URL.createObjectURL(file), title: file.name.replace(/\.\w+$/, "").slice(0, 40) || "Upload" };
    gallery.choose(gallery.add(entry, true));
  } catch (error) {
    toast(error.message, "error");
  }
}

async function replay(file) {
  try {
    const { id } = await api.addReplay(file);
    connection.send({ type: "replay", replay: id });
  } catch (error) {
    toast(error.message, "error");
  }
}

async function begin() {
  new ResizeObserver(fit).observe($("stage"));
  bindPointer($("overlay"), controls, overlay);
  bindKeys({ startOrEnd, toggle, record, undo, clear, tools, overlay, fullscreen, focusPrompt: () => $("prompt").focus() });
  onPictures({ button: $("upload"), input: $("upload-file"), drop: $("drop"), take: upload });
  gallery.addEventListener("choose", ({ detail }) => open(detail));
  prompt.addEventListener("change", ({ detail }) => { if (studio.state !== "none") connection.send({ type: "prompt", text: detail }); });
  $("play").addEventListener("click", toggle);
  $("begin").addEventListener("click", start);
  $("stop").addEventListener("click", () => connection.send({ type: "stop" }));
  $("record").addEventListener("click", record);
  $("save-gestures").addEventListener("click", () => connection.send({ type: "gestures" }));
  $("replay").addEventListener("click", () => $("replay-file").click());
  $("replay-file").addEventListener("change", ({ target }) => { if (target.files[0]) replay(target.files[0]); target.value = ""; });
  $("take-close").addEventListener("click", () => { $("take").hidden = true; $("take-video").pause(); });
  $("help-open").addEventListener("click", () => $("help").showModal());
  $("help-close").addEventListener("click", () => $("help").close());
  $("fullscreen").addEventListener("click", fullscreen);
  document.addEventListener("visibilitychange", () => { if (document.hidden && studio.state === "running") pause(); });
  drawOverlay();
  studio.info = await api.info();
  player.reset(studio.info.size, studio.info.fps);
  fit();
  gallery.fill(studio.info.gallery);
  const first = gallery.entries[0];
  gallery.mark(first);
  studio.entry = first;
  await showPicture(first);
  connection.connect();
}

function fullscreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else document.documentElement.requestFullscreen?.();
}

begin().catch((error) => toast(error.message, "error"));
