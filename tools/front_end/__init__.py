"""ComfyUI's page in a real browser, for tests and pictures."""
