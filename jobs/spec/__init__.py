"""The spec: what an experiment is, as TOML; shipped/ holds those that come with the package."""
