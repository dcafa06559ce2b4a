"""The part of the page with the answers: for each classifier its name, what it saw, how long it took, and bars."""

from base64 import b64encode
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from fashion_mlp.classifier import Classifier
from fashion_mlp.demo.answers import Answer, answer_file, answer_image, as_png
from fashion_mlp.demo.gallery import GalleryImage
from fashion_mlp.runtime.errors import UserError

ASK = (Path(__file__).parent / "ask.js").read_text()
# On a phone the answers lie below what was asked.
INTO_VIEW = "() => document.getElementById('answers').scrollIntoView({block: 'nearest'})"


class ResultsPanel:
    """Components that show answers, and the functions that fill them: a message, then a card for each classifier.

    The cards are HTML: Gradio's own Label rounds to whole percents and makes of each class a button that does nothing.

    Args:
        classifiers: by the name that the page shows.
    """

    def __init__(self, classifiers: Mapping[str, Classifier]) -> None:
        self.classifiers = classifiers
        self.message = gr.HTML(_message(""), elem_id="message", apply_default_css=False)
        with gr.Row(equal_height=False):
            self.cards = [
                gr.HTML(_empty_card(name), elem_classes="for-a-card", apply_default_css=False) for name in classifiers
            ]

    def bind(
        self,
        event: Callable[..., Any],
        answer: Callable[..., list[str]] | None,
        inputs: Component | None,
        js: str | None = None,
    ) -> None:
        """Show what `answer`, or the browser's function `js`, returns whenever an event happens."""
        outputs = [self.message, *self.cards]
        answered = event(answer, inputs, outputs, js=js, show_progress="hidden", api_name=False)
        answered.then(fn=None, js=INTO_VIEW)

    def to_known_image(self, known: GalleryImage) -> list[str]:
        """Return message and cards for an image of a dataset."""
        cards = (_card(name, answer_image(known.image, classifier)) for name, classifier in self.classifiers.items())
        return [_message(f"Picked from the test images: {known.caption}"), *cards]


def render_file(content: bytes, classifiers: Mapping[str, Classifier]) -> list[str]:
    """Return the message and the cards for the content of a picture file."""
    try:
        cards = [_card(name, answer_file(content, classifier)) for name, classifier in classifiers.items()]
    except UserError as error:
        return [_message(f"The file {error}.", role="alert"), *map(_empty_card, classifiers)]
    return [_message(""), *cards]


def _message(text: str, role: str = "status") -> str:
    """Return a line that a screen reader speaks when it changes."""
    return f'<p role="{role}">{escape(text)}</p>'


def _empty_card(name: str) -> str:
    return f'<section class="card"><p class="name">{escape(name)}</p><p class="hint">waits for a picture</p></section>'


def _card(name: str, answer: Answer) -> str:
    ranked = sorted(answer.probabilities.items(), key=lambda entry: -entry[1])
    _, height, width = answer.image.shape
    picture = b64encode(as_png(answer.image)).decode()
    bars = "".join(
        f'<tr><th scope="row">{escape(class_name)}</th>'
        f'<td class="bar"><div style="width: {probability:.2%}"></div></td><td>{probability:.1%}</td></tr>'
        for class_name, probability in ranked
    )
    return (
        f'<section class="card"><p class="name">{escape(name)}</p>'
        f'<div class="best"><img src="data:image/png;base64,{picture}" alt="What the model sees">'
        f"<div><h2>{escape(ranked[0][0])}</h2><p>{ranked[0][1]:.1%} sure</p>"
        f'<p class="hint">seen as {height} x {width} pixels, answered in {answer.milliseconds:.1f} ms</p></div></div>'
        f'<table aria-label="Probabilities of {escape(name)}">{bars}</table></section>'
    )
