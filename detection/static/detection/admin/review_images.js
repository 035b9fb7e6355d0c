// Pictures that fail to load, and the evidence map, which takes a while.

// A sentence beside each picture replaces a broken one.
export function noteBroken(pictures) {
  for (const image of pictures.querySelectorAll("img[src]")) {
    const replace = () => {
      image.hidden = true;
      image.nextElementSibling.hidden = false;
    };
    if (image.complete && image.naturalWidth === 0) replace();
    image.addEventListener("error", replace);
  }
}

// The first request draws the evidence map, so the page does not wait for it.
export async function fetchEvidence(image) {
  const state = image.nextElementSibling;
  state.hidden = false;
  try {
    const response = await fetch(image.dataset.evidence);
    if (!response.ok) throw new Error(await sentence(response));
    image.src = URL.createObjectURL(await response.blob());
    await image.decode();
    image.hidden = false;
    state.hidden = true;
  } catch (error) {
    const unknown = !error.message || error instanceof TypeError || error instanceof DOMException;
    state.textContent = unknown ? "The evidence map cannot be loaded now." : error.message;
  }
}

async function sentence(response) {
  try {
    return (await response.json()).error;
  } catch {
    return "";
  }
}
