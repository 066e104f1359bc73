// The WebSocket: hello, message numbers, reconnecting (docs/protocol.md).

import { decode } from "./msgpack.js";

const PROTOCOL = 1;
const CHUNK = 1;
const RETRY_MS = [400, 800, 1600, 3200, 6400];
const FINAL_CLOSES = new Set([4401]);

export class Connection extends EventTarget {
  // Events: "link" (detail: connecting | open | lost | refused), "message" (detail: object), "chunk" (detail: header with frames).

  constructor(token) {
    super();
    this.token = token;
    this.seq = 0;
    this.sentAt = new Map();
    this.attempt = 0;
    this.ready = false;
  }

  connect() {
    this.tell("link", "connecting");
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.socket = new WebSocket(`${scheme}://${location.host}/live`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => this.push({ type: "hello", protocol: PROTOCOL, token: this.token });
    this.socket.onmessage = (event) => this.receive(event.data);
    this.socket.onclose = (event) => this.closed(event);
  }

  receive(data) {
    if (typeof data === "string") {
      const message = JSON.parse(data);
      if (message.type === "welcome") { this.ready = true; this.attempt = 0; this.tell("link", "open"); }
      this.tell("message", message);
      return;
    }
    const bytes = new Uint8Array(data);
    if (bytes[0] === CHUNK) this.tell("chunk", decode(bytes.subarray(1)));
  }

  closed(event) {
    this.ready = false;
    this.sentAt.clear();
    if (FINAL_CLOSES.has(event.code)) { this.tell("link", "refused"); return; }
    this.tell("link", "lost");
    const wait = RETRY_MS[Math.min(this.attempt, RETRY_MS.length - 1)];
    this.attempt += 1;
    setTimeout(() => this.connect(), wait);
  }

  // Sends a message with the next number; returns the number, or -1 while there is no connection.
  send(message) {
    return this.ready ? this.push(message) : -1;
  }

  push(message) {
    const seq = this.seq;
    this.seq += 1;
    this.socket.send(JSON.stringify({ ...message, seq }));
    return seq;
  }

  // Keeps when a pointer movement was sent, to measure its latency.
  time(seq) {
    if (seq >= 0) this.sentAt.set(seq, performance.now());
  }

  // Milliseconds since each timed message up to `applied`; those are removed.
  latencies(applied) {
    const now = performance.now();
    const waits = [];
    for (const [seq, at] of this.sentAt) {
      if (seq > applied) break;
      waits.push(now - at);
      this.sentAt.delete(seq);
    }
    return waits;
  }

  tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
