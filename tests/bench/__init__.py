"""What Penstock takes: `make bench`, or `python -m tests.bench [NAME…] [--json FILE]`."""
