"""What is in an image: detections of any source, compared with the subjects that were asked for."""
