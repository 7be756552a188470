"""`python -m fastsoftmax`"""

from fastsoftmax.cli import entry

entry()
