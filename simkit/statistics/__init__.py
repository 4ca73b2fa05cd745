"""What the indexes need of the data: statistics that can be produced in memory, by tiles, by batches or by chunks."""
