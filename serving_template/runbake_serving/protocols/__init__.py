"""What clients speak: each protocol turns bytes into data for the model, and knows its content types."""
