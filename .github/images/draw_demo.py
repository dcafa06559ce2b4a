"""Save demo.png of the README from a checkpoint and a photograph: python .github/images/draw_demo.py CKPT PHOTO.

It starts `fashion-mlp demo CKPT`, uploads the photograph in Chromium, and saves the page. The photograph in demo.png
was made by `python tests/photographs.py CKPT --save DIR`.
"""

import io
import subprocess
import sys
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

PORT = "7897"
# 1600 pixels, twice the width at which it is shown, are 1100 of the page.
VIEWPORT = {"width": 1100, "height": 700, "deviceScaleFactor": 1600 / 1100, "mobile": False}


def main() -> None:
    """Save the image beside this file."""
    checkpoint, photograph = sys.argv[1:]
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--hide-scrollbars"):
        options.add_argument(argument)
    server = subprocess.Popen(["fashion-mlp", "demo", checkpoint, "--port", PORT], stdout=subprocess.PIPE, text=True)
    browser = webdriver.Chrome(options=options)
    try:
        assert server.stdout is not None
        next(line for line in server.stdout if PORT in line)
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", VIEWPORT)
        browser.get(f"http://127.0.0.1:{PORT}")
        wait = WebDriverWait(browser, 120)
        wait.until(lambda _: browser.find_elements(By.CSS_SELECTOR, "input[type=file]"))
        browser.find_element(By.CSS_SELECTOR, "input[type=file]").send_keys(str(Path(photograph).resolve()))
        wait.until(lambda _: browser.find_elements(By.CSS_SELECTOR, ".card h2"))
        browser.execute_script("window.scrollTo(0, 0)")
        page = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    finally:
        browser.quit()
        server.terminate()
    # A palette of 256 colours takes a third of the size.
    page.quantize(256).save(Path(__file__).with_name("demo.png"), optimize=True)


if __name__ == "__main__":
    main()
