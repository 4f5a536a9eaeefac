"""Files that describe a cluster: read, checked, and rendered for Ray's autoscaler and Kubernetes."""
