// Ranking by drag, buttons or keyboard; the fields that are sent follow the order of the cards.

const EDGE = 90; // pixels; the row of buttons at the bottom is that high
const STEP = 12;
const list = document.getElementById("ranking");
const cards = () => [...list.children];

function update() {
  let rank = 0;
  cards().forEach((card, index) => {
    if (index === 0) card.classList.remove("tied");
    if (!card.classList.contains("tied")) rank = index + 1;
    card.querySelector("select").value = String(rank);
    card.querySelector(".grip").textContent = String(rank);
    card.querySelector(".tie").setAttribute("aria-pressed", String(card.classList.contains("tied")));
    card.setAttribute("aria-label", `Rank ${rank}`);
  });
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
  if (!other) return;
  leave(card);
  other.classList.remove("tied");
  if (step < 0) other.before(card);
  else other.after(card);
  arrive(card);
  update();
  card.focus();
}

function drag(card, event) {
  event.preventDefault();
  card.focus();
  card.classList.add("dragged");
  const from = card.previousElementSibling;
  const ties = cards().filter((each) => each.classList.contains("tied"));
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
    if (card.previousElementSibling === from) for (const tied of ties) tied.classList.add("tied"); // it did not move
    else arrive(card);
    update();
  };
  addEventListener("pointermove", follow);
  addEventListener("pointerup", stop, { once: true });
  addEventListener("pointercancel", stop, { once: true });
}

for (const card of cards()) {
  card.tabIndex = 0;
  card.querySelector(".grip").addEventListener("pointerdown", (event) => drag(card, event));
  card.querySelector(".tie").addEventListener("click", () => {
    card.classList.toggle("tied");
    update();
  });
  card.addEventListener("keydown", (event) => {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (step && event.shiftKey) move(card, step);
    else if (step) (step < 0 ? card.previousElementSibling : card.nextElementSibling)?.focus();
    else if (event.key === "=") card.classList.toggle("tied");
    else return;
    event.preventDefault();
    update();
  });
}
update();
list.firstElementChild.focus({ preventScroll: true });
