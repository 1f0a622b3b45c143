"""Scripts of processes of their own: one of them registers a device."""

collect_ignore = ["device_run.py", "far_device.py"]
