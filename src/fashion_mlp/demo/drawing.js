// The drawing is submitted as a PNG after each stroke.
const PAPER = ["white", "black"];
const WIDTH = 16; // stroke width in pixels of the canvas: a little more than one of the model's 28 pixels
const canvas = element.querySelector("canvas");
const context = canvas.getContext("2d");
let is_dark = 0;
let is_drawing = false;

function clear() {
  context.fillStyle = PAPER[is_dark];
  context.fillRect(0, 0, canvas.width, canvas.height);
}

function draw(event) {
  const { left, top, width, height } = canvas.getBoundingClientRect();
  const [x, y] = [((event.clientX - left) * canvas.width) / width, ((event.clientY - top) * canvas.height) / height];
  Object.assign(context, { lineCap: "round", lineJoin: "round", lineWidth: WIDTH, strokeStyle: PAPER[1 - is_dark] });
  context.lineTo(x, y);
  context.stroke();
  context.beginPath();
  context.moveTo(x, y);
}

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  is_drawing = true;
  context.beginPath();
  draw(event);
});
canvas.addEventListener("pointermove", (event) => is_drawing && draw(event));
for (const name of ["pointerup", "pointercancel"])
  canvas.addEventListener(name, () => {
    if (!is_drawing) return;
    is_drawing = false;
    props.value = canvas.toDataURL("image/png");
    trigger("submit");
  });
element.querySelector(".clear").addEventListener("click", clear);
element.querySelector(".invert").addEventListener("click", (event) => {
  is_dark = 1 - is_dark;
  event.target.textContent = is_dark ? "Dark on light" : "Light on dark";
  clear();
});
clear();
