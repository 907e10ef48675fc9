"""Pages for people: what the model is, where it comes from, and a form to try it. They load nothing."""
