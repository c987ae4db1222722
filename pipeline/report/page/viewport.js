// What part of the plane the map shows, and where on the screen an image is.
const MOST_ZOOM = 400;

function makeViewport() {
  const view = { x: 0, y: 0, zoom: 1, width: 1, height: 1 };
  // Wide maps use their width: each axis has a scale of its own until one zooms, which keeps their ratio.
  const scales = () => [(view.width / 2 - 40) * view.zoom, (view.height / 2 - 40) * view.zoom];
  const spread = (values) => Math.max(...values.map(Math.abs), 1e-6);
  const extent = [spread(data.x), spread(data.y)];

  return {
    view,
    place(number) {
      const [across, down] = scales();
      return [
        view.width / 2 + (data.x[number] / extent[0] - view.x) * across,
        view.height / 2 - (data.y[number] / extent[1] - view.y) * down,
      ];
    },
    move(dx, dy) {
      const [across, down] = scales();
      view.x = Math.min(1, Math.max(-1, view.x - dx / across));
      view.y = Math.min(1, Math.max(-1, view.y + dy / down));
    },
    zoomAt(factor, x, y) {
      const before = scales();
      view.zoom = Math.min(MOST_ZOOM, Math.max(1, view.zoom * factor));
      const after = scales();
      view.x += (x - view.width / 2) * (1 / before[0] - 1 / after[0]);
      view.y -= (y - view.height / 2) * (1 / before[1] - 1 / after[1]);
      if (view.zoom === 1) view.x = view.y = 0;
    },
    whole() {
      Object.assign(view, { x: 0, y: 0, zoom: 1 });
    },
    show(number) {
      const [x, y] = this.place(number);
      const margin = 40;
      if (x > margin && y > margin && x < view.width - margin && y < view.height - margin) return;
      view.x = data.x[number] / extent[0];
      view.y = data.y[number] / extent[1];
    },
  };
}
