"""What an operator watches: metrics of the server, and the HTTP endpoint that serves them next to the probes."""
