"""An image's server beside other servers: requests per second, latency, start, memory, overload."""
