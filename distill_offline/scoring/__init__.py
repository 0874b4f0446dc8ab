"""How good labels are: metrics, kinds of error, and two readings of a text side by side."""
