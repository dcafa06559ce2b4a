"""How the page is laid out, with Gradio."""

from collections.abc import Mapping
from pathlib import Path

import gradio as gr
from torchvision.transforms.v2.functional import to_pil_image

from fashion_mlp.classifier import Classifier
from fashion_mlp.data import ImageDataModule
from fashion_mlp.demo.answers import MAX_BYTES
from fashion_mlp.demo.gallery import GalleryImage, confident_mistakes, test_images
from fashion_mlp.demo.results_panel import ASK, ResultsPanel

FOLDER = Path(__file__).parent
STYLE = FOLDER / "page.css"
THEME = gr.themes.Soft(
    primary_hue="blue",
    # Fonts that every machine has, so that none is fetched.
    font=[gr.themes.Font("system-ui"), gr.themes.Font("sans-serif")],
    font_mono=[gr.themes.Font("ui-monospace"), gr.themes.Font("monospace")],
).set(
    body_background_fill="*neutral_100",
    body_text_color_subdued="*neutral_600",  # Soft's own has too little contrast to be read
    body_text_color_subdued_dark="*neutral_300",
    error_text_color="#b91c1c",
    error_text_color_dark="#fca5a5",
)
# Images of a gallery.
SHOWN = 32
TITLE = "Try a model"
EXPLANATION = "Show it a garment: here is what the model sees, and what it takes it for."


def build(classifiers: Mapping[str, Classifier], test_data: Mapping[str, ImageDataModule]) -> gr.Blocks:
    """Lay out the page.

    Args:
        classifiers: by the name that the page shows.
        test_data: those classifiers' test images, in memory, by the same names; may lack some, or all.
    """
    page: gr.Blocks
    with gr.Blocks(title="fashion-mlp", analytics_enabled=False, fill_width=True) as page:
        gr.Markdown(f"# {TITLE}\n{EXPLANATION}", elem_id="title")
        with gr.Row(equal_height=False):
            # The answers are made first, so that what is on the left can name them, and shown on the right.
            with gr.Column(scale=6, min_width=320, elem_id="answers", render=False) as right:
                answers = ResultsPanel(classifiers)
            with gr.Column(scale=5, min_width=320):
                _own_pictures(answers)
                if test_data:
                    _test_images(next(iter(test_data.values())), answers)
                    _mistakes(classifiers, test_data, answers)
            right.render()
    return page


def _own_pictures(answers: ResultsPanel) -> None:
    for tab, name in (("Picture", "picture_file"), ("Draw", "drawing")):
        with gr.Tab(tab):
            template, script = ((FOLDER / f"{name}.{kind}").read_text() for kind in ("html", "js"))
            picture = gr.HTML(
                "", html_template=template, js_on_load=script, apply_default_css=False, max_bytes=MAX_BYTES
            )
            answers.bind(picture.submit, None, picture, js=ASK)


def _test_images(data: ImageDataModule, answers: ResultsPanel) -> None:
    count = len(data.splits["test"])
    with gr.Tab("Test images"):
        _gallery(test_images(data, range(min(SHOWN, count))), answers, f"The first of {data.name}'s {count:,}.")
        number = gr.Number(label=f"Or any of them, by its number from 0 to {count - 1:,}, and Enter", precision=0)

    def chosen(number: int | None) -> list[str]:  # None if the field is empty
        return answers.to_known_image(*test_images(data, [min(max(number or 0, 0), count - 1)]))

    answers.bind(number.submit, chosen, number)


def _mistakes(
    classifiers: Mapping[str, Classifier], test_data: Mapping[str, ImageDataModule], answers: ResultsPanel
) -> None:
    with gr.Tab("Mistakes"):
        for name, data in test_data.items():
            _gallery(confident_mistakes(classifiers[name], data, SHOWN), answers, f"Where {name} is surest, and wrong.")


def _gallery(images: list[GalleryImage], answers: ResultsPanel, title: str) -> None:
    gr.Markdown(title)
    gallery = gr.Gallery(
        [(to_pil_image(image), caption) for image, caption in images],
        label=title,
        show_label=False,
        format="png",
        columns=4,
        height=420,
        allow_preview=False,
        buttons=[],
        interactive=False,
    )

    def chosen(event: gr.SelectData) -> list[str]:
        return answers.to_known_image(images[event.index])

    answers.bind(gallery.select, chosen, None)
