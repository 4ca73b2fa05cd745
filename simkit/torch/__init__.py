"""PyTorch: what needs more of it than arrays. The only room that imports torch; importing simkit does not."""
