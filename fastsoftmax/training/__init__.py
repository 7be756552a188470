"""Mini-batch descent: the Trainer, its epochs, steps, schedules and checkpoints.

May import `model`, `objective` and what is below; knows no scikit-learn.
"""
