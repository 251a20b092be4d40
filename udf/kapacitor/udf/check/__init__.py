"""Check any UDF program, in any language, against the protocol.

``python -m kapacitor.udf.check --help``
"""
