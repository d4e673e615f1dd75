"""Modules that the tests import."""
