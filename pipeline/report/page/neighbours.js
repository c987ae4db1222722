// The panel: the selected image and the nearest of the others.
const panel = byId("panel");

function showNeighbours(number) {
  const nearest = data.nearest[number];
  const list = element("ol", {});
  nearest.forEach((other, place) => {
    const similarity = data.similarities[number][place].toFixed(3);
    const button = element(
      "button",
      { type: "button" },
      thumbnail(other, 64),
      element("bdi", { className: "id", textContent: data.ids[other] }),
      element("span", { className: "similarity", textContent: similarity }),
    );
    button.dataset.number = other;
    button.setAttribute("aria-label", `${data.ids[other]}, similarity ${similarity}`);
    button.addEventListener("click", () => {
      select(other);
      panel.focus({ preventScroll: true });
    });
    list.append(element("li", {}, button));
  });
  const size = `${data.widths[number]} × ${data.heights[number]} pixels`;
  const missing = data.missing[number] ? [element("p", { className: "note", textContent: `no picture: ${data.missing[number]}` })] : [];
  panel.replaceChildren(
    element("h3", {}, element("bdi", { id: "selected-id", textContent: data.ids[number] })),
    thumbnail(number, 150),
    ...missing,
    element("p", { className: "note", textContent: `${size}. Nearest of the ${numImages.toLocaleString("en")} shown, by cosine similarity:` }),
    list,
  );
  panel.scrollTop = 0;
  say(`${data.ids[number]} selected; ${nearest.length} nearest are listed`);
}

if (panel) {
  panel.replaceChildren(element("p", { className: "empty", textContent: "Choose an image on the map or among the features below: its nearest appear here." }));
  onSelect(showNeighbours);
}
