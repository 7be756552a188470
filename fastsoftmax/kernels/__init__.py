"""Bare loops over arrays, checked by nobody: outputs last, no hidden allocation.

May import `engine` alone: kernels know no design, no objective, no Python objects but tuples of arrays.
"""
