"""How files of activations are laid out, and what is checked of them before a number is read.

`simkit.io` reads whole files and `simkit.scale.sources` chunks of them; both go through the checks in here.
"""
