"""Speed as a ratio against rivals in the same run; see README.md."""
