// What the page was made with: columns by the number of an image in the sample.
const data = JSON.parse(document.getElementById("data").textContent);
const numImages = data.ids.length;
const byId = (id) => document.getElementById(id);

/** An element with properties and children; texts are texts, never markup. */
function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
