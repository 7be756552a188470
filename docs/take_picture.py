"""docs/page.png: the page that `fastsoftmax report` writes, with a digit drawn on it.

Run: python docs/take_picture.py. Needs chromium, chromedriver, and `pip install '.[test]'`.
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains

import fastsoftmax as fs
from fastsoftmax.report import write_page

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from tests.report.page.strokes import ROUND, placed  # noqa: E402

X, y, X_test, y_test = fs.datasets.load_mnist()
model = fs.Trainer(10, 64, "adam", 0.003, "one_cycle", scale=1 / 255, progress=False).fit(X, y)
page = Path(tempfile.mkdtemp()) / "digits.html"
write_page(page, model, X_test, y_test, title="A recogniser of digits", source="the test images of MNIST")
options = webdriver.ChromeOptions()
for argument in ("--headless=new", "--no-sandbox", "--hide-scrollbars", "--window-size=1100,760"):
    options.add_argument(argument)
options.binary_location = shutil.which("chromium")
driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
driver.get(page.as_uri())
canvas, actions = driver.find_element("id", "paper"), ActionChains(driver, duration=5)
side = canvas.size["width"]
for stroke in placed(ROUND[3], 0.1, 0.1, 0.8):
    for i, (u, v) in enumerate(stroke):
        actions.move_to_element_with_offset(canvas, int((u - 0.5) * side), int((v - 0.5) * side))
        if i == 0:
            actions.click_and_hold()
    actions.release()
actions.move_to_element(driver.find_elements("css selector", "#bars button")[3]).perform()
time.sleep(0.3)
driver.save_screenshot(str(HERE / "page.png"))
driver.quit()
Image.open(HERE / "page.png").convert("P", palette=Image.Palette.ADAPTIVE, colors=64).save(
    HERE / "page.png", optimize=True
)
