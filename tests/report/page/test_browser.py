"""The page in a browser: what one draws is recognised, its arithmetic is the library's, it asks nobody anything."""

import json

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax.report import write_page
from tests.report.page.strokes import HANDS, ROUND, placed

PLACES = {"large": (0, 0, 1), "left": (0.02, 0.3, 0.5), "corner": (0.45, 0.42, 0.55)}
SIZES = {"phone": (390, 844, True), "desk": (1280, 1000, False)}


def answer(browser):
    """The class of the longest bar."""
    return browser.run("return [...document.querySelectorAll('#bars .best .label')].map((e) => e.textContent)")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("place", PLACES)
def test_nine_of_ten_digits_are_recognised(mnist, browser, size, place):
    width, height, touch = SIZES[size]
    browser.open(mnist[0], width, height, touch=touch)
    for hand in HANDS.values():
        said = []
        for strokes in hand.values():
            browser.find("#clear").click()
            browser.draw(placed(strokes, *PLACES[place]), "touch" if touch else "mouse")
            said += answer(browser)
        right = sum(label == str(digit) for label, digit in zip(said, hand, strict=True))
        assert right >= 9, said
    assert browser.console() == []
    assert browser.requests() == []


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_arithmetic_is_the_librarys(mnist, browser, dtype, tmp_path):
    path, model, X, y = mnist
    if dtype == "float64":
        model = fs.SoftmaxModel(model.coef.astype(dtype), model.intercept.astype(dtype), temperature=1.7)
        path = tmp_path / "page.html"
        write_page(path, model, X[:500], y[:500])
    browser.open(path)
    rows = X[:200]
    P = np.array(browser.run("return arguments[0].map((x) => fastsoftmax.probabilities(x))", rows.tolist()))
    np.testing.assert_allclose(P, model.predict_proba(rows), rtol=0, atol=1e-6)
    assert (P.argmax(1) == model.predict(rows)).sum() == 200


def test_drawings_have_the_form_of_mnist(mnist, browser):
    browser.open(mnist[0])
    for digit, strokes in ROUND.items():
        images = [
            np.reshape(browser.run("return [...fastsoftmax.imageOf(arguments[0], 28, 28)]", drawn), (28, 28))
            for drawn in (strokes, placed(strokes, 0.1, 0.3, 0.4), [stroke[::-1] for stroke in strokes[::-1]])
        ]
        image = images[0].astype(float)
        np.testing.assert_allclose(images[1], image, atol=1)  # wherever, and however large, it is drawn
        np.testing.assert_allclose(images[2], image, atol=1)  # and in whatever order
        y, x = np.nonzero(image)
        spans = np.ptp(y) + 1, np.ptp(x) + 1
        assert 19 <= max(spans) <= 22, digit
        mass = image.sum()
        centre = (image.sum(1) @ np.arange(28)) / mass, (image.sum(0) @ np.arange(28)) / mass
        np.testing.assert_allclose(centre, 14, atol=0.05)
        assert set(np.unique(image)) - {0, 255}, "edges are smooth"
        assert 50 <= mass / 255 <= 165, digit  # as 90 % of MNIST's are


def test_strange_drawings_do_no_harm(mnist, browser):
    browser.open(mnist[0])
    for strokes in ([], [[]], [[[0.5, 0.5]]], [[[0, 0], [1, 1]], []], [[[-3, 5], [9, -2]]], [[[0.2, 0.2]] * 500]):
        image = np.array(browser.run("return [...fastsoftmax.imageOf(arguments[0], 28, 28)]", strokes))
        assert image.shape == (784,)
        assert (image > 0).any() == any(strokes)
    assert browser.console() == []


def test_undo_clear_and_what_speaks_for_a_class(mnist, browser):
    browser.open(mnist[0])
    assert answer(browser) == []
    browser.draw(ROUND[7]).draw([[(0.4, 0.5), (0.6, 0.5)]])
    assert browser.run("return fastsoftmax.drawing.strokes.length") == 2
    browser.find("#undo").click()
    browser.settled()
    assert answer(browser) == ["7"]
    status = browser.find("#said").text
    assert status.startswith("7, ")
    shares = browser.run("return [...document.querySelectorAll('#bars .share')].map((e) => parseFloat(e.textContent))")
    assert sum(shares) == pytest.approx(100, abs=1)
    plain = browser.run("return document.querySelector('#seen').toDataURL()")
    browser.run("document.querySelectorAll('#bars button')[7].focus()")
    browser.settled()
    assert "What speaks for 7" in browser.find("#about").text
    assert browser.run("return document.querySelector('#seen').toDataURL()") != plain
    x = browser.run("return [...fastsoftmax.drawing.x]")
    found = browser.run("return [...fastsoftmax.model.evidence(fastsoftmax.drawing.x, 7)]")
    coef = mnist[1].coef.astype(float)
    np.testing.assert_allclose(found, (coef[7] - coef.mean(0)) * x, atol=1e-12)
    browser.find("#clear").click()
    browser.settled()
    assert answer(browser) == []
    assert browser.run("return fastsoftmax.drawing.strokes.length") == 0


def test_a_finger_draws_and_does_not_scroll(mnist, browser):
    browser.open(mnist[0], 390, 600, touch=True)
    browser.run("document.querySelector('#paper').scrollIntoView()")
    browser.draw([[(0.5, 0.1), (0.5, 0.9)]], "touch")
    before = browser.run("return scrollY")
    browser.draw([[(0.5, 0.9), (0.5, 0.1)]], "touch")
    assert browser.run("return scrollY") == before
    assert browser.run("return fastsoftmax.drawing.strokes.length") == 2


def test_keys_draw(mnist, browser):
    from selenium.webdriver.common.keys import Keys

    browser.open(mnist[0])
    canvas = browser.find("#paper")
    canvas.send_keys(Keys.ARROW_UP * 8, " ", Keys.ARROW_DOWN * 16, " ")
    browser.settled()
    assert answer(browser) == ["1"]
    canvas.send_keys(Keys.ARROW_RIGHT)
    assert browser.run("return fastsoftmax.drawing.strokes.length") == 1
    canvas.send_keys(Keys.BACKSPACE)
    assert browser.run("return fastsoftmax.drawing.strokes.length") == 0


def test_a_pointer_that_is_cancelled_adds_nothing_and_held_keys_count_once(mnist, browser):
    browser.open(mnist[0])
    strokes = browser.run("""
        const canvas = document.querySelector('#paper'), box = canvas.getBoundingClientRect();
        canvas.setPointerCapture = () => {};
        const at = (name, u) => canvas.dispatchEvent(new PointerEvent(name, {
          pointerId: 7, button: 0, buttons: 1, clientX: box.left + u * box.width, clientY: box.top + u * box.height}));
        at('pointerdown', 0.25); at('pointermove', 0.5);
        canvas.dispatchEvent(new PointerEvent('pointercancel', {pointerId: 7}));
        at('pointermove', 0.75); at('pointerdown', 0.75); at('pointerup', 0.75);
        return fastsoftmax.drawing.strokes;""")
    np.testing.assert_allclose(strokes[0], [[0.25, 0.25], [0.5, 0.5]], atol=1e-6)
    assert len(strokes) == 2
    browser.run("""
        const canvas = document.querySelector('#paper');
        for (const repeat of [false, true, true]) {
          canvas.dispatchEvent(new KeyboardEvent('keydown', {key: ' ', repeat}));
        }
    """)
    assert browser.run("return fastsoftmax.drawing.pen.down")
    assert browser.console() == []


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_sticks_out_and_every_picture_is_told(mnist, browser, width):
    browser.open(mnist[0], width, touch=width < 500)
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.run("return [...document.querySelectorAll('img')].filter((e) => !e.alt).length") == 0
    assert browser.run("return [...document.querySelectorAll('img')].every((e) => e.complete && e.naturalWidth > 0)")
    unnamed = """return [...document.querySelectorAll('svg, canvas, button, [tabindex]')].filter(
        (e) => !e.closest('[aria-hidden]') && !e.getAttribute('aria-label') && !e.textContent.trim()).length"""
    assert browser.run(unnamed) == 0


CONTRAST = """
const brush = Object.assign(document.createElement('canvas'), {width: 1, height: 1}).getContext('2d');
const over = (color, ground) => {
  brush.fillStyle = `rgb(${ground})`; brush.fillRect(0, 0, 1, 1); brush.fillStyle = color; brush.fillRect(0, 0, 1, 1);
  return [...brush.getImageData(0, 0, 1, 1).data].slice(0, 3); };
const light = (rgb) => { const [r, g, b] = rgb.map((v) => v / 255).map((v) =>
  v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const ground = (e) => e ? over(getComputedStyle(e).backgroundColor, ground(e.parentElement)) : [255, 255, 255];
const found = [];
for (const e of document.querySelectorAll('body *')) {
  const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  if (!own || e.closest('script, template, noscript, title')) continue;
  const style = getComputedStyle(e), back = ground(e);
  const front = over(e instanceof SVGElement ? style.fill : style.color, back);
  const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
  found.push([(a + 0.05) / (b + 0.05), e.tagName, e.className.baseVal ?? e.className, e.textContent.slice(0, 20)]);
}
return found.sort((x, y) => x[0] - y[0]).slice(0, 3).concat([[found.length]]);
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_of_wcag_aa(mnist, browser, scheme):
    browser.open(mnist[0], scheme=scheme).draw(ROUND[3])
    browser.run("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
    *worst, (count,) = browser.run(CONTRAST)
    assert count > 200
    assert worst[0][0] >= 4.5, worst


def test_the_policy_lets_nothing_out(mnist, browser):
    browser.open(mnist[0])
    blocked = browser.driver.execute_async_script("""
        const done = arguments[0];
        document.addEventListener('securitypolicyviolation', (e) => done(e.effectiveDirective));
        fetch('https://example.invalid/').catch(() => {}); setTimeout(() => done('nothing'), 2000);
    """)
    assert blocked == "connect-src"
    browser.console()


@pytest.mark.parametrize("kind", ["dark on light", "centred", "8 x 8", "12 x 9"])
def test_images_of_any_tone_and_shape(browser, tmp_path, kind, rng):
    shape = {"8 x 8": (8, 8), "12 x 9": (12, 9)}.get(kind, (6, 6))
    y = np.arange(300) % 15
    X = rng.integers(0, 60, (300, *shape)).astype(float)
    X[:, [0, -1]] = X[:, :, 0] = X[:, :, -1] = 0
    X[np.arange(300), 1 + y // 4, 1 + y % 4] = 200
    paper, full = 0.0, 200.0
    if kind == "dark on light":
        X, paper, full = 255 - X, 255.0, 55.0
    elif kind == "centred":
        X, paper, full = (X - 50) / 100, -0.5, 1.5
    labels = np.array([f"<b>{k}</b>" for k in range(15)])
    model = fs.SoftmaxRegression(C=0.01).fit(X.reshape(300, -1), labels[y])
    write_page(tmp_path / "page.html", model, X.reshape(300, -1), labels[y], image=shape)
    browser.open(tmp_path / "page.html").draw([[(0.2, 0.2), (0.8, 0.8)]])
    facts = browser.run("return [fastsoftmax.model.paper, fastsoftmax.model.full]")
    assert facts == [paper, full]
    bars = browser.run("return [...document.querySelectorAll('#bars .label')].map((e) => e.textContent)")
    assert len(bars) == 10  # of more classes the most probable
    assert set(bars) <= set(labels.tolist())
    x = np.array(browser.run("return [...fastsoftmax.drawing.x]"))
    best = model.classes_[model.predict_proba(x[None])[0].argsort()[::-1][:10]]
    assert bars == best.tolist()
    assert browser.console() == []


def test_a_page_of_no_images_has_no_canvas(browser, tmp_path):
    from sklearn.datasets import load_iris

    X, y = load_iris(return_X_y=True, as_frame=True)
    model = fs.SoftmaxRegression().fit(X, y)
    write_page(tmp_path / "page.html", model, X, y)
    browser.open(tmp_path / "page.html", 390, touch=True)
    assert browser.run("return document.querySelectorAll('canvas').length") == 0
    assert browser.run("return document.documentElement.scrollWidth") <= 390
    assert "petal length (cm)" in browser.find("#weights").text
    assert browser.console() == []
    assert browser.requests() == []
    assert json.loads(browser.run("return JSON.stringify(document.querySelectorAll('script').length)")) == 0


EVENTS = """
const canvas = document.querySelector('#paper'), box = canvas.getBoundingClientRect();
canvas.setPointerCapture = () => {};
const at = (name, u, v, more) => canvas.dispatchEvent(new PointerEvent(name, Object.assign({
  pointerId: 1, button: 0, buttons: 1, clientX: box.left + u * box.width, clientY: box.top + v * box.height}, more)));
const press = (key, more) => canvas.dispatchEvent(new KeyboardEvent('keydown', Object.assign({key}, more)));
"""


def test_what_is_outside_of_the_paper_is_not_read(mnist, browser):
    browser.open(mnist[0])
    strokes = browser.run(
        EVENTS
        + """
        at('pointerdown', 0.5, 0.5); at('pointermove', 2.2, -0.7); at('pointerup', 0.5, 3);
        return fastsoftmax.drawing.strokes;"""
    )
    np.testing.assert_allclose(strokes, [[[0.5, 0.5], [1, 0], [0.5, 1]]], atol=1e-6)


def test_one_pointer_draws_and_a_lost_end_is_noticed(mnist, browser):
    browser.open(mnist[0])
    strokes = browser.run(
        EVENTS
        + """
        at('pointerdown', 0.2, 0.2); at('pointerdown', 0.8, 0.8, {pointerId: 2});
        at('pointermove', 0.9, 0.9, {pointerId: 2});
        press(' '); press('ArrowLeft'); at('pointermove', 0.3, 0.3); at('pointermove', 0.6, 0.6, {buttons: 0});
        at('pointermove', 0.7, 0.7);
        return fastsoftmax.drawing.strokes;"""
    )
    np.testing.assert_allclose(strokes, [[[0.2, 0.2], [0.3, 0.3]]], atol=1e-6)
    assert browser.run(
        EVENTS
        + """
        at('pointerdown', 0.2, 0.2); document.querySelector('#clear').click(); at('pointermove', 0.3, 0.3);
        press('ArrowLeft', {altKey: true});
        return [fastsoftmax.drawing.strokes.length, fastsoftmax.drawing.pen];"""
    ) == [0, None]


def test_bars_are_fixed_by_a_click_and_remember_the_focus(browser, tmp_path, rng):
    labels = np.array([f"$&{k}" for k in range(40)])
    model = fs.SoftmaxModel(rng.standard_normal((40, 25)) * 3, np.zeros(40), labels)
    write_page(tmp_path / "page.html", model, pixels=(-0.5, 1))
    browser.open(tmp_path / "page.html").draw([[(0.2, 0.2), (0.8, 0.8)]])
    chosen = browser.run("return document.querySelectorAll('#bars .label')[4].textContent")
    browser.run("document.querySelectorAll('#bars button')[4].click()")
    for drawn in ([[(0.8, 0.2), (0.2, 0.8)]], [[(0.2, 0.5), (0.8, 0.5)]]):
        browser.draw(drawn)
        fixed = "return [...document.querySelectorAll('#bars [aria-pressed=true] .label')].map((e) => e.textContent)"
        assert browser.run(fixed) == [chosen]
        assert f"What speaks for {chosen} (orange)" in browser.find("#about").text
    k = labels.tolist().index(chosen)
    x = np.array(browser.run("return [...fastsoftmax.drawing.x]"))
    found = browser.run("return [...fastsoftmax.model.evidence(fastsoftmax.drawing.x, arguments[0])]", k)
    np.testing.assert_allclose(found, (model.coef[k] - model.coef.mean(0)) * (x + 0.5), atol=1e-9)
    model.temperature = 2.5
    write_page(tmp_path / "warm.html", model, pixels=(-0.5, 1))
    browser.open(tmp_path / "warm.html")
    warm = browser.run("return [...fastsoftmax.model.evidence(arguments[0], arguments[1])]", x.tolist(), k)
    np.testing.assert_allclose(np.array(warm) * 2.5, found, atol=1e-9)


def test_ink_takes_the_colour_of_the_scheme(mnist, browser):
    pixel = """const c = document.querySelector('#paper');
        return [...c.getContext('2d').getImageData(c.width / 2, c.height / 2, 1, 1).data];"""
    browser.open(mnist[0]).draw([[(0.5, 0.2), (0.5, 0.8)]])
    light = browser.run(pixel)
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    dark = browser.settled().settled().run(pixel)
    assert sum(light[:3]) < 200
    assert sum(dark[:3]) > 600
