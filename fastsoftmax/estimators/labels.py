"""What y says, in scikit-learn's words: classes, and the code of each row or its probabilities."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array

from fastsoftmax.data.targets import CheckedTargets, as_targets

Array = NDArray[Any]


class Labels:
    """What y says: classes, and the code of each row or its probabilities."""

    def __init__(self, y: Any, known: Array | None = None) -> None:
        array = np.asarray(y)
        self.soft = array.ndim == 2 and array.shape[1] > 1
        if self.soft:
            self.classes = np.arange(array.shape[1])
            self.codes: Array = check_array(array, dtype=[np.float64, np.float32], input_name="y")
            if known is not None and not np.array_equal(known, self.classes):
                raise ValueError(f"y has probabilities of {len(self.classes)} classes, the first call named {known}")
        else:
            if array.ndim == 2:
                text = "A column-vector y was passed when a 1d array was expected. Please change the shape of y to "
                warnings.warn(text + "(n_samples,), for example using ravel().", DataConversionWarning, stacklevel=4)
                array = array[:, 0]
            if array.dtype.kind not in "biu":
                check_classification_targets(array)
            self.classes, self.codes = np.unique(array, return_inverse=True)
            if array.dtype.kind in "biu" and len(self.classes) > max(20, len(array) // 2):
                check_classification_targets(array)  # warns; of 150 labels it takes 0.13 ms, as much as a pass
            if known is not None:
                strange = np.setdiff1d(self.classes, known).tolist()
                if strange:
                    raise ValueError(f"y has classes that the first call did not name: {strange}")
                self.classes, self.codes = known, np.searchsorted(known, array)
        if len(self.classes) < 2:
            raise ValueError(
                "This solver needs samples of at least 2 classes in the data, but the data contains only one class: "
                f"{self.classes[0]!r}"
            )

    def targets(self, n: int, dtype: Any, sample_weight: Any, class_weight: Any, smoothing: float) -> CheckedTargets:
        """Checked, with both kinds of weights."""
        c = len(self.classes)
        if class_weight is not None and not self.soft:
            class_weight = self.class_weights(class_weight, sample_weight)
        return as_targets(
            self.codes, n, c, dtype, sample_weight=sample_weight, class_weight=class_weight, label_smoothing=smoothing
        )

    def class_weights(self, class_weight: Any, sample_weight: Any) -> Array:
        """One for each class (c,); "balanced" ones of classes whose rows weigh nothing are 0."""
        y = self.classes[self.codes]
        with np.errstate(divide="ignore"):
            each = compute_class_weight(class_weight, classes=self.classes, y=y, sample_weight=sample_weight)
        return np.where(np.isinf(each), 0.0, each) if isinstance(class_weight, str) else each
