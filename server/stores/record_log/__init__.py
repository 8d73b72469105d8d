"""The transparency log of sealed records: appending, reading, proofs, keys, the header index and samples."""
