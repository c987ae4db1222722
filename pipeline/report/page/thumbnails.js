// Thumbnails, cut out of sheets that are decoded when the first of them is wanted.
const sheets = [...document.querySelectorAll("script.sheet")];
const { cellPx, cellsPerSide } = data.sheet;
const decoded = new Map();

/** The picture of a sheet once it is decoded, else null; then `redraw` is called when it is. */
function sheetPicture(number, redraw) {
  let entry = decoded.get(number);
  if (!entry) {
    entry = { image: new Image(), waiting: new Set(), isReady: false };
    entry.image.addEventListener("load", () => {
      entry.isReady = true;
      for (const call of entry.waiting) call();
      entry.waiting.clear();
    });
    entry.image.src = sheets[number].textContent; // the browser forgets pixels by itself where memory is short
    decoded.set(number, entry);
  }
  if (entry.isReady) return entry.image;
  if (redraw) entry.waiting.add(redraw);
  return null;
}

/** Width and height of an image within a square of that side, with its own ratio. */
function fitted(number, side) {
  const width = data.widths[number];
  const height = data.heights[number];
  const scale = side / Math.max(width, height);
  return [Math.max(width * scale, side / 5), Math.max(height * scale, side / 5)];
}

/** Draws an image with its middle at a place; false while its sheet is not decoded. */
function drawThumbnail(context, number, { x, y, side, redraw }) {
  const [width, height] = fitted(number, side);
  const perSheet = cellsPerSide ** 2;
  const sheet = sheetPicture(Math.floor(number / perSheet), redraw);
  if (!sheet) return false;
  const place = number % perSheet;
  const left = (place % cellsPerSide) * cellPx;
  const top = Math.floor(place / cellsPerSide) * cellPx;
  // Half a pixel less at each side, so that the neighbours in the sheet do not shine through.
  context.drawImage(sheet, left + 0.5, top + 0.5, cellPx - 1, cellPx - 1, x - width / 2, y - height / 2, width, height);
  return true;
}

/** A canvas with the thumbnail of an image. */
function thumbnail(number, side) {
  const [width, height] = fitted(number, side);
  const ratio = window.devicePixelRatio || 1;
  const canvas = element("canvas", { className: "thumbnail", width: width * ratio, height: height * ratio });
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", data.missing[number] ? `${data.ids[number]}, which cannot be shown` : data.ids[number]);
  const draw = () => {
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    drawThumbnail(context, number, { x: width / 2, y: height / 2, side, redraw: draw });
  };
  draw();
  return canvas;
}
