// Send an image, by its URL in the browser, and return the message and the cards. A newer image cancels this one.
async (url) => {
  globalThis.pending?.abort();
  const { signal } = (globalThis.pending = new AbortController());
  try {
    const body = await (await fetch(url)).blob();
    const response = await fetch("answer", { method: "POST", body, signal });
    if (response.ok) return await response.json();
    return [`<p role="alert">The server refused the image (${response.status}).</p>`];
  } catch {
    return signal.aborted ? [] : ['<p role="alert">The image could not be sent. Is the server still running?</p>'];
  } finally {
    URL.revokeObjectURL(url);
  }
}
