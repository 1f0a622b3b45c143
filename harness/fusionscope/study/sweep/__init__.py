"""Probing checkpoints after training."""
