// The map: points, or thumbnails where there is room for them.
const MOST_THUMBNAILS = 160;
const REACH_PX = 16;

function makeMap(canvas) {
  const viewport = makeViewport();
  const { view } = viewport;
  const tip = byId("tip");
  let current = null; // under the pointer, or where the keys are
  let places = [];
  let side = 0; // of thumbnails, in pixels; 0 while there are points
  let isAsked = false;

  function redraw() {
    if (isAsked) return;
    isAsked = true;
    requestAnimationFrame(() => {
      isAsked = false;
      draw();
    });
  }

  function draw() {
    const ratio = window.devicePixelRatio || 1;
    view.width = canvas.clientWidth;
    view.height = canvas.clientHeight;
    canvas.width = view.width * ratio;
    canvas.height = view.height * ratio;
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    places = data.ids.map((_, number) => viewport.place(number));
    const inside = visible();
    side = inside.length > MOST_THUMBNAILS ? 0 : Math.max(28, Math.min(64, 420 / Math.sqrt(inside.length + 1)));
    const accent = getComputedStyle(canvas).color;
    if (side) drawThumbnails(context, inside, accent);
    else drawPoints(context, inside, accent);
    drawMarks(context, getComputedStyle(document.body).color, accent);
  }

  function visible() {
    const found = [];
    places.forEach(([x, y], number) => {
      if (x > -32 && y > -32 && x < view.width + 32 && y < view.height + 32) found.push(number);
    });
    return found;
  }

  function drawPoints(context, inside, accent) {
    context.fillStyle = accent;
    context.globalAlpha = inside.length > 2000 ? 0.45 : 0.7;
    const radius = inside.length > 2000 ? 2 : 3;
    context.beginPath();
    for (const number of inside) {
      const [x, y] = places[number];
      context.moveTo(x + radius, y);
      context.arc(x, y, radius, 0, 2 * Math.PI);
    }
    context.fill();
    context.globalAlpha = 1;
  }

  function drawThumbnails(context, inside, accent) {
    for (const number of inside) {
      const [x, y] = places[number];
      if (drawThumbnail(context, number, { x, y, side, redraw })) continue;
      context.fillStyle = accent;
      context.fillRect(x - 3, y - 3, 6, 6);
    }
  }

  function drawMarks(context, text, accent) {
    if (selected !== null) {
      for (const other of data.nearest[selected]) outline(context, other, accent, 2);
      outline(context, selected, text, 3);
    }
    if (current !== null) outline(context, current, text, 1.5);
  }

  function outline(context, number, colour, width) {
    const [x, y] = places[number];
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.beginPath();
    if (side) {
      const [wide, high] = fitted(number, side);
      context.rect(x - wide / 2 - 2, y - high / 2 - 2, wide + 4, high + 4);
    } else context.arc(x, y, 7, 0, 2 * Math.PI);
    context.stroke();
  }

  /** The image at a place of the canvas; null if there is none. */
  function hit(x, y) {
    let best = null;
    let least = Math.max(REACH_PX, side / 2) ** 2;
    places.forEach(([px, py], number) => {
      const distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance <= least) [best, least] = [number, distance];
    });
    return best;
  }

  /** Makes an image the current one and shows its thumbnail beside it. */
  function point(number) {
    if (number === current && !tip.hidden) return;
    current = number;
    canvas.classList.toggle("is-over", number !== null);
    redraw();
    if (number === null) {
      tip.hidden = true;
      return;
    }
    const [x, y] = viewport.place(number);
    tip.replaceChildren(thumbnail(number, 144), element("bdi", { textContent: data.ids[number] }));
    tip.hidden = false;
    const left = x + 24 + tip.offsetWidth < view.width ? x + 24 : x - 24 - tip.offsetWidth;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${Math.max(4, Math.min(view.height - tip.offsetHeight - 4, y - tip.offsetHeight / 2))}px`;
  }

  /** The nearest image in a direction (-1, 0 or 1 across and down); one straight ahead counts as nearer. */
  function step(across, down) {
    if (current === null) return selected ?? hitCentre();
    const [x, y] = viewport.place(current);
    let best = current;
    let least = Infinity;
    for (let number = 0; number < numImages; number += 1) {
      const [px, py] = viewport.place(number);
      const ahead = (px - x) * across + (py - y) * down;
      const aside = Math.abs((px - x) * down) + Math.abs((py - y) * across);
      const distance = ahead + 2 * aside;
      if (number !== current && ahead > 0.5 && aside <= 2 * ahead && distance < least) [best, least] = [number, distance];
    }
    return best;
  }

  function hitCentre() {
    let best = 0;
    let least = Infinity;
    for (let number = 0; number < numImages; number += 1) {
      const [x, y] = viewport.place(number);
      const distance = (x - view.width / 2) ** 2 + (y - view.height / 2) ** 2;
      if (distance < least) [best, least] = [number, distance];
    }
    return best;
  }

  return {
    viewport,
    redraw,
    hit,
    point,
    current: () => current,
    place: (number) => viewport.place(number),
    zoom(factor, x = view.width / 2, y = view.height / 2) {
      viewport.zoomAt(factor, x, y);
      point(null);
      redraw();
    },
    goTo(number) {
      viewport.show(number);
      point(number);
      say(data.ids[number]);
    },
    go(across, down) {
      this.goTo(step(across, down));
    },
  };
}
