// Pictures that do not come, and the one that takes a while.

// Each picture has a sentence beside it, which is shown in its place.
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

// The evidence map is drawn when it is first asked for, so the page does not wait for it.
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
    state.textContent = unknown ? "The evidence map cannot be fetched now." : error.message;
  }
}

async function sentence(response) {
  try {
    return (await response.json()).error;
  } catch {
    return "";
  }
}
