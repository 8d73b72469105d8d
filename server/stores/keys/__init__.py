"""The places in which the log's signing key and the master key live: files, or a PKCS#11 token."""
