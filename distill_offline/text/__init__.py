"""What a text is: its bytes, what of it can be seen, the JSON in it, and thoughts before an answer."""
