"""Commands that read what training wrote: the results page, exported latents. Nothing imports them."""
