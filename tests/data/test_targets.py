"""Labels of any integer type and byte order: those of a class are taken, all others refused, whatever their bits."""

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax.data.targets import as_labels, as_targets

KINDS = [order + kind for order in "<>" for kind in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")]
CLASSES = [1, 2, 127, 128, 129, 255, 256, 257, 32768, 65536, 65537, 1 << 31, 1 << 32, 1 << 40, None]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_classes", CLASSES)
def test_only_labels_of_a_class_are_taken(kind, n_classes):
    limits = np.iinfo(kind)
    first_wrong = (1 << 63) if n_classes is None else n_classes
    some = {
        0,
        1,
        -1,
        -2,
        limits.min,
        limits.max,
        limits.max - 1,
        limits.min + 1,
        first_wrong - 1,
        first_wrong,
        -first_wrong,
    }
    for value in (value for value in some if limits.min <= value <= limits.max):
        y = np.array([0, value, 0], kind)
        for labels in (y, y[:, None], np.array([0, 7, value, 7, 0, 7], kind)[::2], y[::-1]):
            if 0 <= value < first_wrong:
                np.testing.assert_array_equal(as_labels(labels, n_classes), [0, value, 0])
                assert as_labels(labels, n_classes).dtype == np.dtype(np.int64)
            else:
                with pytest.raises(ValueError, match="labels must be"):
                    as_labels(labels, n_classes)


@pytest.mark.parametrize("kind", KINDS)
def test_a_negative_label_never_reaches_a_kernel(kind):
    if "u" in kind:
        return
    y = np.array([0, -1], kind)
    for c in (2, 300, 70000):
        Z = np.zeros((2, c), np.float32)
        with pytest.raises(ValueError, match="labels must be"):
            fs.cross_entropy(Z, y)
        with pytest.raises(ValueError, match="labels must be"):
            fs.loss_gradient(np.zeros((2, 1)), y, np.zeros((c, 1)))
    with pytest.raises(ValueError, match="labels must be"):
        fs.one_hot(y)


def test_no_rows_with_class_weights():
    for y in (np.zeros(0, int), np.zeros((0, 3))):
        targets = as_targets(y, 0, 3, np.float32, class_weight=[1.0, 2.0, 3.0])
        assert (targets.n, targets.c, targets.total) == (0, 3, 0.0)
