"""Designs: where p(y | image) and p(y | question) come from."""
