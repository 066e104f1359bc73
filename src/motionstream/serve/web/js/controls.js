// Drags, pins and drawn paths on the picture. Turns pointer events into messages.

import { along } from "./grid.js";

const PIN_REACH = 0.03;
const MOST_PATH_POINTS = 600;
const MOST_SAMPLES = 64;
const SHORTEST_PATH_SECONDS = 0.08;

const clamp = (value) => Math.min(1.5, Math.max(-0.5, value));

export class Controls {
  // send(message, timed) → seq. clock() → stream seconds on display. settings() → {tool, grid, loop}.
  constructor({ send, clock, settings }) {
    Object.assign(this, { send, clock, settings });
    this.live = false;
    this.nextId = 0;
    this.forget();
  }

  // Remove everything without sending a message: the session has ended.
  forget() {
    this.placed = [];
    this.active = new Map();
  }

  // The stream runs or is paused; drags end when it pauses.
  setLive(live) {
    if (this.live && !live) for (const pointer of [...this.active.keys()]) this.up(pointer);
    this.live = live;
  }

  // A new session of the same picture: send pins and unfinished paths again.
  restore() {
    this.active.clear();
    for (const item of this.placed) {
      item.id = this.nextId;
      this.nextId += 1;
      item.started = null;
      this.place(item);
    }
  }

  down(pointer, at) {
    const { tool, grid, loop } = this.settings();
    const pin = tool === "pin" ? this.pinAt(at) : null;
    if (pin) { this.remove(pin); return; }
    const item = { id: this.nextId, kind: tool, x: clamp(at.x), y: clamp(at.y), grid: { ...grid }, loop: tool === "path" && loop };
    this.nextId += 1;
    if (tool === "pin") {
      item.grid.falloff = 0;
      this.placed.push(item);
      this.place(item);
      return;
    }
    if (tool === "path" || !this.live) this.beginPath(item, tool);
    else this.beginDrag(item);
    this.active.set(pointer, item);
  }

  beginPath(item, tool) {
    item.kind = "path";
    item.fromDrag = tool === "drag";
    item.drawing = true;
    item.began = performance.now();
    item.points = [{ x: item.x, y: item.y, t: 0 }];
  }

  beginDrag(item) {
    item.origin = { x: item.x, y: item.y };
    item.samples = [];
    this.send({ type: "down", gesture: item.id, x: item.x, y: item.y, at: this.clock(), grid: item.grid }, true);
  }

  // Pointer positions since the last event, oldest first.
  move(pointer, places) {
    const item = this.active.get(pointer);
    if (!item) return;
    for (const place of places) {
      const x = clamp(place.x);
      const y = clamp(place.y);
      if (item.drawing) this.extend(item, x, y, place.time);
      else item.samples.push({ x, y, at: this.clock() });
      Object.assign(item, { x, y });
    }
  }

  extend(item, x, y, time) {
    const t = Math.max(0, (time - item.began) / 1000);
    const last = item.points[item.points.length - 1];
    if (t <= last.t + 0.004 || item.points.length >= MOST_PATH_POINTS || t > 60) return;
    item.points.push({ x, y, t });
  }

  // Once a display frame: send the pointer positions since the last one.
  flush() {
    for (const item of this.active.values()) {
      if (item.drawing || item.samples.length === 0) continue;
      const samples = item.samples.splice(0).slice(-MOST_SAMPLES);
      this.send({ type: "move", gesture: item.id, samples }, true);
    }
  }

  up(pointer) {
    const item = this.active.get(pointer);
    if (!item) return;
    if (!item.drawing) {
      this.flush();
      this.send({ type: "up", gesture: item.id, at: this.clock() });
    } else this.finishPath(item);
    this.active.delete(pointer);
  }

  finishPath(item) {
    this.extend(item, item.x, item.y, performance.now()); // a rest at the end is part of the timing
    item.drawing = false;
    const last = item.points[item.points.length - 1];
    if (item.points.length < 2 || last.t < SHORTEST_PATH_SECONDS) return;
    Object.assign(item, { x: item.points[0].x, y: item.points[0].y });
    this.placed.push(item);
    this.place(item);
  }

  place(item) {
    const { id: gesture, x, y, grid } = item;
    const at = this.clock();
    item.seq = item.kind === "pin"
      ? this.send({ type: "pin", gesture, x, y, at, grid })
      : this.send({ type: "path", gesture, points: item.points, at, grid, loop: item.loop });
  }

  pinAt(at) {
    const near = (item) => item.kind === "pin" && Math.hypot(item.x - at.x, (item.y - at.y) * at.ratio) < Math.max(PIN_REACH, item.grid.size / 2);
    return this.placed.findLast(near) ?? null;
  }

  remove(item) {
    this.placed = this.placed.filter((other) => other !== item);
    this.send({ type: "remove", gesture: item.id, at: this.clock() });
  }

  undo() {
    const item = this.placed[this.placed.length - 1];
    if (item) this.remove(item);
    return Boolean(item);
  }

  clear() {
    this.forget();
    this.send({ type: "clear", at: this.clock() });
  }

  // A message was refused: remove its pin or path.
  refused(seq) {
    this.placed = this.placed.filter((item) => item.seq !== seq);
  }

  // A frame is shown: paths begin with the first chunk that includes them, and are removed at their end.
  shown(frame, fps) {
    this.placed = this.placed.filter((item) => {
      if (item.kind !== "path") return true;
      if (item.started === null || item.started === undefined) {
        if (item.seq >= 0 && frame.applied >= item.seq) item.started = frame.number;
        return true;
      }
      item.age = (frame.number - item.started) / fps;
      return along(item.points, item.age, item.loop) !== null;
    });
  }
}
