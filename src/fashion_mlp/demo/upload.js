// An image from a file, the clipboard or the camera becomes the component's value, a blob: URL for send.js. It reaches the
// server's memory without being stored; Gradio's own Image component writes each upload to disk.
const find = (selector) => element.querySelector(selector);
const notify = (text) => (find(".notice").textContent = text);

function submit(file) {
  notify("");
  if (!file) return notify("No image was pasted or dropped.");
  const limit = props.max_bytes;
  if (file.size > limit) return notify(`The file is larger than ${Math.floor(limit / 1e6)} MB.`);
  props.value = URL.createObjectURL(file);
  trigger("submit");
}

const first_file = (transfer) => [...(transfer?.files ?? [])][0];

async function paste() {
  try {
    for (const item of await navigator.clipboard.read()) {
      const type = item.types.find((name) => name.startsWith("image/"));
      if (type) return submit(await item.getType(type));
    }
    submit(undefined);
  } catch {
    notify("The browser denies access to the clipboard. Press Ctrl+V.");
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
    notify("No camera is available. Choose a file instead.");
  }
}

function shoot() {
  const video = find("video");
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob(submit, "image/png");
  close_camera();
}

const on_click = { ".choose": () => find("input").click(), ".paste": paste, ".camera": toggle_camera, ".shoot": shoot };
element.addEventListener("click", (event) => {
  for (const [selector, handler] of Object.entries(on_click)) if (event.target.closest(selector)) handler();
});
element.addEventListener("change", (event) => {
  submit(event.target.files[0]);
  event.target.value = ""; // so that the same file can be chosen again
});
for (const name of ["dragenter", "dragover", "dragleave", "drop"])
  element.addEventListener(name, (event) => {
    event.preventDefault();
    find(".source").classList.toggle("is-over", name === "dragenter" || name === "dragover");
    if (name === "drop") submit(first_file(event.dataTransfer));
  });
document.addEventListener("paste", (event) => {
  if (element.isConnected && element.offsetParent) submit(first_file(event.clipboardData));
});
