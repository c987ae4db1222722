// Which image is selected; whoever shows it listens.
let selected = null;
const listeners = [];

function onSelect(listener) {
  listeners.push(listener);
}

/** Selects an image and tells everybody. */
function select(number) {
  selected = number;
  for (const listener of listeners) listener(number);
}

/** Says something to those who cannot see the page change. */
function say(text) {
  byId("said").textContent = text;
}
