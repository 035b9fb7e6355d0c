// Sentences in the place of broken pictures, and the evidence map, which loads after the page.

// Show the sentence beside a picture when the picture cannot be loaded.
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

// The first request draws the evidence map, which would delay the page.
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
