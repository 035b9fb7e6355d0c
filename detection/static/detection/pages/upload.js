// Sends one file, and turns every answer into one shape.

const LOST = "The server cannot be reached. Check your network.";
const UNCLEAR = "This page does not understand the server's answer.";

// Resolves to { card } or { sentence, again, wait }; `again`: a retry may succeed.
export function send(file, form, onProgress) {
  const body = new FormData(form);
  body.set("image", file, file.name);
  return new Promise((resolve) => {
    const request = new XMLHttpRequest(); // fetch reports no progress of an upload
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) onProgress(event.loaded / event.total);
    });
    request.addEventListener("load", () => resolve(answer(request)));
    request.addEventListener("error", () => resolve({ sentence: LOST, again: true }));
    request.open("POST", form.action);
    request.setRequestHeader("X-Requested-With", "fetch");
    request.setRequestHeader("Accept", "text/html");
    request.send(body);
  });
}

function answer(request) {
  const part = new DOMParser().parseFromString(request.responseText, "text/html");
  const card = part.querySelector("article.card");
  if (request.status === 200 && card) return { card: document.adoptNode(card) };
  return {
    sentence: part.querySelector(".problem")?.textContent ?? sentenceOf(request.responseText),
    again: request.status === 429 || request.status >= 500,
    wait: request.status === 429 ? Number(request.getResponseHeader("Retry-After")) || 0 : 0,
  };
}

// Errors that do not come from the page's view are JSON.
export function sentenceOf(text) {
  try {
    return JSON.parse(text).error ?? UNCLEAR;
  } catch {
    return UNCLEAR;
  }
}
