"""Packages: folders of UDFs, models and tasks, checked as a whole, installed by one command."""

# It puts udf/ on the path, where the model files' module is.
import stack.cases  # noqa: F401
