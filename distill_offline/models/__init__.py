"""Models on the disk: the catalogue of them, what their files hold, and how they are fetched."""
