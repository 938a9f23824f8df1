// Regions on the waveform of a recording: drag to mark one, click one to remove it. The field #regions has them as
// text (8:12,20:24, in seconds), so that they can also be typed; this script keeps the two equal.
// Gradio runs it once with `element` (the component) and `watch` (called when the server sends another recording).
const NAMESPACE = "http://www.w3.org/2000/svg";
const SHORTEST = 0.1;  // seconds
let drag = null;

const field = () => document.querySelector("#regions textarea, #regions input");
const waveform = () => element.querySelector(".n2m-waveform");

function parse(text) {
  return text.split(",").map(part => part.split(":").map(Number))
    .filter(([from, to]) => Number.isFinite(from) && Number.isFinite(to) && from < to);
}

function draw() {
  const svg = waveform();
  if (!svg) return;
  const group = svg.querySelector(".n2m-regions");
  const scale = svg.viewBox.baseVal.width / Number(svg.dataset.seconds);
  const regions = parse(field()?.value ?? "");
  if (drag) regions.push([Math.min(drag.from, drag.to), Math.max(drag.from, drag.to)]);
  group.replaceChildren(...regions.map(([from, to]) => {
    const rectangle = document.createElementNS(NAMESPACE, "rect");
    rectangle.setAttribute("x", from * scale);
    rectangle.setAttribute("width", (to - from) * scale);
    rectangle.setAttribute("height", svg.viewBox.baseVal.height);
    return rectangle;
  }));
}

function write(regions) {
  // Regions that overlap or touch become one.
  const joined = [];
  for (const [from, to] of regions.sort((a, b) => a[0] - b[0])) {
    const last = joined.at(-1);
    if (last && from <= last[1]) last[1] = Math.max(last[1], to);
    else joined.push([from, to]);
  }
  const input = field();
  input.value = joined.map(([from, to]) => `${from}:${to}`).join(",");
  input.dispatchEvent(new Event("input", {bubbles: true}));
  draw();
}

function timeAt(event) {
  const svg = waveform();
  const box = svg.getBoundingClientRect();
  const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  const seconds = Number(svg.dataset.seconds);
  return Math.min(Math.floor(seconds * 100) / 100, Math.round(share * seconds * 10) / 10);
}

element.addEventListener("pointerdown", event => {
  if (!event.target.closest(".n2m-waveform") || event.button) return;
  event.preventDefault();
  drag = {from: timeAt(event), to: timeAt(event)};
  const move = moved => { drag.to = timeAt(moved); draw(); };
  const end = ended => {
    document.removeEventListener("pointermove", move);
    const from = Math.min(drag.from, timeAt(ended)), to = Math.max(drag.from, timeAt(ended));
    drag = null;
    const regions = parse(field().value);
    if (to - from >= SHORTEST) write([...regions, [from, to]]);
    else write(regions.filter(region => !(region[0] <= from && from <= region[1])));
  };
  document.addEventListener("pointermove", move);
  document.addEventListener("pointerup", end, {once: true});
});
document.addEventListener("input", event => { if (event.target.closest("#regions")) draw(); });
watch("value", draw);
