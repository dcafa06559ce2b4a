"""The results on the page as HTML: a message, and a card for each classifier.

Gradio's own `Label` rounds to whole percents.
"""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from html import escape
from io import BytesIO

from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from fashion_mlp.classifier import Classifier
from fashion_mlp.inference.image_files import load_image
from fashion_mlp.runtime.errors import UserError


def classify_upload(content: bytes, classifiers: Mapping[str, Classifier]) -> list[str]:
    """Return the message and the cards for the content of an image file, loaded as by `fashion-mlp predict`."""
    try:
        cards = [render_card(name, load_image(content, model), model) for name, model in classifiers.items()]
    except UserError as error:
        return [render_message(f"The file {error}.", role="alert"), *render_empty_cards(classifiers)]
    return [render_message(""), *cards]


def classify_test_image(image: Tensor, caption: str, classifiers: Mapping[str, Classifier]) -> list[str]:
    """Return the message and the cards for a test image, uint8 `[C, H, W]`."""
    cards = []
    for name, classifier in classifiers.items():
        has_shape = image.shape == tuple(classifier.metadata["model"]["image_shape"])
        shown = image if has_shape else load_image(encode_png(image), classifier)
        cards.append(render_card(name, shown, classifier))
    return [render_message(f"Test image {caption}"), *cards]


def encode_png(image: Tensor) -> bytes:
    """Return an image, uint8 `[C, H, W]` of one channel or three, as the content of a PNG file."""
    content = BytesIO()
    to_pil_image(image).save(content, "PNG")
    return content.getvalue()


def render_message(text: str, role: str = "status") -> str:
    """Return a line that a screen reader reads out when it changes."""
    return f'<p role="{role}">{escape(text)}</p>'


def render_empty_cards(names: Iterable[str]) -> list[str]:
    """Return a card without an image for each classifier."""
    hint = '<p class="hint">waits for an image</p>'
    return [f'<section class="card"><p class="name">{escape(name)}</p>{hint}</section>' for name in names]


def render_card(name: str, image: Tensor, classifier: Classifier) -> str:
    """Return a card with an image as the classifier sees it, uint8 `[C, H, W]`, and the probability of each class."""
    probabilities = classifier.predict(image.unsqueeze(0)).probabilities[0].tolist()
    ranked = sorted(zip(probabilities, classifier.class_names, strict=True), reverse=True)
    best, best_class = ranked[0]
    bars = "".join(
        f'<tr><th scope="row">{escape(class_name)}</th>'
        f'<td class="bar"><div style="width: {probability:.2%}"></div></td><td>{probability:.1%}</td></tr>'
        for probability, class_name in ranked
    )
    source = f"data:image/png;base64,{b64encode(encode_png(image)).decode()}"
    return (
        f'<section class="card"><p class="name">{escape(name)}</p>'
        f'<div class="best"><img src="{source}" alt="The image as the model sees it">'
        f"<div><h2>{escape(best_class)}</h2><p>{best:.1%}</p></div></div>"
        f'<table aria-label="Probabilities of {escape(name)}">{bars}</table></section>'
    )
