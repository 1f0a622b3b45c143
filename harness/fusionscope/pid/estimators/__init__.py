"""Estimators of the decomposition."""
