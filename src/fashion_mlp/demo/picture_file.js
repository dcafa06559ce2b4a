// A picture from a file, the clipboard or the camera becomes the component's value, a blob: URL for ask.js, so that it
// reaches the server's memory without being stored. Gradio's own Image writes each upload to a folder.
const find = (selector) => element.querySelector(selector);
const tell = (text) => (find(".notice").textContent = text);

function hand_over(file) {
  tell("");
  if (!file) return tell("There is no picture in what was pasted or dropped.");
  const most = props.max_bytes;
  if (file.size > most) return tell(`The file has more than ${Math.floor(most / 1e6)} MB.`);
  props.value = URL.createObjectURL(file);
  trigger("submit");
}

const first_file = (transfer) => [...(transfer?.files ?? [])][0];

async function paste() {
  try {
    for (const item of await navigator.clipboard.read()) {
      const type = item.types.find((name) => name.startsWith("image/"));
      if (type) return hand_over(await item.getType(type));
    }
    hand_over(undefined);
  } catch {
    tell("The browser does not let this button read the clipboard; press Ctrl+V.");
  }
}

function close_camera() {
  find("video").srcObject?.getTracks().forEach((track) => track.stop());
  find("video").srcObject = null;
  show_camera(false);
}

function show_camera(is_open) {
  find("video").hidden = find(".shoot").hidden = !is_open;
  find(".camera").textContent = is_open ? "Close the camera" : "Camera";
  find(".camera").setAttribute("aria-expanded", is_open);
}

async function toggle_camera() {
  if (find("video").srcObject) return close_camera();
  try {
    find("video").srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    show_camera(true);
    await find("video").play();
  } catch {
    tell("There is no camera that the browser lets this page use; a file can be a photograph, too.");
  }
}

function shoot() {
  const video = find("video");
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob(hand_over, "image/png");
  close_camera();
}

const on_click = { ".choose": () => find("input").click(), ".paste": paste, ".camera": toggle_camera, ".shoot": shoot };
element.addEventListener("click", (event) => {
  for (const [selector, act] of Object.entries(on_click)) if (event.target.closest(selector)) act();
});
element.addEventListener("change", (event) => {
  hand_over(event.target.files[0]);
  event.target.value = ""; // so that the same file can be chosen again
});
for (const name of ["dragenter", "dragover", "dragleave", "drop"])
  element.addEventListener(name, (event) => {
    event.preventDefault();
    find(".source").classList.toggle("is-over", name === "dragenter" || name === "dragover");
    if (name === "drop") hand_over(first_file(event.dataTransfer));
  });
document.addEventListener("paste", (event) => {
  if (element.isConnected && element.offsetParent) hand_over(first_file(event.clipboardData));
});
