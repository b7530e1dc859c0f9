// Grades by digit: one scale is current, and the next one after it was graded.

const scales = [...document.querySelectorAll(".scale")];
let current = 0;

function show(next) {
  current = Math.max(0, Math.min(next, scales.length - 1));
  scales.forEach((scale, index) => scale.classList.toggle("current", index === current));
  scales[current].scrollIntoView({ block: "nearest" });
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const choice = /^[1-5]$/.test(event.key) && scales[current].querySelector(`input[value="${event.key}"]`);
  if (choice) {
    choice.checked = true;
    if (current < scales.length - 1) show(current + 1);
  } else if (event.key === "ArrowUp") show(current - 1);
  else if (event.key === "ArrowDown") show(current + 1);
  else return;
  event.preventDefault();
});

scales.forEach((scale, index) => scale.addEventListener("change", () => show(index)));
show(0);
