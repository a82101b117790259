"""Machine: the device, the threads and the processes that a stage runs on.

Enters: the keys of params.yaml that choose them (device, threads, cpu_isa, processes, distributed). Leaves:
a device, and functions that are right for one process and for several. To touch: how processes start, meet
and pool what they found. Nothing here may depend on what is computed.
"""
