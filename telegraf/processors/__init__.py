"""Processors for Telegraf's execd plugin: programs that read and write line protocol."""
