"""What is known of images beyond one split: copies, what is done by an earlier run, splits that share files."""
