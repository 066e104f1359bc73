// Short messages at the edge of the page. Text only, never markup.

const SHOWN_MS = 5000;
const MOST = 3;

export function toast(message, kind = "info") {
  const text = message.charAt(0).toUpperCase() + message.slice(1);
  const holder = document.getElementById("toasts");
  const same = [...holder.children].find((item) => item.textContent === text);
  const item = same ?? document.createElement("p");
  item.textContent = text;
  item.className = `toast ${kind}`;
  if (kind === "error") item.setAttribute("role", "alert");
  holder.append(item);
  while (holder.children.length > MOST) holder.firstChild.remove();
  clearTimeout(item.timer);
  item.timer = setTimeout(() => item.remove(), SHOWN_MS);
}
