"""What the pipeline is measured against: the same work written by hand. Nothing here imports the pipeline."""
