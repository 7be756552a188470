"""What a trainer says of itself: its settings, escaped, and a curve that falls as its loss does."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

import fastsoftmax as fs


def halved(step, steps):
    return 0.5


def test_in_words():
    assert repr(fs.Trainer()) == "Trainer()"
    made = fs.Trainer(3, optimizer="adam", betas=(0.8, 0.9), scale=np.full(2, 0.5), average=1, schedule=halved)
    assert repr(made) == (
        "Trainer(epochs=3, optimizer='adam', schedule=halved, betas=(0.8, 0.9), scale=array([0.5, 0.5]), average=1)"
    )
    again = eval(repr(fs.Trainer(3, seed=7)), {"Trainer": fs.Trainer})
    assert (again.epochs, again.seed) == (3, 7)
    assert len(repr(fs.Trainer(scale=np.arange(1.0, 99.0)))) < 100


@pytest.mark.parametrize("validated", [False, True])
def test_in_a_notebook(rng, validated):
    X, y = rng.standard_normal((60, 3)), rng.integers(0, 3, 60)
    trainer = fs.Trainer(4, scale=np.full(3, 0.5))
    assert "Nothing is trained yet" in trainer._repr_html_()
    trainer.fit(X, y, validation=(X, y) if validated else None)
    page = ElementTree.fromstring(trainer._repr_html_())
    assert [cell.text for cell in page.iter("th")] == ["epochs", "scale"]
    text = " ".join(page.itertext())
    assert f"loss {trainer.history[-1]['loss']:.4g}" in text
    assert "stopped: epochs" in text
    lines = [line.get("points") for line in page.iter("polyline")]
    assert len(lines) == 1 + validated
    heights = [float(pair.split(",")[1]) for pair in lines[0].split()]
    losses = [record["loss"] for record in trainer.history]
    assert np.argsort(heights, kind="stable").tolist() == np.argsort(-np.array(losses), kind="stable").tolist()
    assert not re.search("http|script", trainer._repr_html_())


def test_what_is_written_is_escaped():
    def sly(step, steps):
        return 1.0

    sly.__qualname__ = "<script>alert(1)</script>"
    page = fs.Trainer(schedule=sly)._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_one_epoch_and_losses_that_are_alike():
    trainer = fs.Trainer()
    trainer.history = [{"epoch": 1, "loss": 0.5, "learning_rate": 0.1}]
    assert "polyline" not in trainer._repr_html_()
    trainer.history = [{"epoch": k, "loss": 0.5, "learning_rate": 0.1} for k in (1, 2)]
    ElementTree.fromstring(trainer._repr_html_())
