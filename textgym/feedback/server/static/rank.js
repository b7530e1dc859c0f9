// Ranking by buttons, keyboard or drag. The fields that are sent follow the order of the cards, once somebody has
// changed that order or said that it is their answer: the order shown at first is drawn at random.

const EDGE = 90; // pixels; the row of buttons at the bottom is that high
const STEP = 12;
const list = document.getElementById("ranking");
const asShown = document.getElementById("as-shown");
const status = document.getElementById("moved");
const unanswered = document.getElementById("unanswered");
let touched = false;
let current = list.firstElementChild; // the card that had the focus last
const cards = () => [...list.children];

function ordinal(number) {
  const ending = { one: "st", two: "nd", few: "rd", other: "th" };
  return number + ending[new Intl.PluralRules("en", { type: "ordinal" }).select(number)];
}

function placeOf(card) {
  const ranks = cards().map((each) => each.dataset.rank);
  const tied = ranks.filter((rank) => rank === card.dataset.rank).length > 1;
  return `${tied ? "tied for " : ""}${ordinal(Number(card.dataset.rank))} of ${ranks.length}`;
}

function update() {
  let rank = 0;
  const answered = touched || asShown.checked;
  cards().forEach((card, index) => {
    if (index === 0) card.classList.remove("tied");
    if (!card.classList.contains("tied")) rank = index + 1;
    card.dataset.rank = String(rank);
    card.querySelector("select").value = answered ? String(rank) : "";
    card.querySelector(".grip").textContent = String(rank);
    card.querySelector(".tie").setAttribute("aria-pressed", String(card.classList.contains("tied")));
    card.querySelector('[data-step="-1"]').setAttribute("aria-disabled", String(index === 0));
    card.querySelector('[data-step="1"]').setAttribute("aria-disabled", String(index === list.children.length - 1));
  });
  for (const card of cards()) card.setAttribute("aria-label", `${card.dataset.label}, ${placeOf(card)}`);
  asShown.parentElement.hidden = touched;
  asShown.setCustomValidity(answered ? "" : "Move a text, or tick this if the order as shown is your answer.");
  if (answered) unanswered.hidden = true;
}

function changed(card) {
  touched = true;
  update();
  status.textContent = `${card.dataset.label} is now ${placeOf(card)}`;
}

// A tie is with the card above: none may pass to another card because that one came, or went.
function leave(card) {
  if (!card.classList.contains("tied")) card.nextElementSibling?.classList.remove("tied");
  card.classList.remove("tied");
}

function arrive(card) {
  card.nextElementSibling?.classList.remove("tied");
}

function move(card, step) {
  const other = step < 0 ? card.previousElementSibling : card.nextElementSibling;
  if (!other) {
    status.textContent = `${card.dataset.label} is already ${placeOf(card)}`;
    return;
  }
  leave(card);
  other.classList.remove("tied");
  // The other one passes by: what has the focus stays in the page, and so keeps it.
  if (step < 0) card.after(other);
  else card.before(other);
  arrive(card);
  changed(card);
  card.scrollIntoView({ block: "nearest" });
}

function tie(card) {
  if (!card.previousElementSibling) return;
  card.classList.toggle("tied");
  changed(card);
}

function drag(card, event) {
  event.preventDefault();
  card.focus();
  card.classList.add("dragged");
  const before = cards();
  const ties = before.filter((each) => each.classList.contains("tied"));
  leave(card);
  let height = event.clientY;
  const place = () => {
    const below = cards().find((other) => {
      const box = other.getBoundingClientRect();
      return other !== card && height < box.top + box.height / 2;
    });
    if (below) { if (below.previousElementSibling !== card) below.before(card); }
    else if (list.lastElementChild !== card) list.append(card);
    update();
  };
  const follow = (moved) => {
    height = moved.clientY;
    place();
  };
  const scrolling = setInterval(() => { // near an edge, the page follows
    const step = height < EDGE ? -STEP : height > innerHeight - EDGE ? STEP : 0;
    if (step) {
      scrollBy(0, step);
      place();
    }
  }, 16);
  const stop = () => {
    clearInterval(scrolling);
    card.classList.remove("dragged");
    removeEventListener("pointermove", follow);
    if (cards().every((each, index) => each === before[index])) { // it did not move
      for (const tied of ties) tied.classList.add("tied");
      update();
    } else {
      arrive(card);
      changed(card);
    }
  };
  addEventListener("pointermove", follow);
  addEventListener("pointerup", stop, { once: true });
  addEventListener("pointercancel", stop, { once: true });
}

function onKey(card, event) {
  const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (step && event.shiftKey) move(card, step);
  else if (step) (step < 0 ? card.previousElementSibling : card.nextElementSibling)?.focus();
  else if (event.key === "=") tie(card);
  else return;
  event.preventDefault();
}

for (const card of cards()) {
  card.tabIndex = 0;
  card.querySelector("select").required = false; // not seen here; the box to tick asks for an answer
  card.querySelector(".grip").addEventListener("pointerdown", (event) => drag(card, event));
  card.querySelector(".tie").addEventListener("click", () => tie(card));
  for (const button of card.querySelectorAll(".move")) {
    button.addEventListener("click", () => move(card, Number(button.dataset.step)));
  }
  card.addEventListener("focusin", () => { current = card; });
  card.addEventListener("keydown", (event) => onKey(card, event));
}
asShown.addEventListener("change", update);
// The browser would take the focus to the box, where the keys of the cards do nothing.
asShown.addEventListener("invalid", (event) => {
  event.preventDefault();
  unanswered.hidden = true; // shown again, it is read out again
  requestAnimationFrame(() => { unanswered.hidden = false; });
  if (!list.contains(document.activeElement)) current.focus();
});
asShown.addEventListener("keydown", (event) => onKey(current, event));
update();
list.firstElementChild.focus({ preventScroll: true });
