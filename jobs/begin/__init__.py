"""The beginning: what lies in a folder of images, and a spec that fits it."""
