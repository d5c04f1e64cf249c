// Owns what moves on the page: puts new fragments in place, counts down between them, and pauses.
const live = document.getElementById("live");
const pause = document.getElementById("pause");
const connection = document.getElementById("connection");
let source = null;
let waiting = null;

// Whether the reader points at something in a section or has the focus there: its rows stay where they are.
const isHeld = (section) => section.matches(":hover, :focus-within");

// Gives an element the content of another one, without touching what is the same or has the focus.
function update(element, fresh) {
  if (element.className !== fresh.className) element.className = fresh.className;
  if (element.innerHTML === fresh.innerHTML) return;
  if (!element.contains(document.activeElement)) {
    for (const { name, value } of fresh.attributes) element.setAttribute(name, value);
    element.replaceChildren(...fresh.childNodes);
  } else if (element !== document.activeElement && element.children.length === fresh.children.length) {
    [...fresh.children].forEach((child, at) => update(element.children[at], child));
  }
}

function updateRows(rows, fresh, held) {
  const known = new Map([...rows.children].map((row) => [row.dataset.key, row]));
  const order = [...fresh.children].map((row) => {
    const old = known.get(row.dataset.key);
    known.delete(row.dataset.key);
    if (!old) {
      row.classList.add("fresh");
      return row;
    }
    update(old, row);
    return old;
  });
  if (!held) {
    rows.replaceChildren(...order);
    return;
  }
  for (const gone of known.values()) gone.classList.add("gone");
  for (const row of order) if (!row.parentNode || row.parentNode !== rows) rows.append(row);
}

function updateSection(section, fresh) {
  const rows = section.querySelector("[data-rows]");
  const freshRows = fresh.querySelector("[data-rows]");
  if (!rows || !freshRows || rows.tagName !== freshRows.tagName) {
    if (section.innerHTML !== fresh.innerHTML) section.replaceChildren(...fresh.childNodes);
    section.className = fresh.className;
    return;
  }
  updateRows(rows, freshRows, isHeld(section));
}

function show(fragment) {
  const fresh = new DOMParser().parseFromString(fragment, "text/html").body;
  for (const section of [...fresh.children]) {
    const old = document.getElementById(section.id);
    if (old) updateSection(old, section);
    else live.append(section);
  }
  received = performance.now();
}

// Countdowns follow the numbers of the server and stand still outside of working hours.
let received = performance.now();
const units = document.documentElement.lang === "ru" ? ["дн", "ч", "мин", "с"] : ["d", "h", "min", "s"];
function written(seconds) {
  const parts = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60, seconds % 60];
  const found = parts.findIndex((part) => part > 0);
  const first = found < 0 ? 3 : found;
  return parts.map((part, at) => [part, units[at], at])
    .filter(([part, , at]) => at === first || (at === first + 1 && part > 0))
    .map(([part, unit]) => `${part} ${unit}`).join(" ");
}
function tick() {
  const passed = Math.floor((performance.now() - received) / 1000);
  for (const clock of document.querySelectorAll(".countdown[data-runs='1']")) {
    const from = Number(clock.dataset.seconds);
    const seconds = clock.dataset.up === "1" ? from + passed : Math.max(from - passed, 0);
    const text = written(seconds);
    if (clock.textContent !== text) clock.textContent = text;
  }
}

function open() {
  source = new EventSource(live.dataset.stream);
  source.onopen = () => { connection.hidden = true; };
  source.onerror = () => { connection.hidden = false; };
  source.onmessage = (event) => {
    connection.hidden = true;
    waiting = event.data;
    requestAnimationFrame(() => {
      if (waiting !== null) show(waiting);
      waiting = null;
    });
  };
}

function close() {
  if (source) source.close();
  source = null;
}

const isPaused = () => pause.getAttribute("aria-pressed") === "true";

if (live && live.dataset.stream) {
  pause.hidden = false;
  pause.addEventListener("click", () => {
    const paused = !isPaused();
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? pause.dataset.resume : pause.dataset.pause;
    if (paused) close(); else open();
  });
  // A page that nobody sees needs no stream: browsers allow few connections to a host.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close();
    else if (!source && !isPaused()) open();
  });
  setInterval(() => { if (!isPaused()) tick(); }, 1000);
  open();
}

for (const select of document.querySelectorAll(".filters select")) {
  select.addEventListener("change", () => select.form.requestSubmit());
}
for (const button of document.querySelectorAll(".filters button")) button.hidden = true;
