"""The tasks that can be trained, one file each; see `edgecnn.train.job`."""
