"""The stage `adapt`: a LoRA adapter by which the teacher learns from the gold training sentences."""
