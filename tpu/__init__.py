"""How experiments are started on TPU slices, Slurm and Kubernetes, and rehearsed on one machine."""
