"""The pages, by topic. Each function gets a request and a client, and returns the page."""
