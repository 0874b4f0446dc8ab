"""train: original and distilled sentences are blended by a schedule, and a student learns from them."""
