"""HTTP below the application: the server, its connections, and what every answer carries."""
