// What somebody reads: opening, time, scrolling and copying, reported while it happens.

import { isActive, onActiveTime } from "./clock.js";
import "./keys.js";
import "./prompt.js";

const REPORT_MILLISECONDS = 3000;
document.documentElement.classList.add("scripted");

const form = document.getElementById("report");
const behaviour = form.elements.namedItem("behaviour");
const dot = document.getElementById("recording");
const results = [...document.querySelectorAll("#results details")];
const behaviours = results.map(() => ({ clicked: false, seconds: 0, scrolled: 0, copied: false }));
let reported = "";

function shareSeen(element) {
  const box = element.getBoundingClientRect();
  return box.height ? Math.min(Math.max((innerHeight - box.top) / box.height, 0), 1) : 0;
}

function isOnScreen(element) {
  const box = element.getBoundingClientRect();
  return box.bottom > 0 && box.top < innerHeight;
}

function noteShareSeen(index) {
  behaviours[index].scrolled = Math.max(behaviours[index].scrolled, shareSeen(results[index]));
}

function fields() {
  results.forEach((result, index) => { behaviours[index].clicked ||= result.open; }); // its event may be still to come
  behaviour.value = JSON.stringify(behaviours.map((each) => ({ ...each, seconds: Number(each.seconds.toFixed(2)) })));
  return new URLSearchParams(new FormData(form));
}

function report() {
  if (!results.some((result, index) => result.open || behaviours[index].clicked)) return; // a look is no answer yet
  const body = fields();
  const content = behaviour.value;
  if (content === reported) return;
  reported = content;
  fetch("/report", { method: "POST", body, keepalive: true }).catch(() => { reported = ""; });
}

results.forEach((result, index) => {
  result.addEventListener("toggle", () => {
    if (!result.open) return;
    behaviours[index].clicked = true;
    noteShareSeen(index); // also of what is closed again before the clock ticks
    for (const other of results) if (other !== result) other.open = false; // one is read at a time
    report();
  });
  result.addEventListener("copy", () => { behaviours[index].copied = true; });
});

onActiveTime((passed) => {
  const index = results.findIndex((result) => result.open);
  if (index < 0 || !isOnScreen(results[index])) return;
  behaviours[index].seconds += passed;
  noteShareSeen(index);
});

setInterval(() => { dot.classList.toggle("paused", !isActive()); }, 500);
setInterval(report, REPORT_MILLISECONDS);
document.addEventListener("visibilitychange", () => { if (document.visibilityState === "hidden") report(); });

addEventListener("keydown", (event) => {
  const result = results[Number(event.key) - 1];
  if (!result || event.ctrlKey || event.metaKey || event.altKey) return;
  result.open = !result.open;
  result.querySelector("summary").focus();
});

const next = form.querySelector("button");
next.removeAttribute("name"); // without a script it skips
form.addEventListener("submit", () => { fields(); });
