"""Looking after feature sets: finds what is broken or orphaned; deletes only what no reader and no writer can need."""
