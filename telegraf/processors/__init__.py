"""Processors for Telegraf's execd plugin: programs that read and write line protocol."""

import os

# Before numpy is first imported: its products here are too small to be worth a second thread,
# and a thread that spins takes the core that Telegraf needs.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
