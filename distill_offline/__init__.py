"""Turn a local open LLM into a small, fast, auditable NLP model inside a network that nothing leaves."""

__version__ = "0.1.0"
