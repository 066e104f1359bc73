"""Faster forms of parts of dit/ and sampling/ that give the same results; never imported by them."""
