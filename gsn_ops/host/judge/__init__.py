"""ComfyUI's detectors, as sources of detections."""
