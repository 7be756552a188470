"""The public functions: softmax and its kin, cross-entropy, and the fused pass of softmax regression.

May import `objective` and what is below.
"""
