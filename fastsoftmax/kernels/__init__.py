"""The compiled core: bare loops over NumPy arrays, checked by nobody here; outputs come last."""
