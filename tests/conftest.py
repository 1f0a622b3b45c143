"""Scripts of processes of their own, which register a device: not to be imported by the tests."""

collect_ignore_glob = ["far_device.py", "*/*_run.py"]
