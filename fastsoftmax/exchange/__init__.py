"""Weights in the files of others: ONNX, and the state of PyTorch's `nn.Linear`."""
