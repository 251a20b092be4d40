"""Stand between Kapacitor and a UDF program, and start it again when it dies.

``python -m kapacitor.udf.supervise --help``

- :mod:`~kapacitor.udf.supervise.frames`: find frames and their kinds without decoding them;
- :mod:`~kapacitor.udf.supervise.journal`: the input since the last snapshot, bounded;
- :mod:`~kapacitor.udf.supervise.judge`: why it died, and what to do about it;
- :mod:`~kapacitor.udf.supervise.lives`: how the next life begins;
- :mod:`~kapacitor.udf.supervise.core`: what to do with each byte, free of any process;
- :mod:`~kapacitor.udf.supervise.loop`: the pipes, the process and the clock;
- :mod:`~kapacitor.udf.supervise.quarantine`: input that kills the program, kept as text.
"""
