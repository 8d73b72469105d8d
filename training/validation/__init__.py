"""What a validator asks of a model, measured on the exported files' answers. The formulas are in training.measures."""
