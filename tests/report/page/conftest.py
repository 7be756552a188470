"""A page about MNIST, and a browser that looks at it."""

import json
import os
import shutil

import pytest

import fastsoftmax as fs
from fastsoftmax.engine.threads import JIT
from fastsoftmax.report import write_page

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


@pytest.fixture(name="mnist", scope="session")
def make_mnist(tmp_path_factory):
    """(path of the page, model, test images, their labels)."""
    if not JIT:
        pytest.skip("60 000 images take far too long with the JIT off")
    X, y, X_test, y_test = fs.datasets.load_mnist()
    model = fs.Trainer(2, 64, "adam", 0.003, "one_cycle", scale=1 / 255).fit(X, y)
    path = tmp_path_factory.mktemp("page") / "mnist.html"
    write_page(path, model, X_test, y_test, title="MNIST", source="its test images")
    return path, model, X_test, y_test


class Browser:
    """A driver, what it logged, and a mouse."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, path, width=1280, height=1000, scheme="light", touch=False):
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": touch}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        self.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": touch})
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.driver.get_log("performance")
        self.driver.get(path.as_uri())
        return self

    def run(self, script, *args):
        return self.driver.execute_script(script, *args)

    def find(self, selector):
        return self.driver.find_element("css selector", selector)

    def console(self):
        return self.driver.get_log("browser")

    def requests(self):
        """Addresses that the page asked for, after itself."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        addresses = [one["request"]["url"] for one in sent if one["type"] != "Document"]
        return [address for address in addresses if not address.startswith("data:")]  # what is in the page

    def settled(self):
        """After the next frame, in which changes are shown."""
        self.driver.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()))"
        )
        return self

    def draw(self, strokes, kind="mouse"):
        """In parts of the canvas."""
        from selenium.webdriver.common.actions.action_builder import ActionBuilder
        from selenium.webdriver.common.actions.pointer_input import PointerInput

        canvas = self.find("#paper")
        self.run("arguments[0].scrollIntoView({block: 'center'})", canvas)
        side = self.run("return arguments[0].getBoundingClientRect().width", canvas)
        hand = PointerInput(kind, kind)
        actions = ActionBuilder(self.driver, mouse=hand, duration=2)
        for stroke in strokes:
            for i, (x, y) in enumerate(stroke):
                hand.create_pointer_move(
                    duration=2, x=round((x - 0.5) * side), y=round((y - 0.5) * side), origin=canvas
                )
                if i == 0:
                    hand.create_pointer_down(button=0)
            hand.create_pointer_up(button=0)
        actions.perform()
        return self.settled()


@pytest.fixture(name="browser", scope="session")
def make_browser():
    if CHROMIUM is None or DRIVER is None:
        text = "needs chromium and chromedriver: apt-get install chromium chromium-driver"
        (pytest.fail if os.environ.get("FASTSOFTMAX_BROWSER") == "required" else pytest.skip)(text)
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield Browser(driver)
    driver.quit()
