"""Packages: folders of UDFs, models and tasks, checked as a whole, installed by one command."""
