"""Work block by block gives what NumPy gives at once, and the same bits on any number of threads."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastsoftmax as fs
from fastsoftmax.engine.vectors import BLOCK, in_blocks, moved, product, total


@pytest.fixture
def threads():
    before = fs.get_num_threads()
    yield fs.set_num_threads
    fs.set_num_threads(before)


@pytest.mark.parametrize("size", [0, 1, BLOCK, BLOCK + 1, 20 * BLOCK + 7])
def test_blocks_cover_a_vector_once_in_order(size):
    assert [i for block in in_blocks(lambda at: range(at.start, at.stop), size) for i in block] == [*range(size)]


@pytest.mark.parametrize("size", [0, 5, 12 * BLOCK + 3])
def test_products_and_steps(rng, size):
    x, y = rng.standard_normal((2, size))
    assert_allclose(product(x, y), x @ y, rtol=1e-12, atol=1e-12)
    assert_allclose(moved(x, 0.3, y), x + 0.3 * y)


def test_bits_do_not_depend_on_threads(rng, threads):
    x, y = rng.standard_normal((2, 30 * BLOCK + 11))
    found = set()
    for count in (1, 2, 3):
        threads(count)
        found.add((product(x, y), moved(x, 0.7, y).tobytes()))
    assert len(found) == 1


def test_sums_of_several(rng):
    parts = in_blocks(lambda at: np.array([1.0, at.stop - at.start]), 10 * BLOCK, 4)
    assert_allclose(total(parts), [40, 10 * BLOCK])


def test_an_error_in_a_block_is_raised():
    def fails(at):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        in_blocks(fails, 20 * BLOCK)
