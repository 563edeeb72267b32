"""The page of `fastconv draw` in headless Chromium: digits drawn on it are read, by pointer and by keyboard.

Needs chromium and chromedriver, and selenium; skipped where one of them is missing.  The network is `fast`: trained on
MNIST where it is found, else on the digits that the package draws.
"""

import contextlib
import os
import shutil
import threading
import time

import numpy as np
import pytest

import fastconv  # noqa: F401 (the package under test, before the browser)
from fastconv import data
from fastconv.cli import main
from fastconv.cli._draw_server import DrawServer
from fastconv.cli._recognizer import Recognizer
from fastconv.data.splines import skeleton_table

pytestmark = pytest.mark.browser

CHROMIUM = os.environ.get("FASTCONV_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
STYLES = {  # size and corner of the drawing in widths of the sheet, position of the pen's slider
    "centred": (0.7, (0.27, 0.15), 8),
    "small and off-centre": (0.26, (0.08, 0.66), 8),
    "thick": (0.66, (0.27, 0.17), 16),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The file of a network that has learned."""
    folder = tmp_path_factory.mktemp("model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        arguments = ["--net", "fast", "--epochs", "1", "--data", "mnist" if data.find_mnist() else "digits"]
        assert main(["train", *arguments, "--no-download", "--quiet", "--out", str(folder)]) == 0
    (path,) = folder.glob("fast-*.*")
    return path


@pytest.fixture(scope="module")
def url(model):
    with DrawServer(Recognizer(model), 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server.url
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("chromium or chromedriver is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS:
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


class Page:
    """The page, and what a user does on it."""

    def __init__(self, driver, url, width=1100, height=900, scheme="light"):
        self.driver = driver
        self.resize(width, height)
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        driver.get(url)
        self.until("return document.body.dataset.ready")

    def resize(self, width, height):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def until(self, script, seconds=30.0):
        """What a script returns once that is true."""
        end = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < end, f"never true: {script}"
            time.sleep(0.02)
        return value

    def text(self, name):
        return self.run("return document.getElementById(arguments[0]).textContent", name)

    def settled(self):
        """The label, once no guess is on its way and the last one is shown."""
        self.until("return !busy && !wanted")
        return self.text("label")

    def pen(self, position):
        script = "pen.value = arguments[0]; pen.dispatchEvent(new Event('input', {bubbles: true}))"
        self.run(f"const pen = document.getElementById('pen'); {script}", position)

    def draw(self, strokes, kind="mouse"):
        """Draw strokes, given in widths of the sheet, by moving a pointer along them."""
        from selenium.webdriver.common.actions.action_builder import ActionBuilder
        from selenium.webdriver.common.actions.pointer_input import PointerInput

        script = "const b = document.getElementById('sheet').getBoundingClientRect(); return [b.left, b.top, b.width]"
        left, top, width = self.run(script)
        actions = ActionBuilder(self.driver, mouse=PointerInput(kind, kind), duration=4)
        for stroke in strokes:
            points = [(round(left + x * width), round(top + y * width)) for x, y in stroke]
            actions.pointer_action.move_to_location(*points[0])
            actions.pointer_action.pointer_down()
            for point in points[1:]:
                actions.pointer_action.move_to_location(*point)
            actions.pointer_action.pointer_up()
        actions.perform()

    def keys(self, *keys):
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver, duration=0).send_keys(*keys).perform()

    def errors(self):
        """What the console has: errors and warnings, but that this file reads canvases back."""
        log = self.driver.get_log("browser")
        return [entry for entry in log if entry["level"] != "INFO" and "readback" not in entry["message"]]

    def no_horizontal_scroll(self):
        return self.run("return document.documentElement.scrollWidth <= window.innerWidth")


def skeleton(digit, size=0.7, corner=(0.27, 0.15)):
    """The strokes of a digit as one usually writes it: the first of its skeletons."""
    table = skeleton_table()
    variant = int(np.flatnonzero(table.digit == digit)[0])
    path = table.curve[variant] @ table.points[variant] * size + np.array(corner)
    parts = np.split(path, np.flatnonzero(table.joined[variant] == 0) + 1)
    return [np.concatenate([part[:-1:4], part[-1:]]) for part in parts]


def test_thirty_digits(chromium, url):
    page = Page(chromium, url)
    wrong = []
    for style, (size, corner, pen) in STYLES.items():
        page.pen(pen)
        for digit in range(10):
            page.draw(skeleton(digit, size, corner))
            if (label := page.settled()) != str(digit):
                wrong.append(f"{digit} {style}: {label}")
            page.keys("c")
            assert page.settled() == "?"
    print(f"{30 - len(wrong)} of 30 right; wrong: {wrong}")
    assert len(wrong) <= 3, wrong
    assert page.errors() == []


def test_what_is_shown(chromium, url):
    page = Page(chromium, url)
    assert page.settled() == "?"
    assert page.text("sure") == "Nothing drawn yet"
    count = "return document.querySelectorAll(arguments[0]).length"
    assert page.run(count, "#bars li") == 10
    assert page.run(count, "#bars li.first") == 0
    assert page.run(count, ".maps canvas") == 56
    lit = (
        "return [...document.querySelectorAll('#seen, .maps canvas')].filter("
        "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v, i) => i % 4 < 3 && v)).length"
    )
    assert page.run(lit) == 0
    page.draw(skeleton(3))
    assert page.settled() == "3"
    assert page.run("return document.querySelector('#bars li.first .name').textContent") == "3"
    shares = page.run(
        "return [...document.querySelectorAll('#bars .fill')].map(f => +f.style.getPropertyValue('--share'))"
    )
    assert abs(sum(shares) - 1) < 0.01
    assert int(np.argmax(shares)) == 3
    assert page.run(lit) > 20
    assert "ms network, " in page.text("time")
    page.until("return document.getElementById('live').textContent.startsWith('3, ')")
    page.keys("c")
    assert page.settled() == "?"
    assert page.run(lit) == 0
    page.until("return document.getElementById('live').textContent === 'The sheet is empty'")
    assert page.errors() == []


def test_guesses_come_while_the_digit_is_drawn(chromium, url):
    page = Page(chromium, url)
    page.run("window.asked = 0; const real = fetch; window.fetch = (...a) => { asked++; return real(...a); }")
    page.draw(skeleton(8))
    page.settled()
    assert page.run("return asked") > 3


def test_undo_and_clear(chromium, url):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    page = Page(chromium, url)
    undo, clear = (chromium.find_element(By.ID, name) for name in ("undo", "clear"))
    assert not undo.is_enabled()
    assert not clear.is_enabled()
    page.draw(skeleton(1))
    page.draw(skeleton(7, 0.4, (0.1, 0.1)))
    count = "return strokes.length"
    assert page.run(count) == 2
    undo.click()
    assert page.run(count) == 1
    assert page.settled() == "1"
    clear.click()
    assert page.run(count) == 0
    assert not clear.is_enabled()
    page.keys("z")  # what was cleared comes back
    assert page.run(count) == 1
    page.keys(Keys.CONTROL + "z" + Keys.CONTROL)
    assert page.settled() == "?"
    assert not undo.is_enabled()


@pytest.mark.parametrize("kind", ["touch", "pen"])
def test_fingers_and_pens(chromium, url, kind):
    page = Page(chromium, url)
    page.draw(skeleton(2), kind)
    assert page.settled() == "2"
    assert page.run("return getComputedStyle(document.getElementById('sheet')).touchAction") == "none"
    assert page.run("return scrollY") == 0


def test_with_the_keyboard_alone(chromium, url):
    from selenium.webdriver.common.keys import Keys

    page = Page(chromium, url)
    page.keys(Keys.TAB)
    assert page.run("return document.activeElement.id") == "sheet"
    page.keys(" ", *[Keys.ARROW_DOWN] * 24, " ")  # a 1
    assert page.settled() == "1"
    page.keys("z")
    assert page.settled() == "?"
    page.keys(*[Keys.ARROW_UP] * 24, *[Keys.ARROW_LEFT] * 6, " ", *[Keys.ARROW_RIGHT] * 14)  # a 7
    page.keys(*[Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_LEFT] * 11, " ")
    assert page.settled() == "7"
    order = []
    for _ in range(3):
        page.keys(Keys.TAB)
        order.append(page.run("return document.activeElement.id"))
    assert order == ["undo", "clear", "pen"]
    assert page.errors() == []


def test_labels_for_screen_readers(chromium, url):
    page = Page(chromium, url)
    unnamed = (
        "return [...document.querySelectorAll('button, input, [role=application], [role=img]')]"
        ".filter(e => !(e.getAttribute('aria-label') || e.textContent.trim())).map(e => e.outerHTML)"
    )
    assert page.run(unnamed) == []
    assert page.run("return document.getElementById('live').getAttribute('aria-live')") == "polite"
    assert page.run("return document.documentElement.lang") == "en"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 360, 760, 1100])
def test_widths_and_schemes(chromium, url, width, scheme, tmp_path):
    page = Page(chromium, url, width, 740, scheme)
    assert page.run("return innerWidth") == width
    assert page.no_horizontal_scroll()
    page.draw(skeleton(5))
    assert page.settled() == "5"
    assert page.no_horizontal_scroll()
    folder = os.environ.get("FASTCONV_SCREENSHOTS")
    if folder:
        page.resize(width, page.run("return document.documentElement.scrollHeight"))
        time.sleep(0.3)
        chromium.save_screenshot(os.path.join(folder, f"draw-{width}-{scheme}.png"))
    page.resize(width, 740)
    ink, sheet = page.run(
        "const c = getComputedStyle(document.documentElement);"
        "return ['--ink', '--sheet'].map(n => parseInt(c.getPropertyValue(n).trim().slice(1, 3), 16))"
    )
    assert (ink < sheet) == (scheme == "light")
    assert page.errors() == []


def test_when_the_server_is_gone_the_page_says_so(chromium, model):
    server = DrawServer(Recognizer(model), 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        page = Page(chromium, server.url)
        page.run("window.fetch = () => Promise.reject(new TypeError('gone'))")
        page.draw(skeleton(4))
        assert "still running" in page.until("return document.getElementById('trouble').textContent")
    finally:
        server.shutdown()
        thread.join()
        with contextlib.suppress(OSError):
            server.server_close()
