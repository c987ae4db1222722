"""What a run takes: says beforehand what a run will write, last and cost, and what each figure was taken from."""
