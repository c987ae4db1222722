"""What a run will take: says beforehand what it will write, last and cost, and what each figure was taken from."""
