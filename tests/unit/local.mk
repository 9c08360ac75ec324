# Unit tests and corpus replay: make check. No root, no device, seconds.
