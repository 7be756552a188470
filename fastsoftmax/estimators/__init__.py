"""scikit-learn's face: the only wing that knows it.

May import everything but `warming` and `cli`.
"""
