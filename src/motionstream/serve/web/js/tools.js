// The tool bar: which tool, and the grid it puts down.

const $ = (id) => document.getElementById(id);
const SOFT_REACH = 1.6; // radius of the soft edge in grid sizes
const SIZE_STEP = 0.02;

export function bindTools({ undo, clear }) {
  const buttons = [...document.querySelectorAll(".segmented [data-tool]")];
  const state = { tool: "drag" };

  function choose(tool) {
    state.tool = tool;
    document.body.dataset.tool = tool;
    for (const button of buttons) {
      button.setAttribute("aria-checked", String(button.dataset.tool === tool));
      button.tabIndex = button.dataset.tool === tool ? 0 : -1;
    }
  }

  function grid() {
    const size = Number($("grid-size").value);
    const spacing = Number($("grid-spacing").value);
    return { size, spacing, falloff: $("grid-soft").checked ? Math.max(size, spacing) * SOFT_REACH : 0 };
  }

  function tell() {
    const { size, spacing } = grid();
    const side = 2 * Math.floor(size / 2 / spacing + 1e-9) + 1;
    $("grid-size-value").textContent = `${side}×${side}`;
    $("grid-spacing-value").textContent = `${(spacing * 100).toFixed(1)}%`;
  }

  function resize(direction) {
    $("grid-size").value = Number($("grid-size").value) + direction * SIZE_STEP;
    tell();
  }

  buttons.forEach((button, index) => {
    button.addEventListener("click", () => choose(button.dataset.tool));
    button.addEventListener("keydown", ({ key }) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
      if (!step) return;
      const next = buttons[(index + step + buttons.length) % buttons.length];
      choose(next.dataset.tool);
      next.focus();
    });
  });
  for (const id of ["grid-size", "grid-spacing", "grid-soft"]) $(id).addEventListener("input", tell);
  $("undo").addEventListener("click", undo);
  $("clear").addEventListener("click", clear);
  choose("drag");
  tell();
  return { choose, resize, settings: () => ({ tool: state.tool, grid: grid(), loop: $("path-loop").checked }) };
}
