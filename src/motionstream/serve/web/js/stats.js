// FPS, latency, frame counter, clock.

const KEPT = 60;
const REFRESH_MS = 250;

export class Stats {
  constructor(places) {
    this.places = places;
    this.shownAt = 0;
    this.reset();
  }

  reset() {
    this.latencies = [];
    this.places.latency.textContent = this.places.fps.textContent = this.places.frame.textContent = "–";
    this.places.clock.textContent = clock(0);
  }

  // latencies: milliseconds from each pointer movement to this frame, the first that follows them.
  frame(number, fps, latencies) {
    this.places.frame.textContent = String(number + 1);
    this.places.clock.textContent = clock((number + 1) / fps);
    if (latencies.length === 0) return;
    this.latencies = [...this.latencies, ...latencies].slice(-KEPT);
    const sorted = [...this.latencies].sort((a, b) => a - b);
    this.places.latency.textContent = `${Math.round(sorted[sorted.length >> 1])} ms`;
  }

  rate(rate) {
    const now = performance.now();
    if (now - this.shownAt < REFRESH_MS) return;
    this.shownAt = now;
    this.places.fps.textContent = rate === null ? "–" : String(rate);
  }
}

function clock(seconds) {
  const minutes = Math.floor(seconds / 60);
  return `${minutes}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;
}
