// The prompt: a text line and effect chips, joined, sent when they change.

const EFFECTS = [
  ["Snow", "snow is falling"], ["Rain", "it is raining"], ["Fog", "fog rolls in"], ["Dusk", "dusk falls"],
  ["Sunset", "at sunset"], ["Film grain", "with film grain"], ["Black and white", "in black and white"],
];

export class Prompt extends EventTarget {
  // Event "change": detail is the whole text.

  constructor(form, input, chips) {
    super();
    this.input = input;
    this.active = new Set();
    this.last = "";
    form.addEventListener("submit", (event) => { event.preventDefault(); input.blur(); });
    input.addEventListener("blur", () => this.apply());
    this.buttons = EFFECTS.map(([label, phrase]) => this.chip(chips, label, phrase));
  }

  chip(holder, label, phrase) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.title = phrase;
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      if (!this.active.delete(phrase)) this.active.add(phrase);
      this.mark();
      this.apply();
    });
    holder.append(button);
    return button;
  }

  mark() {
    for (const button of this.buttons) button.setAttribute("aria-pressed", String(this.active.has(button.title)));
  }

  get text() {
    return [this.input.value.trim(), ...this.active].filter(Boolean).join(", ");
  }

  // Shows a prompt that came from elsewhere, without sending it.
  set(text) {
    this.input.value = text;
    this.active.clear();
    this.mark();
    this.last = this.text;
  }

  apply() {
    if (this.text === this.last) return;
    this.last = this.text;
    this.dispatchEvent(new CustomEvent("change", { detail: this.text }));
  }
}
