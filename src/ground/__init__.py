"""Ground: what all other rooms build on; it opens no picture and builds no network.

Enters: params.yaml, params.schema.json and libraries.yaml, files of any kind. Leaves: typed settings, files
written whole or not at all, one-line errors. It imports neither another room nor torch: every stage pays for
what this room imports. To touch: the wording of errors, the names of networks and optimizers, how settings
are read, and the rules across them.
"""
