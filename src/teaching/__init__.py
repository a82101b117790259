"""Teaching: what a student learns from, as files and as arrays; no torch here.

Enters: labels from the manifest, probabilities of teachers (data/distill). Leaves: targets (N, C), a
weight per picture (N,), data/curriculum.txt. To touch: how labels, teachers and the curriculum become
targets and weights. The training loop sees only the result.
"""
