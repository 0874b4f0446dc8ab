"""Files: written whole or not at all, known by their digests, locked against a second writer."""
