"""The formats of a report.

Each module has render(report), which reads the dictionary that model/report.py makes, and nothing else.
"""
