"""What runbake promises in figures, measured on this machine beside what people use today."""
