"""Measures and interventions that may change."""
