"""After training: checkpoints are probed (`sweep`), runs reported (`report`), models set side by side (`comparison`).

Importing this package alone imports nothing.
"""
