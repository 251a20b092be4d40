"""SDK for Kapacitor's user-defined functions (UDFs) in Python.

In layers, each readable alone:

- :mod:`~kapacitor.udf.framing`: frames on a byte stream;
- :mod:`~kapacitor.udf.udf_pb2`: the messages inside the frames;
- :mod:`~kapacitor.udf.agent`: the loop that calls a handler, with the names and the
  behaviour that existing UDF scripts expect;
- :mod:`~kapacitor.udf.typed`: handlers with declared options, arrays and kept state.
"""
