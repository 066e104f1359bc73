// The play-out buffer: shows frames at the stream's rate from a small queue, and keeps the display clock.

const HIDDEN = -32768;
const STEPS = 8;
const LATE_FRAMES = 1;

export class Player extends EventTarget {
  // Events: "frame" (detail: the frame shown), "arrived" (detail: {chunk, buffered}).

  constructor(canvas) {
    super();
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.reset([256, 144], 24);
    const loop = (now) => { this.tick(now); requestAnimationFrame(loop); };
    requestAnimationFrame(loop);
  }

  // A new session: nothing queued, clock at zero.
  reset(size, fps) {
    this.queue?.forEach((frame) => frame.bitmap.close());
    this.queue = [];
    this.session = (this.session ?? 0) + 1;
    this.size = size;
    this.fps = fps;
    this.playing = false;
    this.shown = null;
    this.due = 0;
    this.shownAt = 0;
    this.recent = [];
    this.decoding = Promise.resolve();
  }

  // Stream seconds of what is on display, advancing between frames but never past the next one.
  get seconds() {
    if (!this.shown) return 0;
    const since = this.playing ? Math.min((performance.now() - this.shownAt) / 1000, 1 / this.fps) : 0;
    return this.shown.number / this.fps + since;
  }

  // Frames shown in the last second.
  get rate() {
    const now = performance.now();
    this.recent = this.recent.filter((at) => now - at < 1000);
    return this.recent.length;
  }

  add(chunk) {
    const session = this.session;
    const bitmaps = Promise.all(chunk.frames.map((data) => createImageBitmap(new Blob([data], { type: "image/jpeg" }))));
    this.decoding = this.decoding.then(async () => this.enqueue(session, chunk, await bitmaps));
  }

  enqueue(session, chunk, bitmaps) {
    if (session !== this.session) { bitmaps.forEach((bitmap) => bitmap.close()); return; }
    bitmaps.forEach((bitmap, index) => this.queue.push({
      bitmap,
      number: chunk.first_frame + index,
      applied: chunk.applied_seq,
      opens: index === 0,
      points: pointsOf(chunk, index),
    }));
    this.dispatchEvent(new CustomEvent("arrived", { detail: { chunk: chunk.chunk, buffered: this.queue.length } }));
  }

  tick(now) {
    if (!this.playing || this.queue.length === 0 || now < this.due) return;
    const step = 1000 / this.fps;
    const late = now - this.due > LATE_FRAMES * step; // after a gap the rate starts anew, it does not catch up
    this.due = late ? now + step : this.due + step;
    this.show(this.queue.shift(), now);
  }

  show(frame, now) {
    this.shown?.bitmap.close();
    this.shown = frame;
    this.shownAt = now;
    this.recent.push(now);
    this.draw(frame.bitmap);
    this.dispatchEvent(new CustomEvent("frame", { detail: frame }));
  }

  // Draws a frame or a picture of any size, filling the canvas as the model's fit does.
  draw(image) {
    this.still = image;
    const { width, height } = this.canvas;
    const scale = Math.max(width / image.width, height / image.height);
    this.context.imageSmoothingEnabled = true;
    this.context.imageSmoothingQuality = "high";
    this.context.drawImage(image, (width - image.width * scale) / 2, (height - image.height * scale) / 2, image.width * scale, image.height * scale);
  }

  // The canvas has a new size: draw what is on display again.
  redraw() {
    const image = this.shown?.bitmap ?? this.still;
    if (image) this.draw(image);
  }
}

// Visible points of one frame of a chunk as [x, y, …] in pixels of the model's frame.
function pointsOf(chunk, index) {
  const count = chunk.points;
  const data = new DataView(chunk.tracks.buffer, chunk.tracks.byteOffset + index * count * 4, count * 4);
  const points = [];
  for (let i = 0; i < count; i += 1) {
    const x = data.getInt16(i * 4, true);
    if (x !== HIDDEN) points.push(x / STEPS, data.getInt16(i * 4 + 2, true) / STEPS);
  }
  return points;
}
