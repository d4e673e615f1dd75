"""isan census: how isolated extension modules are."""
