"""People look at labels, confirm or correct them, and what they decide becomes human-labelled data."""
