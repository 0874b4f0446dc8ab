"""A run: its folder, its stages, the corpora that it names, and its human-labelled splits."""
