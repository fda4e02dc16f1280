"""When and where assets are made: partitions, jobs, executors."""
