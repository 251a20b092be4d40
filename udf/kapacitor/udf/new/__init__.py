"""Write a new UDF, with its TICKscript, its declaration, its case and its test.

``python -m kapacitor.udf.new --help``
"""
