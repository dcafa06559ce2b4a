"""Tests of the page over HTTP and in a browser."""

import json
import logging.handlers
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

from fashion_mlp.data import ImageDataModule
from fashion_mlp.inference.photo.classifier import PhotoClassifier
from tests.demo.conftest import png
from tests.demo.test_cards import bars

Upload = Callable[[bytes], list[str]]


@pytest.fixture(scope="module")
def address(classifier: PhotoClassifier, data: ImageDataModule) -> Iterator[str]:
    """Return the address of a page with two classifiers and test images."""
    pytest.importorskip("gradio", reason="needs the extra [demo]")  # here, since importing it takes seconds
    from fashion_mlp.demo.server import listen, make_server

    with (
        listen("127.0.0.1", 0) as listener,
        make_server({"first": classifier, "second": classifier}, data, ["127.0.0.1"]) as web,
    ):
        server_thread = threading.Thread(target=web.run, args=([listener],))
        server_thread.start()
        while not web.started:
            assert server_thread.is_alive()
            time.sleep(0.01)
        port = listener.getsockname()[1]
        log_records = logging.handlers.BufferingHandler(1000)
        logging.getLogger("uvicorn.error").addHandler(log_records)
        yield f"http://127.0.0.1:{port}"
        with closing(HTTPConnection("127.0.0.1", port)) as open_page:
            open_page.request("GET", "/theme.css")
            open_page.getresponse().read()
            web.should_exit = True
            server_thread.join()
        logging.getLogger("uvicorn.error").removeHandler(log_records)
        assert [record.getMessage() for record in log_records.buffer] == []


@pytest.fixture(scope="module")
def upload(address: str) -> Upload:
    """Return a function that uploads the content of a file and returns the message and cards of the page."""

    def post(content: bytes) -> list[str]:
        with closing(HTTPConnection(urlsplit(address).netloc, timeout=60)) as connection:
            connection.request("POST", "/answer", content)
            html: list[str] = json.loads(connection.getresponse().read())
            return html

    return post


def temporary_files() -> list[Path]:
    return sorted(Path(tempfile.gettempdir()).rglob("*"))


def test_each_classifier_classifies_an_upload_and_no_file_is_kept(
    upload: Upload, classifier: PhotoClassifier, image_dir: Path, text_file: Path
) -> None:
    before = temporary_files()
    for path in image_dir.iterdir():
        message, *cards = upload(path.read_bytes())
        probabilities = classifier.predict_photo(path).probabilities.tolist()
        expected = sorted(zip(probabilities, classifier.class_names, strict=True), reverse=True)
        assert message == '<p role="status"></p>'
        assert len(cards) == 2
        for card in cards:
            assert bars(card) == [(name, f"{probability:.1%}") for probability, name in expected]
    message, *cards = upload(text_file.read_bytes())
    assert message == '<p role="alert">The file is not an image (PNG, JPEG, WEBP, GIF, BMP).</p>'
    assert [bars(card) for card in cards] == [[], []]
    assert temporary_files() == before


@pytest.mark.parametrize(("path", "status"), [("/answer", None), ("/gradio_api/process_recording", b"404")])
def test_aborted_upload_is_not_an_error(address: str, path: str, status: bytes | None) -> None:
    before = temporary_files()
    host = urlsplit(address).netloc
    with socket.create_connection(("127.0.0.1", int(host.split(":")[1]))) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9000\r\n\r\n{'x' * 1000}".encode())
        if status is not None:
            assert connection.recv(100).split()[1] == status
    assert temporary_files() == before


def test_concurrent_uploads_get_their_own_results(
    upload: Upload, classifier: PhotoClassifier, data: ImageDataModule
) -> None:
    contents = [png(Image.fromarray(image[0].numpy())) for image in data.splits["test"].images[:24]]
    expected = classifier.predict(data.splits["test"].images[:24]).names
    with ThreadPoolExecutor(8) as clients:
        results = list(clients.map(upload, contents))
    assert [bars(first)[0][0] for _, first, _ in results] == expected


@pytest.fixture
def browser() -> Iterator[Any]:
    """Return Chromium with a log of its network requests."""
    driver = shutil.which("chromedriver")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not (driver and chromium):
        pytest.skip("needs chromium and chromedriver on the PATH (Debian: apt-get install chromium chromium-driver)")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "disable-dev-shm-usage",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "window-size=390,844",  # a phone
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


@pytest.mark.browser
def test_page_in_a_browser(browser: Any, address: str, image_dir: Path, text_file: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.wait import WebDriverWait

    def wait_for_text(selector: str, text: str) -> None:
        """Wait until the first element that matches a selector has a text."""
        WebDriverWait(browser, 30, ignored_exceptions=[Exception]).until(
            lambda _: browser.find_element(By.CSS_SELECTOR, selector).text == text
        )

    browser.get(address)
    WebDriverWait(browser, 60).until(lambda _: browser.find_elements(By.CSS_SELECTOR, "input[type=file]"))
    file_input = browser.find_element(By.CSS_SELECTOR, "input[type=file]")
    file_input.send_keys(str(image_dir / "boot.jpg"))
    wait_for_text(".card h2", "Ankle boot")
    wait_for_text(".card tr:first-child th", "Ankle boot")
    file_input.send_keys(str(text_file))
    wait_for_text("#message [role=alert]", "The file is not an image (PNG, JPEG, WEBP, GIF, BMP).")
    assert not browser.find_elements(By.CSS_SELECTOR, ".card h2")
    file_input.send_keys(str(image_dir / "boot.jpg"))
    wait_for_text(".card h2", "Ankle boot")
    assert not browser.find_elements(By.CSS_SELECTOR, "#message [role=alert]")

    # Select a test image with the keyboard.
    tab = browser.find_element(By.XPATH, "//button[@role='tab'][normalize-space()='Test images']")
    tab.send_keys(Keys.ENTER)
    image = browser.find_elements(By.CSS_SELECTOR, ".gallery-item button")[7]
    WebDriverWait(browser, 30).until(lambda _: image.is_displayed())
    image.send_keys(Keys.ENTER)
    WebDriverWait(browser, 30, ignored_exceptions=[Exception]).until(
        lambda _: browser.find_element(By.CSS_SELECTOR, "#message p").text.startswith("Test image 7: ")
    )
    width = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert width[0] <= width[1], "the page is wider than the window"

    entries = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requested = [
        entry["params"]["request"]["url"] for entry in entries if entry["method"] == "Network.requestWillBeSent"
    ]
    assert any(url.startswith(f"{address}/gradio_api/") for url in requested)
    assert [url for url in requested if not url.startswith((address, "data:", "blob:"))] == []
    received = [entry["params"]["response"] for entry in entries if entry["method"] == "Network.responseReceived"]
    assert [response["url"] for response in received if response["status"] >= 400] == []
