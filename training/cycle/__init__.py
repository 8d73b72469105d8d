"""The weekly flow of a model family, from new data to a proposed model, as one command that a scheduler can call.

`flow` is the file that describes it, `journal` remembers the completed steps, `data_checks` and `comparison` decide whether the
candidate may be proposed, `steps` performs the flow, and `digest` writes the page for people.
"""
