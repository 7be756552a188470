"""The descent that suits the shapes."""

from typing import Any

from fastsoftmax.kernels import updates
from fastsoftmax.objective.softmax import SoftmaxObjective
from fastsoftmax.training.descent import Descent
from fastsoftmax.training.owning import OwningDescent, owns
from fastsoftmax.training.touching import TouchingDescent, touches_few


def begin(objective: SoftmaxObjective, adam: bool, rule: updates.Rule, **settings: Any) -> Descent:
    """A descent with weights of 0."""
    kind = Descent
    if touches_few(objective, settings["batch"]):
        kind = TouchingDescent
    elif owns(objective, settings["batch"], settings["micro"]):
        kind = OwningDescent
    return kind(objective, adam, rule, **settings)
