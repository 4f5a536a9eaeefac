"""What is known of images beyond one split: copies, what stands of an earlier run, splits that share files."""
