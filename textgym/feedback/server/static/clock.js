// Time that somebody is really there: it stands still while the page is hidden, or after half a minute without a sign.

const IDLE_MILLISECONDS = 30000;
const SIGNS = ["pointermove", "pointerdown", "keydown", "scroll", "wheel", "touchstart"];

let lastSign = performance.now();
for (const sign of SIGNS) {
  addEventListener(sign, () => { lastSign = performance.now(); }, { passive: true, capture: true });
}

export function isActive() {
  return document.visibilityState === "visible" && performance.now() - lastSign < IDLE_MILLISECONDS;
}

// Calls back several times a second with the seconds that passed since the last call, if they were active ones.
export function onActiveTime(callback) {
  let before = performance.now();
  setInterval(() => {
    const now = performance.now();
    const seconds = (now - before) / 1000;
    before = now;
    if (isActive() && seconds < 2) callback(seconds); // a longer gap: the computer slept
  }, 100);
}
