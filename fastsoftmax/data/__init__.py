"""X and y, checked once: the gate, designs (dense, CSR) under an affine map, targets, and both together as examples.

May import `kernels` and `engine`. What passes the gate is never checked again.
"""
