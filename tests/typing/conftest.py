"""What is here for a type checker is never run."""

collect_ignore = ["uses.py"]
