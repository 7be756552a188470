"""Airspeed-velocity benchmarks. Kernels are compiled in `setup`, so what is timed is warm unless it says cold."""
