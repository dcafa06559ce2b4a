"""The results on the page as HTML: a message, and a card for each classifier.

Gradio's own `Label` rounds to whole percents.
"""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from html import escape
from io import BytesIO

from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from fashion_mlp.inference.photo.classifier import PhotoClassifier, PhotoPrediction
from fashion_mlp.runtime.errors import UserError

# By the names that the page shows.
Classifiers = Mapping[str, PhotoClassifier]


def render_answer(content: bytes, classifiers: Classifiers, message: str = "") -> list[str]:
    """Return a message and the cards for the content of an image file, loaded as by `fashion-mlp predict`."""
    try:
        cards = [render_card(name, model.predict_photo(content), model) for name, model in classifiers.items()]
    except UserError as error:
        return [render_message(f"The file {error}.", role="alert"), *render_empty_cards(classifiers)]
    return [render_message(message), *cards]


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


def render_card(name: str, prediction: PhotoPrediction, classifier: PhotoClassifier) -> str:
    """Return a card with the image, the object found in it, what the model sees, and the probability of each class."""
    ranked = sorted(zip(prediction.probabilities.tolist(), classifier.class_names, strict=True), reverse=True)
    best, best_class = ranked[0]
    bars = "".join(
        f'<tr><th scope="row">{escape(class_name)}</th>'
        f'<td class="bar"><div style="width: {probability:.2%}"></div></td><td>{probability:.1%}</td></tr>'
        for probability, class_name in ranked
    )
    seen = "Seen by the model" + (", mirrored" if prediction.is_mirrored else "")
    figures = "".join(
        f'<figure><img src="data:image/png;base64,{b64encode(encode_png(step)).decode()}" alt="">'
        f"<figcaption>{title}</figcaption></figure>"
        for title, step in zip(("Image", "Object found", seen), prediction.steps(), strict=True)
    )
    note = '<p class="hint">Unreliable: unlike the training images</p>' if prediction.is_novel else ""
    return (
        f'<section class="card"><p class="name">{escape(name)}</p><div class="steps">{figures}</div>'
        f'<div class="best"><h2>{escape(best_class)}</h2><p>{best:.1%}</p></div>{note}'
        f'<table aria-label="Probabilities of {escape(name)}">{bars}</table></section>'
    )
