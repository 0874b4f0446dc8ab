"""select: which annotations students may learn from, and what that choice does."""
