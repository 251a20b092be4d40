"""Loads numpy quickly: it is most of what a UDF process costs, once for every node."""

import gc
import os

# A UDF's arrays are small: a pool of threads would only cost its start, for every UDF of
# every task. Set it yourself for a detector that multiplies large matrices.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Importing makes much that lasts and no garbage; looking for some takes a fifth of the time.
_collecting = gc.isenabled()
gc.disable()
try:
    import numpy  # noqa: F401
finally:
    if _collecting:
        gc.enable()
