"""What touches the wire: servicers, the codec, the table of meanings, and the gate before every method."""
