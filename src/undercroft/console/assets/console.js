// What the browser does by itself: theme, moving between pages without a reload, copying a command,
// and reading values off a chart. Everything else is decided by the server.

const root = document.documentElement;

// ---- theme: "" follows the system -------------------------------------------------------------
function showTheme(theme) {
  if (theme) root.dataset.theme = theme;
  else delete root.dataset.theme;
  for (const button of document.querySelectorAll("[data-set-theme]"))
    button.setAttribute("aria-pressed", String(button.dataset.setTheme === theme));
}
showTheme(localStorage.getItem("undercroft-theme") || "");

// ---- addresses: the server swaps the page's content; the address bar and history are ours ------
const connected = () => window.socket?.connected && window.did_handshake;
const here = () => location.pathname + location.search;

function ask(path) {
  if (!connected()) return location.reload();
  document.querySelector(".main")?.setAttribute("aria-busy", "true");
  emitEvent("undercroft_visit", path);
}
function visit(url) {
  const path = url.pathname + url.search;
  if (!connected()) return location.assign(url);
  if (path !== here()) {
    history.replaceState({ scroll: scrollY }, "");
    history.pushState({}, "", url);
  }
  ask(path);
}
window.undercroftArrived = (title, moved) => {
  document.title = title;
  document.querySelector(".main")?.removeAttribute("aria-busy");
  markPlace();
  if (!moved) return;
  requestAnimationFrame(() => {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (target) target.scrollIntoView();
    else scrollTo(0, history.state?.scroll || 0);
    const heading = document.querySelector("main h1");
    heading?.setAttribute("tabindex", "-1");
    if (document.activeElement?.name !== "q") heading?.focus({ preventScroll: true });
  });
};
function markPlace() {
  for (const link of document.querySelectorAll(".nav a")) {
    const path = link.getAttribute("href");
    const inside = path === "/" ? location.pathname === "/" : (location.pathname + "/").startsWith(path + "/");
    if (inside) {
      link.setAttribute("aria-current", "page");
      link.parentElement.scrollLeft = link.offsetLeft - link.parentElement.clientWidth / 2;
    }
    else link.removeAttribute("aria-current");
  }
}
addEventListener("popstate", () => ask(here()));

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.setTheme !== undefined) {
    localStorage.setItem("undercroft-theme", button.dataset.setTheme);
    showTheme(button.dataset.setTheme);
  } else if (button?.dataset.copy) {
    navigator.clipboard?.writeText(button.dataset.copy).then(() => {
      const before = button.textContent;
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = before), 1500);
    });
  }
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey || event.button) return;
  const link = event.target.closest("a");
  // In a lineage drawing the links are SVG's, whose address is not a plain string.
  const address = link?.getAttribute("href") || link?.getAttribute("xlink:href");
  if (!address || link.target === "_blank" || link.hasAttribute("download")) return;
  const url = new URL(address, location);
  if (url.origin !== location.origin || (address.startsWith("#") && address.length > 1)) return;
  event.preventDefault();
  visit(url);
});

document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[method=get]");
  if (!form) return;
  event.preventDefault();
  const url = new URL(form.action);
  for (const [name, value] of new FormData(form)) if (value) url.searchParams.set(name, value);
  visit(url);
});

// ---- acts: a button that changes something asks first, and is told what came of it --------------
function act(element, value) {
  if (!connected()) return location.reload();
  for (const button of document.querySelectorAll("[data-act]")) button.disabled = true;
  emitEvent("undercroft_act", [element.dataset.act, value]);
}
document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-act]");
  if (!button || (button.dataset.question && !confirm(button.dataset.question))) return;
  act(button, button.dataset.value || "");
});
document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-act]");
  if (!form) return;
  event.preventDefault();
  const field = form.querySelector("input");
  act(form, field.value);
  field.value = "";
});
window.undercroftActed = () => {
  for (const button of document.querySelectorAll("[data-act]")) button.disabled = false;
  document.querySelector('main [role="alert"]')?.scrollIntoView({ block: "nearest" });
};

// ---- charts: the value under the pointer -------------------------------------------------------
document.addEventListener("pointermove", (event) => {
  const plot = event.target.closest?.(".plot[data-points]");
  for (const other of document.querySelectorAll(".plot .cursor"))
    if (other.parentElement !== plot) other.style.display = "none";
  if (!plot) return;
  const points = JSON.parse(plot.dataset.points);
  const box = plot.getBoundingClientRect();
  const [first, last] = [points[0][0], points.at(-1)[0]];
  const x = first + ((event.clientX - box.left) / box.width) * (last - first);
  const near = points.reduce((a, b) => (Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a));
  const share = last === first ? 0 : (near[0] - first) / (last - first);
  const cursor = plot.querySelector(".cursor");
  cursor.style.cssText = `display:block;left:${share * 100}%`;
  cursor.classList.toggle("left", share > 0.7);
  cursor.firstElementChild.textContent = `${plot.dataset.word} ${near[0]}: ${near[1]}`;
});

const framed = new MutationObserver(() => {
  if (!document.querySelector(".theme-switch")) return;
  document.querySelector("main.q-page")?.setAttribute("role", "presentation"); // the page's own is inside
  framed.disconnect();
  showTheme(root.dataset.theme || "");
  markPlace();
});
framed.observe(root, { childList: true, subtree: true });

// ---- chat: what was typed is sent once, and the page follows the answer ------------------------
window.undercroftTyped = (event, emit) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  undercroftSay(event.target, emit);
};
window.undercroftSent = (event, emit) =>
  undercroftSay(event.currentTarget.closest(".composer-box").querySelector("textarea"), emit);
function undercroftSay(field, emit) {
  const text = field.value.trim();
  if (!text) return field.focus();
  emit(text);
  field.value = "";
}
window.undercroftFollow = () =>
  requestAnimationFrame(() =>
    document.querySelector(".turn:last-of-type")?.scrollIntoView({ block: "start", behavior: "smooth" }),
  );
document.addEventListener("click", (event) => {
  const question = event.target.closest?.("[data-ask]")?.dataset.ask;
  const field = question && document.querySelector(".composer textarea");
  if (!field) return;
  field.value = question;
  document.querySelector('.composer [aria-label="Ask"]').click();
});

// ---- a part of the page that is sent again takes the keyboard's focus with it: give it back ------
let focused = "";
document.addEventListener("focusin", ({ target }) => {
  const [name] = ["href", "data-act"].filter((each) => target.hasAttribute(each));
  focused = name ? `main [${name}="${CSS.escape(target.getAttribute(name))}"]` : "";
});
document.addEventListener("pointerdown", () => (focused = ""));
new MutationObserver(() => {
  if (focused && document.activeElement === document.body)
    document.querySelector(focused)?.focus({ preventScroll: true });
}).observe(root, { childList: true, subtree: true });
