"""What the steps share that compare masks with baselines, controls and oracles."""
