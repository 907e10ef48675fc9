"""From waiting requests to calls of the model, and their answers back."""
