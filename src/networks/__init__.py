"""Networks: by name, with the weights they start from, and how they are saved, loaded and asked.

Enters: a name, settings, images (N, 3, H, W). Leaves: logits (N, C), weights as safetensors with their
facts. To touch: which libraries' networks there are, what they start from, which layers learn.
"""
