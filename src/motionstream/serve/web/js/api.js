// HTTP requests: server info, uploads, downloads.

export class Api {
  constructor(token) {
    this.headers = token ? { Authorization: `Bearer ${token}` } : {};
  }

  async ask(path, options = {}) {
    let answer;
    try {
      answer = await fetch(path, { ...options, headers: this.headers });
    } catch {
      throw new Error("The server cannot be reached.");
    }
    if (answer.ok) return answer;
    const problem = await answer.json().catch(() => null);
    throw new Error(problem?.message ?? `The server answered ${answer.status}.`);
  }

  async info() { return (await this.ask("/api/info")).json(); }
  async addPicture(file) { return (await this.ask("/api/pictures", { method: "POST", body: file })).json(); }
  async addReplay(file) { return (await this.ask("/api/replays", { method: "POST", body: file })).json(); }
  async recording(id) { return (await this.ask(`/api/recordings/${id}`)).blob(); }
  async gestures(id) { return (await this.ask(`/api/gestures/${id}`)).blob(); }
}

// Hands a blob to the browser's downloads.
export function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
