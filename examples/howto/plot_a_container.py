"""
In a container, with warm kernels
=================================

Kernels are compiled at their first call, for the CPU that runs them, and kept in a cache. An image that has them starts
without the compiler.
"""

# %%
# In a Dockerfile, for a service that predicts ten classes from float32::
#
#     FROM python:3.12-slim
#     RUN pip install fastsoftmax
#     ENV FASTSOFTMAX_CACHE_DIR=/opt/kernels
#     RUN fastsoftmax warmup --classes 10 --dtype float32
#
# The image must be built for the CPU that runs it: elsewhere kernels are compiled again, as they are without a cache.
# Threads follow what the container is granted: with a quota of 2 of 64 cores there are 2.

# %%
# What it is worth: a first call in a new process, three times, with an empty cache at first.

import subprocess
import sys
import tempfile

import matplotlib.pyplot as plt

CODE = """
import time, numpy as np, fastsoftmax as fs
start = time.perf_counter()
fs.softmax(np.zeros((4, 3)))
print(time.perf_counter() - start)
"""
folder = tempfile.mkdtemp()
seconds = []
for _ in range(3):
    command = [sys.executable, "-c", f"import os; os.environ['FASTSOFTMAX_CACHE_DIR'] = {folder!r}" + CODE]
    seconds.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
print("seconds of the first call:", [round(s, 2) for s in seconds])

# %%
# The first process compiled, the others loaded.

figure, ax = plt.subplots(figsize=(6, 2.5), layout="constrained")
ax.barh(range(3), seconds[::-1])
ax.set(yticks=range(3), yticklabels=["third process", "second", "first, which compiles"], xlabel="seconds",
       title="The first call of a process")  # fmt: skip
