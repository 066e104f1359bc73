// Pointer events of mouse, pen and touch on the stage → places in shares of the frame.

export function bindPointer(canvas, controls, overlay) {
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return {
      x: (event.clientX - box.left) / box.width,
      y: (event.clientY - box.top) / box.height,
      ratio: box.height / box.width,
      time: event.timeStamp,
    };
  };
  const end = (event) => { controls.up(event.pointerId); };

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    document.activeElement?.blur();
    canvas.setPointerCapture(event.pointerId);
    controls.down(event.pointerId, place(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    overlay.hover = event.pointerType === "touch" ? null : place(event);
    const events = event.getCoalescedEvents?.() ?? [];
    controls.move(event.pointerId, (events.length ? events : [event]).map(place));
  });
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", end);
  canvas.addEventListener("pointerleave", () => { overlay.hover = null; });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
}
