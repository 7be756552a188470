"""Sums over rows: what may be asked about data, and F with its certificate.

May import `data` and what is below. Solvers see rows only in samples, and in blocks that an objective gives.
"""
