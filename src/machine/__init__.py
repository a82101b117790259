"""Machine: the device, cores, threads and processes that a stage runs on.

Enters: the keys of params.yaml that set them (device, tf32, threads, cpu_isa, processes, distributed).
Leaves: a device, and functions that are correct for one process and for several. To touch: how processes
start, connect and combine their results, and how CPUs round. Nothing here may depend on what is computed.
"""
