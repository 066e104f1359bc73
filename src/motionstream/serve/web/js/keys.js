// Keyboard shortcuts; none while a text is written, none that a focused button uses.

export function bindKeys({ startOrEnd, toggle, record, undo, clear, tools, overlay, fullscreen, focusPrompt }) {
  const actions = {
    Enter: startOrEnd,
    " ": toggle,
    d: () => tools.choose("drag"),
    p: () => tools.choose("pin"),
    l: () => tools.choose("path"),
    "[": () => tools.resize(-1),
    "]": () => tools.resize(1),
    r: record,
    t: focusPrompt,
    f: fullscreen,
    g: () => { overlay.showPoints = !overlay.showPoints; },
    Backspace: clear,
    "?": () => document.getElementById("help").showModal(),
  };

  // A button pressed with the pointer gives its focus back, so that Space and Enter stay with the video.
  window.addEventListener("click", (event) => {
    const focused = document.activeElement;
    if (event.detail > 0 && focused?.matches("main button, aside button, input[type=checkbox]")) focused.blur();
  });

  window.addEventListener("keydown", (event) => {
    const { target, key } = event;
    if (document.querySelector("dialog[open]") || event.isComposing) return;
    if (target.matches("input[type=text]")) return;
    if ((event.ctrlKey || event.metaKey) && key.toLowerCase() === "z") { event.preventDefault(); undo(); return; }
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const focused = target.matches("button, a, summary, input, video") && target.matches(":focus-visible");
    if (focused && (key === "Enter" || key === " ")) return;
    const action = actions[key.length === 1 ? key.toLowerCase() : key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
