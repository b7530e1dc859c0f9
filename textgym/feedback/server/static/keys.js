// Every control that names keys in data-keys is pressed by them, except while somebody is writing.

function nameOf(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  return (event.ctrlKey || event.metaKey ? "Ctrl+" : "") + key;
}

function isWriting(element) {
  return element instanceof HTMLTextAreaElement || element instanceof HTMLSelectElement ||
    (element instanceof HTMLInputElement && !["checkbox", "radio", "button", "submit"].includes(element.type));
}

addEventListener("keydown", (event) => {
  const name = nameOf(event);
  if (event.repeat || event.altKey || (isWriting(event.target) && name !== "Ctrl+Enter")) return;
  // Enter and the like belong to what has the focus.
  if (name === "Enter" && event.target.closest("a, button, summary")) return;
  for (const control of document.querySelectorAll("[data-keys]")) {
    if (control.dataset.keys.split(" ").includes(name) && !control.disabled) {
      event.preventDefault();
      control.click();
      return;
    }
  }
});
