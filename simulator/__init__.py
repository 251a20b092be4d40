"""Seeded data generators and the tools that send what they make: ``python -m simulator``.

One generator is one module with a `Source` (`simulator.source`) and a ``command`` that
`simulator.__main__` registers. Everything after the values is shared: options, chunks, files,
sending, live mode and injected anomalies.
"""
