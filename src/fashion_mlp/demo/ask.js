// Send a picture, by its URL in the browser, and return the message and the cards. A newer picture cancels this one.
async (url) => {
  globalThis.asking?.abort();
  const { signal } = (globalThis.asking = new AbortController());
  try {
    const body = await (await fetch(url)).blob();
    const response = await fetch("answer", { method: "POST", body, signal });
    if (response.ok) return await response.json();
    return [`<p role="alert">The server refused the picture (${response.status}).</p>`];
  } catch {
    return signal.aborted ? [] : ['<p role="alert">The picture could not be sent. Is the server still running?</p>'];
  } finally {
    URL.revokeObjectURL(url);
  }
}
