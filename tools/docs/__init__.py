"""The tables and pictures of README and docs/, written from committed files only."""
