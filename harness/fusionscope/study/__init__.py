"""After training: sweeps over checkpoints, comparisons of models, reports. Importing the room costs nothing."""
