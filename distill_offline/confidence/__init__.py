"""How sure a teacher was of a span, and how far that can be believed."""
