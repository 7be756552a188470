"""Pictures, in scikit-learn's convention: `from_estimator`, `from_predictions`, `plot(ax=None)`, artists as attributes.

Need `pip install 'fastsoftmax[pictures]'`; matplotlib is imported when something is drawn. `write_page` writes a page
of HTML about a model, on which one can draw.
"""

from fastsoftmax.report.history import HistoryDisplay
from fastsoftmax.report.losses import TopLossesDisplay
from fastsoftmax.report.page import write_page
from fastsoftmax.report.path import PathDisplay
from fastsoftmax.report.reliability import ReliabilityDisplay
from fastsoftmax.report.weights import WeightsDisplay

__all__ = ["HistoryDisplay", "PathDisplay", "ReliabilityDisplay", "TopLossesDisplay", "WeightsDisplay", "write_page"]
