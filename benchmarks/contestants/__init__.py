"""Contestants of benchmarks.peers: Dojo, fastai, timm's train.py, and how they are compared."""
