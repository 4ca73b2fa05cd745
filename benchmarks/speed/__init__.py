"""Speed against rivals: cases, the ways to solve them, and how they are measured."""
