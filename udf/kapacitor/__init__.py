"""Home of :mod:`kapacitor.udf`, the SDK for Kapacitor's user-defined functions."""
