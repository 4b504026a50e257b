"""Real libraries, given lowered masks, against attention in float64."""
