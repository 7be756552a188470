"""The descent that suits the shapes."""

from fastsoftmax.objective.softmax import SoftmaxObjective
from fastsoftmax.training.descent import Descent, Settings
from fastsoftmax.training.owning import OwningDescent, owns
from fastsoftmax.training.touching import TouchingDescent, touches_few


def begin(objective: SoftmaxObjective, settings: Settings) -> Descent:
    """A descent with weights of 0."""
    kind = Descent
    if touches_few(objective, settings.batch):
        kind = TouchingDescent
    elif owns(objective, settings.batch, settings.micro):
        kind = OwningDescent
    return kind(objective, settings)
