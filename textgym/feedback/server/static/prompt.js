// A long conversation is shown from its last question on; what came before is one scroll up.

const box = document.querySelector(".prompt");
const asked = box && [...box.querySelectorAll(".turn[data-asks]")].at(-1);
if (asked) box.scrollTop += asked.getBoundingClientRect().top - box.getBoundingClientRect().top;
