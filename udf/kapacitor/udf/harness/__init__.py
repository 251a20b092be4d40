"""Drive a UDF program from outside, as Kapacitor does: what ``run`` and ``check`` share."""
