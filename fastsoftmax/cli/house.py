"""`fastsoftmax info`, `warmup` and `cache`."""

import argparse
import json


def info(args: argparse.Namespace) -> int:
    import platform

    import llvmlite
    import numba
    import numpy as np

    import fastsoftmax
    from fastsoftmax.engine import cache, jit, simd, threads

    numba.get_num_threads()
    numba.np.ufunc.parallel._launch_threads()
    facts = {
        "fastsoftmax": fastsoftmax.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "llvmlite": llvmlite.__version__,
        "cpu": jit.cpu_name(),
        "register_bytes": simd.REGISTER_BYTES,
        "threads": threads.get_num_threads(),
        "threading_layer": numba.threading_layer(),
        "cache_folder": str(cache.cache_folder()),
    }
    if args.json:
        print(json.dumps(facts, indent=2))
    else:
        for name, value in facts.items():
            print(f"{name:16} {value}")
    return 0


def warmup(args: argparse.Namespace) -> int:
    from fastsoftmax.engine import cache
    from fastsoftmax.warming import warmup

    seconds = warmup(args.classes, args.dtype)
    files = cache.cached_files()
    if args.json:
        print(json.dumps({"seconds": seconds, "files": len(files), "folder": str(cache.cache_folder())}, indent=2))
    else:
        print(f"compiled in {seconds:.1f} s; {len(files)} kernels in {cache.cache_folder()}")
    return 0


def cache(args: argparse.Namespace) -> int:
    from fastsoftmax.engine import cache

    files = cache.cached_files()
    size = sum(path.stat().st_size for path in files)
    if args.clear:
        for path in files:
            path.unlink(missing_ok=True)
    result = {"folder": str(cache.cache_folder()), "files": len(files), "bytes": size, "cleared": args.clear}
    if args.json:
        print(json.dumps(result, indent=2))
    else:
        print(f"{result['folder']}: {len(files)} kernels, {size / 1e6:.1f} MB{', cleared' * args.clear}")
    return 0
