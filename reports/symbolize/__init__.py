"""Addresses to functions, lines, variables and members: isan-symbolize (C, libdw), and the Python side that asks it."""
