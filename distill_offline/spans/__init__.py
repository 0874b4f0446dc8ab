"""Entities in tokens: mentions are located, and spans become tags and back."""
