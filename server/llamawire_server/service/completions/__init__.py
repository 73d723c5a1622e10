"""Raw prompts: what is asked, what a worker is told of it, and what its events become."""
