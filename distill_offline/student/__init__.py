"""The student: an encoder with a head, its subwords, windows, batches and losses."""
