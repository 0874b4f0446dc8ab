"""What the training loop is made of: batches, losses, learning rates, checkpoints."""
