"""Every public name has numpydoc's sections of what it takes, returns and raises, and an example.

Whether parameters are those of the signature, numpydoc tells when the site is built.
"""

import inspect

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import dask, datasets, report

WITHOUT = {"__version__", "datasets", "bfloat16"}  # no class or function of ours


def _public():
    for module in (fs, report, dask, datasets):
        for name in sorted(set(module.__all__) - WITHOUT):
            thing, home = getattr(module, name), module.__name__
            yield f"{home}.{name}", thing, "class" if inspect.isclass(thing) else "function"
            for method, found in inspect.getmembers(thing, callable) if inspect.isclass(thing) else ():
                if not method.startswith("_") and getattr(found, "__module__", "").startswith("fastsoftmax"):
                    yield f"{home}.{name}.{method}", found, "method"


PUBLIC = list(_public())


def has(text, section):
    return f"\n{section}\n{'-' * len(section)}\n" in text


@pytest.mark.parametrize(("thing", "kind"), [pytest.param(*rest, id=name) for name, *rest in PUBLIC])
def test_sections(thing, kind):
    text, error = inspect.getdoc(thing), inspect.isclass(thing) and issubclass(thing, Exception)
    assert text
    if error:
        return
    signature = inspect.signature(thing)
    takes = [name for name in signature.parameters if name not in ("self", "cls")]
    assert has(text, "Parameters") or not takes
    assert kind == "class" or signature.return_annotation in (None, "None") or has(text, "Returns")
    # Constructors of scikit-learn's kind check nothing: what they are given is checked where it is used.
    checks_later = kind == "class" and (hasattr(thing, "get_params") or hasattr(thing, "from_estimator"))
    assert has(text, "Raises") or not takes or checks_later
    assert has(text, "Examples") or kind == "method"


def test_all_of_them_are_seen():
    names = {name for name, *_ in PUBLIC}
    assert {"fastsoftmax.path", "fastsoftmax.SoftmaxRegression.fit", "fastsoftmax.report.write_page"} <= names
    assert np.unique([name for name, *_ in PUBLIC]).size == len(PUBLIC) > 100
