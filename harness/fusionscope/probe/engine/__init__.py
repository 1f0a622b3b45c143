"""Running a model: sequences, batches that fit, placement."""
