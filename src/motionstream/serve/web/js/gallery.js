// The start pictures: those of the package, and uploads by button, drop or paste.

export class Gallery extends EventTarget {
  // Event "choose": detail {source, picture, url, title}.

  constructor(list) {
    super();
    this.list = list;
    this.entries = [];
  }

  fill(pictures) {
    for (const { id, title, caption, author, licence } of pictures) {
      this.add({ source: "gallery", picture: id, url: `gallery/${id}.jpg`, title, note: `${caption}. ${author}, ${licence}` });
    }
  }

  add(entry, first = false) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    const image = document.createElement("img");
    const label = document.createElement("span");
    button.type = "button";
    button.title = entry.note ?? entry.title;
    button.dataset.picture = entry.picture;
    button.setAttribute("aria-pressed", "false");
    Object.assign(image, { src: entry.url, alt: "", draggable: false });
    label.textContent = entry.title;
    button.append(image, label);
    button.addEventListener("click", () => this.choose(entry));
    item.append(button);
    if (first) this.list.prepend(item); else this.list.append(item);
    this.entries.push(entry);
    return entry;
  }

  find(source, picture) {
    return this.entries.find((entry) => entry.source === source && entry.picture === picture) ?? null;
  }

  choose(entry) {
    this.mark(entry);
    this.dispatchEvent(new CustomEvent("choose", { detail: entry }));
  }

  mark(entry) {
    for (const button of this.list.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.dataset.picture === entry.picture));
    }
  }
}

// Calls `take(file)` for each picture chosen, dropped or pasted.
export function onPictures({ button, input, drop, take }) {
  let depth = 0;
  const show = (shown) => { drop.hidden = !shown; };
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  button.addEventListener("click", () => input.click());
  input.addEventListener("change", () => { if (input.files[0]) take(input.files[0]); input.value = ""; });
  window.addEventListener("dragenter", (event) => { if (hasFiles(event)) { depth += 1; show(true); } });
  window.addEventListener("dragleave", (event) => { if (hasFiles(event)) { depth -= 1; show(depth > 0); } });
  window.addEventListener("dragover", (event) => event.preventDefault());
  window.addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    show(false);
    const file = event.dataTransfer?.files[0];
    if (file) take(file);
  });
  window.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith("image/"));
    if (file) take(file);
  });
}
