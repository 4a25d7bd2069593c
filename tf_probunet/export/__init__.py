"""From a trained model to files that others run."""
