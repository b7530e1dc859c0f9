// Answers by keyboard, once each, with the time that they took.

import { onActiveTime } from "./clock.js";
import "./keys.js";
import "./prompt.js";

document.documentElement.classList.add("scripted");

let seconds = 0;
onActiveTime((passed) => { seconds += passed; });

for (const form of document.querySelectorAll("form[method=post]")) {
  let sent = false;
  form.addEventListener("submit", (event) => {
    if (sent) {
      event.preventDefault();
      return;
    }
    sent = true;
    const field = form.elements.namedItem("seconds");
    if (field) field.value = seconds.toFixed(2);
  });
  addEventListener("pageshow", () => { sent = false; }); // the page came back from the browser's memory
}
