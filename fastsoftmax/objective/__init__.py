"""Sums over rows: what may be asked about data, and F with its certificate.

May import `data` and what is below. Nothing above walks rows or looks into a design.
"""
