"""The stage `pretrain`: the encoder guesses hidden words of the site's own text before students start from it."""
