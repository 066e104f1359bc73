// The grid of points around a place, for drawing; as the server computes it.

// Offsets in shares of the frame's width.
export function offsets({ size, spacing }) {
  const reach = Math.floor(size / 2 / spacing + 1e-9);
  const line = Array.from({ length: 2 * reach + 1 }, (_, i) => (i - reach) * spacing);
  return line.flatMap((y) => line.map((x) => [x, y]));
}

// Share of the pointer's movement that a point at this distance makes.
export function share(distance, falloff) {
  return falloff ? (1 + Math.cos(Math.PI * Math.min(distance / falloff, 1))) / 2 : 1;
}

// Position on a timed path after `seconds`, null when it is over.
export function along(points, seconds, loop) {
  const last = points[points.length - 1];
  let t = seconds;
  if (loop) {
    t = seconds % (2 * last.t);
    if (t > last.t) t = 2 * last.t - t;
  } else if (t > last.t) return null;
  const next = points.findIndex((point) => point.t >= t);
  if (next <= 0) return points[0];
  const a = points[next - 1];
  const b = points[next];
  const mix = (t - a.t) / (b.t - a.t);
  return { x: a.x + (b.x - a.x) * mix, y: a.y + (b.y - a.y) * mix };
}
