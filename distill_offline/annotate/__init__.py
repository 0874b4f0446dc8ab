"""annotate: a teacher is asked about each sentence, and what it says becomes labels."""
