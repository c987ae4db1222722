// Keys, pointers and buttons.
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const CLICK_PX = 5;

function listenToKeys(canvas, map) {
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in ARROWS) map.go(...ARROWS[event.key]);
    else if (event.key === "+" || event.key === "=") map.zoom(1.5);
    else if (event.key === "-") map.zoom(1 / 1.5);
    else if (event.key === "0") {
      map.viewport.whole();
      map.redraw();
    } else if ((event.key === "Enter" || event.key === " ") && map.current() !== null) select(map.current());
    else if (event.key === "Escape") map.point(null);
    else return;
    event.preventDefault();
  });
  canvas.addEventListener("blur", () => map.point(null));
}

function listenToPointers(canvas, map) {
  const pressed = new Map();
  let moved = 0;
  const at = (event) => [event.offsetX, event.offsetY];
  const apart = () => {
    const [one, other] = [...pressed.values()];
    return Math.hypot(one[0] - other[0], one[1] - other[1]);
  };
  canvas.addEventListener("pointerdown", (event) => {
    pressed.set(event.pointerId, at(event));
    moved = pressed.size > 1 ? Infinity : 0; // two fingers never click
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = at(event);
    const before = pressed.get(event.pointerId);
    if (!before) {
      map.point(map.hit(x, y));
      return;
    }
    const apartBefore = pressed.size === 2 ? apart() : 0;
    pressed.set(event.pointerId, [x, y]);
    moved += Math.hypot(x - before[0], y - before[1]);
    if (moved < CLICK_PX) return;
    canvas.classList.add("is-moving");
    map.viewport.move((x - before[0]) / pressed.size, (y - before[1]) / pressed.size);
    if (apartBefore) map.viewport.zoomAt(apart() / apartBefore, x, y);
    map.point(null);
    map.redraw();
  });
  const end = (event) => {
    pressed.delete(event.pointerId);
    canvas.classList.remove("is-moving");
  };
  canvas.addEventListener("pointerup", (event) => {
    const number = map.hit(...at(event));
    end(event);
    if (moved < CLICK_PX && number !== null) select(number);
  });
  canvas.addEventListener("pointercancel", end);
  canvas.addEventListener("pointerleave", () => map.point(null));
  canvas.addEventListener(
    "wheel",
    (event) => {
      if (document.activeElement !== canvas && !event.ctrlKey) return; // the page scrolls
      event.preventDefault();
      map.zoom(Math.exp(-event.deltaY / 300), ...at(event));
    },
    { passive: false },
  );
}

function listenToFind(map) {
  let last = -1;
  byId("find").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = byId("find-text").value.toLowerCase();
    if (!text) return;
    const isFound = (number) => data.ids[number].toLowerCase().includes(text);
    const order = data.ids.map((_, place) => (last + 1 + place) % numImages); // again: the next one
    const number = order.find(isFound);
    if (number === undefined) {
      say(`No image shown here has ${text} in its id`);
      return;
    }
    last = number;
    map.viewport.show(number);
    select(number);
    map.point(number);
  });
}

function setUpMap(canvas) {
  const map = makeMap(canvas);
  listenToKeys(canvas, map);
  listenToPointers(canvas, map);
  listenToFind(map);
  onSelect(() => map.redraw());
  byId("closer").addEventListener("click", () => map.zoom(1.5));
  byId("farther").addEventListener("click", () => map.zoom(1 / 1.5));
  byId("whole").addEventListener("click", () => {
    map.viewport.whole();
    map.point(null);
    map.redraw();
  });
  new ResizeObserver(() => map.redraw()).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => map.redraw());
  return map;
}

function setUpGallery(map) {
  for (const figure of document.querySelectorAll("figure[data-number]")) {
    const number = Number(figure.dataset.number);
    figure.style.setProperty("--ratio", figure.dataset.ratio);
    figure.querySelector(".of-image").addEventListener("click", () => {
      map.viewport.show(number);
      select(number);
      byId("explore").scrollIntoView();
      panel.focus({ preventScroll: true });
    });
  }
}

function setUpTheme(map) {
  const button = byId("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  let isDark = system.matches;
  const show = () => button.setAttribute("aria-pressed", String(isDark));
  system.addEventListener("change", () => {
    if (document.documentElement.dataset.theme) return;
    isDark = system.matches;
    show();
  });
  button.addEventListener("click", () => {
    isDark = !isDark;
    document.documentElement.dataset.theme = isDark ? "dark" : "light";
    show();
    map?.redraw();
  });
  show();
}

function setUpCopy() {
  const button = byId("copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(byId("code").textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(byId("code")); // where a page may not copy, it selects
      button.textContent = "Selected";
    }
  });
}

const map = byId("map") ? setUpMap(byId("map")) : null;
if (map) setUpGallery(map);
setUpTheme(map);
setUpCopy();
