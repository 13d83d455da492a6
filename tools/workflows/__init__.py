"""The example workflows: their arrangement, their notes, and the demo workflow with other inputs."""
