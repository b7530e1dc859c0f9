// What somebody is writing outlives a reload, and an undo; in this tab, for whom it was begun by alone.

const text = document.querySelector("textarea");

if (text) {
  const valueOf = (field) => text.form.elements.namedItem(field)?.value; // .item is a method
  const own = `draft ${valueOf("csrf")} `;
  const name = own + [valueOf("item"), valueOf("choice")].join(" ");
  for (const key of Object.keys(sessionStorage)) {
    if (key.startsWith("draft ") && !key.startsWith(own)) sessionStorage.removeItem(key); // somebody else's
  }
  text.value = sessionStorage.getItem(name) ?? text.value;
  const check = () => text.setCustomValidity(text.value.trim() ? "" : "Please write a text, or skip the question.");
  text.addEventListener("input", () => {
    sessionStorage.setItem(name, text.value);
    check();
  });
  check();
}
