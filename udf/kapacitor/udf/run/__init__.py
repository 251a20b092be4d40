"""Run any UDF program over a file of points, with no Kapacitor.

``python -m kapacitor.udf.run --help``
"""
