"""What does all of it look like?  `corpus` the text, `sizes` how much, `figures`, `run` the steps."""
