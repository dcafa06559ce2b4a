"""The layout of the page, with Gradio."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from torchvision.transforms.v2.functional import to_pil_image

from fashion_mlp.data import ImageDataModule
from fashion_mlp.demo.cards import Classifiers, encode_png, render_answer, render_empty_cards, render_message

DIRECTORY = Path(__file__).parent
STYLE = DIRECTORY / "page.css"
# The fonts are those of the machine, so that none is downloaded.
THEME = gr.themes.Soft(
    primary_hue="blue", font=("system-ui", "sans-serif"), font_mono=("ui-monospace", "monospace")
).set(
    body_background_fill="*neutral_100",
    body_text_color_subdued="*neutral_600",  # the default has too little contrast
    body_text_color_subdued_dark="*neutral_300",
    error_text_color="#b91c1c",
    error_text_color_dark="#fca5a5",
)
# Size limit of an image file: more than a phone's photographs have.
MAX_BYTES = 20_000_000
NUM_TEST_IMAGES = 32
# On a phone the results are below the input.
SHOW_RESULTS = "() => document.getElementById('results').scrollIntoView({block: 'nearest'})"


def build_page(classifiers: Classifiers, test_data: ImageDataModule | None) -> gr.Blocks:
    """Lay out the page: on the left an image to upload, draw or choose, on the right the results.

    Args:
        classifiers: by the names that the page shows.
        test_data: test images to choose from, in memory.
    """
    page: gr.Blocks
    with gr.Blocks(title="fashion-mlp", analytics_enabled=False, fill_width=True) as page:
        gr.Markdown("# Try a model\nShow it a garment, and see how it is classified.", elem_id="title")
        with gr.Row(equal_height=False):
            # The results are created first, so that the inputs can refer to them.
            with gr.Column(scale=6, min_width=320, elem_id="results", render=False) as right:
                results = [gr.HTML(render_message(""), elem_id="message", apply_default_css=False)]
                with gr.Row(equal_height=False):
                    for card in render_empty_cards(classifiers):
                        results.append(gr.HTML(card, elem_classes="for-a-card", apply_default_css=False))
            with gr.Column(scale=5, min_width=320):
                for tab, name in (("Image", "upload"), ("Draw", "drawing")):
                    with gr.Tab(tab):
                        _image_input(name, results)
                if test_data is not None:
                    with gr.Tab("Test images"):
                        _gallery(test_data, classifiers, results)
            right.render()
    return page


def _image_input(name: str, results: list[gr.HTML]) -> None:
    """Add a component that hands an image to `send.js`."""
    template, script = ((DIRECTORY / f"{name}.{kind}").read_text() for kind in ("html", "js"))
    image = gr.HTML("", html_template=template, js_on_load=script, apply_default_css=False, max_bytes=MAX_BYTES)
    _bind(image.submit, results, inputs=image, js=(DIRECTORY / "send.js").read_text())


def _gallery(data: ImageDataModule, classifiers: Classifiers, results: list[gr.HTML]) -> None:
    """Add the first test images to choose from, with their true classes."""
    images, labels = data.splits["test"].first(NUM_TEST_IMAGES)
    captions = [f"{index}: {data.class_names[label]}" for index, label in enumerate(labels.tolist())]
    gallery = gr.Gallery(
        [(to_pil_image(image), caption) for image, caption in zip(images, captions, strict=True)],
        label=f"Test images of {data.name}",
        show_label=False,
        format="png",
        columns=4,
        height=420,
        allow_preview=False,
        buttons=[],
        interactive=False,
    )

    def show(event: gr.SelectData) -> list[str]:
        return render_answer(encode_png(images[event.index]), classifiers, f"Test image {captions[event.index]}")

    _bind(gallery.select, results, show)


def _bind(event: Callable[..., Any], results: list[gr.HTML], function: Any = None, **options: Any) -> None:
    """Show the return value of a function, or of the browser's function `js`, whenever an event happens."""
    shown = event(function, outputs=results, show_progress="hidden", api_name=False, **options)
    shown.then(fn=None, js=SHOW_RESULTS)
