"""What `penstock doctor` looks at: the machine, the servers, the model."""
