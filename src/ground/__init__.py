"""Ground: what every other room stands on, and what knows nothing of pictures or networks.

Enters: params.yaml and params.schema.json, files of any kind. Leaves: typed settings, files written whole
or not at all, errors of one line. No room is imported here and neither is torch: every stage pays for what
this room imports. To touch: an error's wording, a name that networks or optimizers go by, how settings are
read.
"""
