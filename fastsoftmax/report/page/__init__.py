"""The page: one file that shows what a model learned and how good it is, and reads what one draws."""

from fastsoftmax.report.page.page import write_page

__all__ = ["write_page"]
