"""Export: the files that ship, each through one gate, and what proves and explains them.

Enters: the measured student. Leaves: data/export/. To touch: a new format is a row of `formats.FORMATS`, a
writer, and a loader of demos/classifier.py; what every file says of itself is `deployed.Product.about`; what
it must prove is in `gate`.
"""
