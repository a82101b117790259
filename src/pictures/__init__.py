"""Pictures: from the user's folders to arrays of one size.

Enters: data.root with folders or a list. Leaves: manifests (path, class, hash), packs uint8 (N, H, W, 3), the
range of 16-bit grey, the ledger of all files, the list of refused ones, counts per class. No torch here:
check_images must start in half a second. To touch: which files are accepted, how they are divided, decoded
and fill the input. `demos/classifier.py` repeats both; a test compares the two.
"""
