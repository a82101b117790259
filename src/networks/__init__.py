"""Networks: built by name, initialised, saved and loaded, and run on pictures.

Enters: a name, settings, images (N, 3, H, W). Leaves: logits (N, C), weights as safetensors with their
facts. To touch: which libraries provide networks, how they are checked and initialised, which layers are
trained.
"""
