"""Commands beside the stages: the results page and exported latents. Nothing imports them."""
