// Draws drags, pins and paths over the video.

import { along, offsets, share } from "./grid.js";

const COLOURS = { drag: "#5fe3a5", pin: "#ff7a7a", path: "#6fb0ff" };
const SHADE = "rgba(6, 9, 12, 0.55)";

export class Overlay {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.showPoints = false;
    this.hover = null;
  }

  // controls: Controls. frame: the one on display or null. size: model's frame. preview: {tool, grid}.
  draw(controls, frame, size, preview) {
    const { width, height } = this.canvas;
    this.unit = width;
    this.dot = Math.max(2, width / 420);
    this.context.clearRect(0, 0, width, height);
    if (this.showPoints && frame) this.modelPoints(frame.points, size);
    for (const item of controls.placed) this.item(item);
    for (const item of controls.active.values()) this.item(item);
    if (this.hover && controls.active.size === 0) this.grid(this.hover, this.hover, preview.grid, COLOURS[preview.tool], 0.45);
  }

  item(item) {
    if (item.kind === "path") this.path(item);
    else if (item.kind === "pin") { this.grid(item, item, item.grid, COLOURS.pin, 1); this.pinHead(item); }
    else this.drag(item);
  }

  drag(item) {
    this.line([item.origin, item], COLOURS.drag, 0.5, [2, 5]);
    this.ring(item.origin, COLOURS.drag, 0.5);
    this.grid(item.origin, item, item.grid, COLOURS.drag, 1);
    this.ring(item, COLOURS.drag, 1);
  }

  path(item) {
    this.line(item.points, COLOURS.path, 0.95);
    this.arrow(item.points);
    const place = item.drawing ? item : along(item.points, item.age ?? 0, item.loop);
    if (!place) return;
    this.grid(item.points[0], place, item.grid, COLOURS.path, 1);
    this.ring(place, COLOURS.path, 1);
  }

  // Points of a grid around `origin`, whose centre is now at `pointer`.
  grid(origin, pointer, grid, colour, opacity) {
    const { context } = this;
    const ratio = this.canvas.height / this.unit;
    const dx = pointer.x - origin.x;
    const dy = (pointer.y - origin.y) * ratio;
    context.globalAlpha = opacity;
    for (const pass of [SHADE, colour]) {
      context.fillStyle = pass;
      context.beginPath();
      for (const [x, y] of offsets(grid)) {
        const part = share(Math.hypot(x, y), grid.falloff);
        const px = (origin.x + x + dx * part) * this.unit;
        const py = (origin.y * ratio + y + dy * part) * this.unit;
        const radius = this.dot * (pass === SHADE ? 1.8 : 1.3);
        context.moveTo(px + radius, py);
        context.arc(px, py, radius, 0, 2 * Math.PI);
      }
      context.fill();
    }
    context.globalAlpha = 1;
  }

  line(points, colour, opacity, dash = []) {
    const { context } = this;
    context.lineCap = context.lineJoin = "round";
    context.globalAlpha = opacity;
    for (const [style, width] of [[SHADE, this.dot * 2.2], [colour, this.dot * 1.1]]) {
      context.strokeStyle = style;
      context.lineWidth = width;
      context.setLineDash(dash.map((part) => part * this.dot));
      context.beginPath();
      for (const point of points) context.lineTo(...this.at(point));
      context.stroke();
    }
    context.setLineDash([]);
    context.globalAlpha = 1;
  }

  arrow(points) {
    if (points.length < 3) return;
    const [x, y] = this.at(points[points.length - 1]);
    const [fromX, fromY] = this.at(points[Math.max(0, points.length - 6)]);
    const angle = Math.atan2(y - fromY, x - fromX);
    const { context } = this;
    const reach = this.dot * 5;
    context.fillStyle = COLOURS.path;
    context.beginPath();
    context.moveTo(x + Math.cos(angle) * reach, y + Math.sin(angle) * reach);
    for (const turn of [2.5, -2.5]) context.lineTo(x + Math.cos(angle + turn) * reach, y + Math.sin(angle + turn) * reach);
    context.fill();
  }

  ring(place, colour, opacity) {
    const { context } = this;
    const [x, y] = this.at(place);
    context.globalAlpha = opacity;
    for (const [style, width] of [[SHADE, this.dot * 2], [colour, this.dot * 0.9]]) {
      context.strokeStyle = style;
      context.lineWidth = width;
      context.beginPath();
      context.arc(x, y, this.dot * 4.5, 0, 2 * Math.PI);
      context.stroke();
    }
    context.globalAlpha = 1;
  }

  pinHead(item) {
    const { context } = this;
    const [x, y] = this.at(item);
    this.ring(item, COLOURS.pin, 1);
    context.fillStyle = COLOURS.pin;
    context.beginPath();
    context.arc(x, y, this.dot * 1.9, 0, 2 * Math.PI);
    context.fill();
  }

  // The points as the model was given them for the frame on display.
  modelPoints(points, size) {
    const { context } = this;
    const scale = this.unit / size[0];
    context.fillStyle = "rgba(255, 255, 255, 0.9)";
    for (let i = 0; i < points.length; i += 2) {
      context.fillRect(points[i] * scale - this.dot / 2, points[i + 1] * scale - this.dot / 2, this.dot, this.dot);
    }
  }

  at({ x, y }) {
    return [x * this.canvas.width, y * this.canvas.height];
  }
}
