"""The model: its files, its signature, and its inputs as the signature promises them."""
